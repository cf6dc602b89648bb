"""Records and the raw files beside them, read and checked: what cannot be trusted is refused."""

import json
import stat
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from adbench.evaluation.measured import measure_images
from adbench.evaluation.metrics import METRICS, of_level
from adbench.evaluation.pairs import PixelPairs
from adbench.results import raw
from adbench.results.names import Names, old_error
from adbench.results.raw import FoldScore, ImageScore, RecordError
from adbench.results.record import SCHEMA, Record
from adbench.results.shape import misshapen
from adbench.system.settings import digest

_MEND = "move it out of the folder and run again"
"""What to do with a record that cannot be trusted."""
_UPDATE = "`pip install -U adbench-vision` brings a version that reads it"


class NewerError(RecordError):
    """A record that a newer adbench wrote. It may be sound, but this version cannot read it."""


def load(path: Path) -> Record:
    """Read one record. Image metrics that it lacks are computed from the raw scores beside it.

    Raises:
        NewerError: A newer adbench wrote it.
        RecordError: It is truncated, was edited by hand, or has another schema.
    """
    return completed(path, read(path))


def read(path: Path) -> Record:
    """Read one record as it was written; it raises what ``load`` raises."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # nothing ends the read of a pipe or a device
            raise RecordError(f"{path}: is no regular file; {_MEND}")
        content = json.loads(path.read_bytes())
        schema, checksum = content.pop("schema"), content.pop("checksum")
    except FileNotFoundError as error:
        raise RecordError(f"{path}: is not there any more; run again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path}: not a whole record ({error}); {_MEND}") from error
    if schema == 1:
        raise old_error(path)
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerError(f"{path}: schema {schema}, this adbench reads {SCHEMA}; {_UPDATE}")
    if schema != SCHEMA:
        raise RecordError(f"{path}: schema {schema}, this adbench reads {SCHEMA}; {_MEND}")
    if digest({"schema": schema, **content}) != checksum:
        raise RecordError(f"{path}: was changed after it was written; {_MEND}")
    content.pop("id", None)
    if unknown := set(content) - {f.name for f in fields(Record)}:
        raise NewerError(f"{path}: unknown fields {sorted(unknown)}; {_UPDATE}")
    if why := misshapen(content):
        raise RecordError(f"{path}: {why}; {_MEND}")
    return Record(**content)


def lacks_metrics(record: Record) -> bool:
    """Whether metrics were added to adbench after the record was measured."""
    return any(metric.name not in record.metrics for metric in METRICS)


def completed(path: Path, record: Record) -> Record:
    """The record of a file with the metrics that were added after it was measured.

    Those of images are computed from the raw scores. Where these cannot be trusted, the metrics are
    None with the reason, and so are those of pixels.
    """
    if not lacks_metrics(record):
        return record
    try:
        return with_metrics(path, record)
    except RecordError as error:  # the record itself is sound
        names = [metric.name for metric in of_level("image")]
        return _added(record, dict.fromkeys(names), {}, dict.fromkeys(names, str(error)))


def with_metrics(path: Path, record: Record) -> Record:
    """``completed``, but RecordError where raw scores are needed that cannot be trusted."""
    if all(metric.name in record.metrics for metric in of_level("image")):
        return _added(record, {}, {}, {})
    found = measure_images(*raw.arrays(_scores(path, record)))
    return _added(record, found.values, found.intervals, found.reasons)


def _added(
    record: Record,
    values: Mapping[str, float | None],
    intervals: Mapping[str, list[float] | None],
    reasons: Mapping[str, str],
) -> Record:
    """The record with what it lacks of the metrics of images, and without those of pixels."""
    lacking = "measured before adbench had this metric; existing=redo measures it"
    pixel = [metric.name for metric in of_level("pixel")]
    values = {**values, **dict.fromkeys(pixel)}
    reasons = {**dict.fromkeys(pixel, lacking), **reasons}
    new = {m.name for m in METRICS} - set(record.metrics)
    return replace(
        record,
        metrics=record.metrics | {n: values[n] for n in values if n in new},
        intervals=record.intervals | {n: intervals[n] for n in intervals if n in new},
        reasons=record.reasons | {n: reasons[n] for n in reasons if n in new},
    )


def load_scores(folder: Path, record: Record) -> list[ImageScore]:
    """The raw scores of a record, in the order of the test set.

    Raises:
        RecordError: The file is missing, was changed, or does not fit the record.
    """
    return _scores(path_of(folder, record), record)


def load_folds(folder: Path, record: Record) -> list[FoldScore]:
    """The scores of the training images of a record, by detectors that had not seen them.

    Raises:
        RecordError: The file is missing or was changed.
    """
    path = beside(path_of(folder, record), raw.FOLDS)
    return raw.read_folds(path, record.files.get(raw.FOLDS))


def load_pixels(folder: Path, record: Record) -> PixelPairs:
    """What the pixel intervals of a record are drawn from.

    Raises:
        RecordError: The file is missing or was changed.
    """
    path = beside(path_of(folder, record), raw.PIXELS)
    return raw.read_pixels(path, record.files.get(raw.PIXELS))


def path_of(folder: Path, record: Record) -> Path:
    """The file of a record. Where none has its own name, the folder is searched for its id."""
    own = folder / f"{record.name}.json"
    if own.exists():
        return own
    return next(iter(Names(folder).paths(record.id)), own)


def beside(path: Path, suffix: str) -> Path:
    """The file with this suffix beside the file of a record."""
    return path.with_name(path.stem + suffix)


def _scores(path: Path, record: Record) -> list[ImageScore]:
    file = beside(path, raw.SCORES)
    scores = raw.read_scores(file, record.files.get(raw.SCORES))
    if len(scores) != record.counts["test"]:
        raise RecordError(
            f"{file}: {len(scores)} rows, the record has {record.counts['test']} test images"
        )
    return scores
