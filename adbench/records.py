"""What one run on one category found: a JSON record, and its raw scores beside it, each written whole or not at all.

``records/<id>.json`` holds the record, ``records/<id>.scores.csv`` one row per test image, ``records/<id>.pixels.npz`` the
image-by-image counts from which pixel AUROC is resampled (see ``adbench.statistics.PixelPairs``). The id is the hash of
the identity: what was measured, not what came out.
"""

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from adbench.core import AdbenchError
from adbench.files import write_whole
from adbench.memo import digest

SCHEMA = 1
"""Raised when the meaning of a record's fields or of the numbers in them changes; older records are then refused."""

SCORE_COLUMNS = ["name", "defect", "anomalous", "score"]


class RecordError(AdbenchError):
    """A record that cannot be trusted: damaged, edited, or of another schema."""


@dataclass(frozen=True)
class Record:
    """One category under one setting. Metrics are fractions, times are seconds, sizes are bytes."""

    identity: dict[str, Any]
    """dataset, category, geometry, backbone and method with every resolved setting; nothing that does not bear on the
    numbers. Two runs with the same identity are the same experiment."""
    labels: dict[str, str]
    """The names of the presets as the user chose them: dataset, geometry, backbone, method."""
    counts: dict[str, int]
    """train, test, anomalous, and patches of the feature grid where the method has one."""
    metrics: dict[str, float | None]
    """image_auroc, image_ap, image_f1_max, pixel_auroc, pixel_ap, pixel_f1_max, aupro; None where it is undefined."""
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    """95% intervals as [low, high]: DeLong for image_auroc, bootstrap over images for pixel_auroc."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a metric or a time is None."""
    threshold: dict[str, float | None] = field(default_factory=dict)
    """value: the largest score over normal training images; false and true positive rate it gives on the test images."""
    seconds: dict[str, float] = field(default_factory=dict)
    """extract (decode and backbone, all images), fit and score (all test images), each as it cost when computed."""
    time: dict[str, dict[str, float]] = field(default_factory=dict)
    """One image at a time: stage -> p50 and p95 in seconds, by the protocol of ``adbench.timing``."""
    memory: dict[str, int] = field(default_factory=dict)
    """peak: highest resident memory of the process during this category; state: the fitted state."""
    work: dict[str, Any] = field(default_factory=dict)
    """Multiply-adds per patch of the distance stage, and the same of rivals timed beside it, where the method gives them."""
    environment: dict[str, Any] = field(default_factory=dict)
    """device, threads, versions, commit."""
    notes: list[str] = field(default_factory=list)
    """What the method or the data had to be adapted in."""
    date: str = ""

    @property
    def id(self) -> str:
        """Hash of the identity."""
        return identity_id(self.identity)

    @property
    def category(self) -> str:
        """The category measured."""
        return str(self.identity["category"])


def identity_id(identity: dict[str, Any]) -> str:
    """The name of the record of an experiment."""
    return digest({"schema": SCHEMA, **identity}, length=16)


@dataclass(frozen=True)
class ImageScore:
    """The raw result for one test image."""

    name: str
    defect: str
    anomalous: bool
    score: float


def save(folder: Path, record: Record, scores: list[ImageScore], pixels: bytes | None = None) -> Path:
    """Write a record with its raw scores; the JSON comes last, so what exists is complete.

    Args:
        folder: The folder of records.
        record: What to write.
        scores: One row per test image, in the order of the test set.
        pixels: Content of the ``.pixels.npz`` file.

    Raises:
        AdbenchError: The folder cannot be written or is full; nothing half-written stays.
    """
    path = folder / f"{record.id}.json"
    content = {"schema": SCHEMA, "id": record.id, **_rounded(asdict(record))}
    content["checksum"] = digest(content)
    try:
        write_whole(path.with_suffix(".scores.csv"), _scores_csv(scores))
        if pixels is not None:
            write_whole(path.with_suffix(".pixels.npz"), pixels)
        write_whole(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise AdbenchError(
            f"cannot write the record {path}: {error.strerror or error}; free space or set results=DIR"
        ) from error
    return path


def load(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: It is truncated, was edited by hand, or has another schema.
    """
    try:
        content = json.loads(path.read_text())
        schema, checksum = content.pop("schema"), content.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a whole record ({error}); delete it and run again") from error
    if schema != SCHEMA:
        raise RecordError(f"{path}: schema {schema}, this adbench reads {SCHEMA}; delete it and run again")
    if digest({"schema": schema, **content}) != checksum:
        raise RecordError(f"{path}: was changed after it was written; delete it and run again")
    content.pop("id")
    unknown = set(content) - {f.name for f in fields(Record)}
    if unknown:
        raise RecordError(f"{path}: unknown fields {sorted(unknown)}")
    return Record(**content)


def find(folder: Path, identity: dict[str, Any]) -> Record | None:
    """The record of this experiment, or None. Raises RecordError where there is one that cannot be trusted."""
    path = folder / f"{identity_id(identity)}.json"
    return load(path) if path.exists() else None


def load_all(folder: Path) -> list[Record]:
    """Every record of a folder, ordered by id. Raises AdbenchError where there is no folder or no record."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise AdbenchError(f"{folder}: no records there; run `adbench run` first or set results=DIR")
    return [load(path) for path in paths]


def load_scores(folder: Path, record: Record) -> list[ImageScore]:
    """The raw scores of a record, in the order of the test set."""
    path = folder / f"{record.id}.scores.csv"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        scores = [ImageScore(r["name"], r["defect"], r["anomalous"] == "1", float(r["score"])) for r in rows]
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(f"{path}: raw scores cannot be read ({error}); delete the record and run again") from error
    if len(scores) != record.counts["test"]:
        raise RecordError(f"{path}: {len(scores)} rows, the record has {record.counts['test']} test images")
    return scores


def _scores_csv(scores: list[ImageScore]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    writer.writerows([s.name, s.defect, int(s.anomalous), repr(s.score)] for s in scores)
    return text.getvalue()


def _rounded(value: Any) -> Any:
    """Floats to 6 places, so that a repeated run leaves the same text; non-finite ones become None."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: (v if k == "identity" else _rounded(v)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
