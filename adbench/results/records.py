"""What one run on one category found: a JSON record with its raw scores beside it.

``DATASET-CATEGORY-METHOD-BACKBONE-ID.json`` holds the record, ``.scores.csv`` one row per test
image, ``.pixels.npz`` the counts from which pixel AUROC is resampled, and ``.folds.csv`` one row
per training image where a threshold was found from folds. Each file is written whole or not at all.
The id is the hash of the identity: of what was measured, not of what came out.
"""

import glob
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from adbench.errors import AdbenchError
from adbench.evaluation.measured import measure_images
from adbench.evaluation.metrics import METRICS, of_level
from adbench.evaluation.pairs import PixelPairs
from adbench.results import raw
from adbench.results.raw import FoldScore, ImageScore, RecordError
from adbench.results.record import SCHEMA, Record, identity_id, to_json
from adbench.system.files import try_folder, write_whole
from adbench.system.settings import digest

__all__ = [
    "FoldScore",
    "ImageScore",
    "Record",
    "RecordError",
    "find",
    "identity_id",
    "is_old",
    "load",
    "load_all",
    "load_folds",
    "load_pixels",
    "load_scores",
    "namesakes",
    "present",
    "remove",
    "require_writable",
    "save",
    "save_contents",
    "update",
]

log = logging.getLogger(__name__)

_MEND = "move it out of the folder and run again"
"""What to do with a record that cannot be trusted."""
_NAME = re.compile(r"(.+-)?[0-9a-f]{16}")
"""The name of a record's file without its suffix; other files are not adbench's."""
_OLD_NAME = re.compile(r"[0-9a-f]{16}")
"""The whole name of a record of schema 1."""


def require_writable(folder: Path) -> None:
    """Try whether records can be written, before the work; the folder is made.

    Raises:
        AdbenchError: They cannot.
    """
    try:
        try_folder(folder)
    except OSError as error:
        why = error.strerror or error
        raise AdbenchError(f"cannot write records to {folder}: {why}; set results=DIR") from None


def save(
    folder: Path, record: Record, scores: list[ImageScore], pixels: PixelPairs | None = None
) -> Path:
    """Write a record with its raw scores; the JSON comes last, so what exists is complete.

    An earlier record of the same experiment is replaced.

    Args:
        folder: The folder of records.
        record: What to write.
        scores: One row per test image, in the order of the test set.
        pixels: What pixel intervals are drawn from.

    Raises:
        AdbenchError: The folder cannot be written or is full; nothing half-written stays.
    """
    contents = {raw.SCORES: raw.scores_csv(scores)}
    if pixels is not None:
        contents[raw.PIXELS] = raw.pixels_npz(pixels)
    return save_contents(folder, record, contents)


def save_contents(folder: Path, record: Record, contents: dict[str, bytes]) -> Path:
    """Write a record with the files beside it given as bytes by suffix, in the manner of ``save``.

    Raises:
        AdbenchError: The folder cannot be written or is full; nothing half-written stays.
    """
    path = folder / f"{record.name}.json"
    earlier = [old for old in _paths(folder, record.id) if old != path]
    record = replace(record, files={suffix: raw.sha256(c) for suffix, c in contents.items()})
    try:
        path.unlink(missing_ok=True)  # an earlier record must not stand beside other scores
        for suffix, content in contents.items():
            write_whole(path.with_name(record.name + suffix), content)
        for suffix in set(raw.SUFFIXES) - set(contents):
            path.with_name(record.name + suffix).unlink(missing_ok=True)
        write_whole(path, to_json(record))
        for old in earlier:  # the same experiment under the names of other presets
            for beside in (old, *(old.with_name(old.stem + s) for s in raw.SUFFIXES)):
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def update(folder: Path, record: Record, folds: Sequence[FoldScore] | None = None) -> Path:
    """Write a record again that was completed, such as with a time; its other raw files stay.

    Args:
        folder: The folder of records, where the record lies.
        record: As it was read, with what it lacked.
        folds: Scores of the training images that are new, one row per image.

    Raises:
        AdbenchError: The folder cannot be written or is full; the record stays as it was.
    """
    path = next(iter(_paths(folder, record.id)), folder / f"{record.name}.json")
    try:
        if folds is not None:
            content = raw.folds_csv(folds)
            write_whole(path.with_name(path.stem + raw.FOLDS), content)
            record = replace(record, files={**record.files, raw.FOLDS: raw.sha256(content)})
        write_whole(path, to_json(record))
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def load(path: Path) -> Record:
    """Read one record. Image metrics that it lacks are computed from the raw scores beside it.

    Raises:
        RecordError: It is truncated, was edited by hand, or has another schema.
    """
    try:
        content = json.loads(path.read_text())
        schema, checksum = content.pop("schema"), content.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a whole record ({error}); {_MEND}") from error
    if schema == 1:
        raise _old(path)
    if schema != SCHEMA:
        raise RecordError(f"{path}: schema {schema}, this adbench reads {SCHEMA}; {_MEND}")
    if digest({"schema": schema, **content}) != checksum:
        raise RecordError(f"{path}: was changed after it was written; {_MEND}")
    content.pop("id")
    unknown = set(content) - {f.name for f in fields(Record)}
    if unknown:
        raise RecordError(f"{path}: unknown fields {sorted(unknown)}; {_MEND}")
    return _with_new_metrics(path.parent, Record(**content))


