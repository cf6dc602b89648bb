"""The files beside a record, each with raw numbers of which the record holds the checksum.

They are the score of every test image, the counts of its pixels, and the scores of the training
images by detectors that had not seen them.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.pairs import PixelPairs
from adbench.results.spreadsheet import as_csv

SCORES, PIXELS, FOLDS = ".scores.csv", ".pixels.npz", ".folds.csv"
"""The suffixes of the files."""
SUFFIXES = (SCORES, PIXELS, FOLDS)
COLUMNS = ["name", "defect", "anomalous", "score"]
FOLD_COLUMNS = ["name", "fold", "score", "highest"]
Row = TypeVar("Row")


class RecordError(AdbenchError):
    """A record that cannot be trusted: damaged, edited, or of another schema."""


@dataclass(frozen=True)
class ImageScore:
    """The raw result for one test image."""

    name: str
    defect: str
    anomalous: bool
    score: float


@dataclass(frozen=True)
class FoldScore:
    """The raw result for one training image, by a detector that was fitted without its fold."""

    name: str
    fold: int
    score: float
    highest: float | None
    """The largest value of the anomaly map; None where there is none."""


def scores_csv(scores: Sequence[ImageScore]) -> bytes:
    """The scores as CSV, every digit kept."""
    rows = ([s.name, s.defect, int(s.anomalous), repr(s.score)] for s in scores)
    return as_csv([COLUMNS, *rows]).encode()


def folds_csv(scores: Sequence[FoldScore]) -> bytes:
    """The scores of training images as CSV, every digit kept."""
    rows = (
        [s.name, s.fold, repr(s.score), "" if s.highest is None else repr(s.highest)]
        for s in scores
    )
    return as_csv([FOLD_COLUMNS, *rows]).encode()


def pixels_npz(pixels: PixelPairs) -> bytes:
    """The counts as a compressed archive of arrays; the same bytes for the same counts."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        concordant=pixels.concordant,
        positives=pixels.positives,
        negatives=pixels.negatives,
    )
    return content.getvalue()


def read_scores(path: Path, checksum: str | None) -> list[ImageScore]:
    """The scores of a file whose content has this sha256.

    Raises:
        RecordError: It is missing, was changed, or cannot be read.
    """
    return _read_rows(
        path,
        checksum,
        "raw scores",
        lambda r: ImageScore(r["name"], r["defect"], r["anomalous"] == "1", float(r["score"])),
    )


def read_folds(path: Path, checksum: str | None) -> list[FoldScore]:
    """The scores of training images in a file whose content has this sha256.

    Raises:
        RecordError: It is missing, was changed, or cannot be read.
    """
    return _read_rows(
        path,
        checksum,
        "scores of the folds",
        lambda r: FoldScore(
            r["name"],
            int(r["fold"]),
            float(r["score"]),
            float(r["highest"]) if r["highest"] else None,
        ),
    )


def read_pixels(path: Path, checksum: str | None) -> PixelPairs:
    """The pixel counts of a file whose content has this sha256.

    Raises:
        RecordError: It is missing, was changed, or cannot be read.
    """
    content = _content(path, checksum, "pixel counts")
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return PixelPairs(arrays["concordant"], arrays["positives"], arrays["negatives"])
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise _unreadable(path, "pixel counts", error) from error


def arrays(scores: Sequence[ImageScore]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool labels and (n,) float64 scores."""
    return np.array([s.anomalous for s in scores], bool), np.array([s.score for s in scores])


def sha256(content: bytes) -> str:
    """The checksum that ``sha256sum`` shows."""
    return hashlib.sha256(content).hexdigest()


def _read_rows(
    path: Path, checksum: str | None, what: str, row: Callable[[dict[str, str]], Row]
) -> list[Row]:
    content = _content(path, checksum, what)
    try:
        return [row(r) for r in csv.DictReader(io.StringIO(content.decode(), newline=""))]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise _unreadable(path, what, error) from error


def _content(path: Path, checksum: str | None, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, what, error) from error
    if sha256(content) != checksum:
        raise RecordError(
            f"{path}: {what} are not those that were measured: the sha256 differs from the "
            "record's; move the record out of the folder and run again"
        )
    return content


def _unreadable(path: Path, what: str, error: Exception) -> RecordError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return RecordError(
        f"{path}: {what} cannot be read ({why}); move the record out of the folder and run again"
    )