def find(folder: Path, identity: dict[str, Any], old: bool = False) -> Record | None:
    """The record of this experiment, or None.

    Args:
        folder: The folder of records.
        identity: What was measured.
        old: Whether records of schema 1 may lie there too; they are not looked at.

    Raises:
        RecordError: There is one that cannot be trusted, or the folder holds records of schema 1.
    """
    left = next((path for path in folder.glob("*.json") if is_old(path)), None)
    if left is not None and not old:
        raise _old(left)
    found = _paths(folder, identity_id(identity))
    return load(found[0]) if found else None


def is_old(path: Path) -> bool:
    """Whether a file has the name that records of schema 1 had."""
    return _OLD_NAME.fullmatch(path.stem) is not None


def present(folder: Path) -> bool:
    """Whether a folder holds any record."""
    return any(_NAME.fullmatch(path.stem) for path in folder.glob("*.json"))


def namesakes(folder: Path, record: Record) -> list[Record]:
    """The other records of a folder with the presets and the category of a record."""
    stem = record.name.removesuffix(record.id)
    paths = sorted(folder.glob(f"{glob.escape(stem)}*.json"))
    same = [p for p in paths if re.fullmatch(r"[0-9a-f]{16}", p.stem.removeprefix(stem))]
    return [other for other in map(load, same) if other.id != record.id]


def remove(folder: Path, record: Record) -> None:
    """Delete a record and the files beside it. Raises AdbenchError where this cannot be done."""
    for path in _paths(folder, record.id):
        try:
            for file in (path, *(path.with_name(path.stem + s) for s in raw.SUFFIXES)):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error


def load_all(folder: Path) -> list[Record]:
    """Every record of a folder, ordered by file name.

    JSON files that have not the name of a record are left out, with a warning.

    Raises:
        AdbenchError: There is no folder or no record, or one that cannot be trusted.
    """
    every = sorted(folder.glob("*.json"))
    paths = [path for path in every if _NAME.fullmatch(path.stem)]
    if foreign := [path.name for path in every if path not in paths]:
        log.warning(
            "%s: %d files have not the name of a record and are not read, such as %s",
            folder,
            len(foreign),
            foreign[0],
        )
    if not paths:
        raise AdbenchError(
            f"{folder}: no records there; run `adbench run` first or set results=DIR"
        )
    return [load(path) for path in paths]


def load_scores(folder: Path, record: Record) -> list[ImageScore]:
    """The raw scores of a record, in the order of the test set.

    Raises:
        RecordError: The file is missing, was changed, or does not fit the record.
    """
    path = _beside(folder, record, raw.SCORES)
    scores = raw.read_scores(path, record.files.get(raw.SCORES))
    if len(scores) != record.counts["test"]:
        raise RecordError(
            f"{path}: {len(scores)} rows, the record has {record.counts['test']} test images"
        )
    return scores


def load_folds(folder: Path, record: Record) -> list[FoldScore]:
    """The scores of the training images of a record, by detectors that had not seen them.

    Raises:
        RecordError: The file is missing or was changed.
    """
    path = _beside(folder, record, raw.FOLDS)
    return raw.read_folds(path, record.files.get(raw.FOLDS))


def load_pixels(folder: Path, record: Record) -> PixelPairs:
    """What the pixel intervals of a record are drawn from.

    Raises:
        RecordError: The file is missing or was changed.
    """
    path = _beside(folder, record, raw.PIXELS)
    return raw.read_pixels(path, record.files.get(raw.PIXELS))


def _beside(folder: Path, record: Record, suffix: str) -> Path:
    paths = _paths(folder, record.id)
    stem = paths[0].stem if paths else record.name
    return folder / f"{stem}{suffix}"


def _paths(folder: Path, id_: str) -> list[Path]:
    return sorted(folder.glob(f"*-{id_}.json"))


def _with_new_metrics(folder: Path, record: Record) -> Record:
    """The record with the metrics of ``METRICS`` that were added after it was measured."""
    if all(metric.name in record.metrics for metric in METRICS):
        return record
    values: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    reasons: dict[str, str] = {}
    if any(metric.name not in record.metrics for metric in of_level("image")):
        try:
            found = measure_images(*raw.arrays(load_scores(folder, record)))
            values, intervals, reasons = found.values, found.intervals, found.reasons
        except RecordError as error:  # the record itself is sound
            values = {metric.name: None for metric in of_level("image")}
            reasons = {metric.name: str(error) for metric in of_level("image")}
    lacking = "measured before adbench had this metric; existing=redo measures it"
    for metric in of_level("pixel"):
        values[metric.name] = None
        reasons.setdefault(metric.name, lacking)
    new = {m.name for m in METRICS} - set(record.metrics)
    return replace(
        record,
        metrics=record.metrics | {n: values[n] for n in values if n in new},
        intervals=record.intervals | {n: intervals[n] for n in intervals if n in new},
        reasons=record.reasons | {n: reasons[n] for n in reasons if n in new},
    )


def _old(path: Path) -> RecordError:
    folder = path.parent.parent if path.parent.name == "records" else path.parent
    return RecordError(
        f"{path}: schema 1, this adbench reads {SCHEMA}; "
        f"run `adbench migrate results={folder}`, which carries the records over"
    )


def _unwritable(path: Path, error: OSError) -> AdbenchError:
    why = error.strerror or error
    return AdbenchError(f"cannot write the record {path}: {why}; free space or set results=DIR")
