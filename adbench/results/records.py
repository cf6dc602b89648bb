"""What one run on one category found: a JSON record with its raw scores beside it.

``DATASET-CATEGORY-METHOD-BACKBONE-ID.json`` holds the record, ``.scores.csv`` one row per test
image, ``.pixels.npz`` the counts from which pixel AUROC is resampled, and ``.folds.csv`` one row
per training image where a threshold was found from folds. Each file is written whole or not at all.
The id is the hash of the identity: of what was measured, not of what came out.
"""

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from adbench.errors import AdbenchError
from adbench.evaluation.pairs import PixelPairs
from adbench.results import raw
from adbench.results.changes import carried
from adbench.results.names import Names, id_of, json_names, old_error
from adbench.results.raw import FoldScore, ImageScore, RecordError
from adbench.results.reading import (
    NewerError,
    beside,
    load,
    load_folds,
    load_pixels,
    load_scores,
    path_of,
)
from adbench.results.record import Record, identity_id, to_json
from adbench.system.files import remove_left, try_folder, whole_file
from adbench.system.waiting import turn

__all__ = [
    "FoldScore",
    "ImageScore",
    "Record",
    "RecordError",
    "find",
    "identity_id",
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

LOCK = ".lock"
"""The file that is locked while the files of a record are written. It is empty, and it stays."""


def require_writable(folder: Path) -> None:
    """Try whether records can be written, before the work.

    What killed processes left there is removed.

    Raises:
        AdbenchError: They cannot.
    """
    try:
        try_folder(folder)
    except OSError as error:
        why = error.strerror or error
        raise AdbenchError(f"cannot write records to {folder}: {why}; set results=DIR") from None
    remove_left(folder)


def save(
    folder: Path,
    record: Record,
    scores: list[ImageScore],
    pixels: PixelPairs | None = None,
    names: Names | None = None,
) -> Path:
    """Write a record with its raw scores; the JSON comes last, so what exists is complete.

    An earlier record of the same experiment is replaced.

    Args:
        folder: The folder of records.
        record: What to write.
        scores: One row per test image, in the order of the test set.
        pixels: What pixel intervals are drawn from.
        names: Those of the folder; None: they are read.

    Raises:
        AdbenchError: The folder cannot be written or is full; nothing half-written stays.
    """
    contents = {raw.SCORES: raw.scores_csv(scores)}
    if pixels is not None:
        contents[raw.PIXELS] = raw.pixels_npz(pixels)
    return save_contents(folder, record, contents, names)


def save_contents(
    folder: Path, record: Record, contents: dict[str, bytes], names: Names | None = None
) -> Path:
    """Write a record with the files beside it given as bytes by suffix, in the manner of ``save``.

    Raises:
        AdbenchError: The folder cannot be written or is full; nothing half-written stays.
    """
    path = folder / f"{record.name}.json"
    record = replace(record, files={suffix: raw.sha256(c) for suffix, c in contents.items()})
    files = {path: to_json(record).encode()}
    files |= {beside(path, suffix): content for suffix, content in contents.items()}
    try:
        with _alone(folder):
            names = names or Names(folder)
            with _written(files):
                path.unlink(missing_ok=True)  # an earlier record must not stand beside other scores
                for suffix in set(raw.SUFFIXES) - set(contents):
                    beside(path, suffix).unlink(missing_ok=True)
            for old in names.paths(record.id):  # under the names of other presets
                if old != path:
                    _delete(old)
    except OSError as error:
        raise _unwritable(path, error) from error
    names.add(path, record.id)
    return path


def update(
    folder: Path, before: Record, record: Record, folds: Sequence[FoldScore] | None = None
) -> Path:
    """Complete a record, such as with a time; its other raw files stay.

    What another process has added to it meanwhile stays too.

    Args:
        folder: The folder of records, where the record lies.
        before: The record as it was read.
        record: The same with what it lacked.
        folds: Scores of the training images that are new, one row per image.

    Raises:
        RecordError: The record is no longer there, or cannot be trusted any more.
        AdbenchError: The folder cannot be written or is full; the record stays as it was.
    """
    path = folder / f"{record.name}.json"
    try:
        with _alone(folder):
            path = path_of(folder, record)
            record = carried(before, record, load(path))
            contents = {} if folds is None else {raw.FOLDS: raw.folds_csv(folds)}
            digests = {suffix: raw.sha256(content) for suffix, content in contents.items()}
            record = replace(record, files=record.files | digests)
            files = {path: to_json(record).encode()}
            with _written(files | {beside(path, s): content for s, content in contents.items()}):
                pass
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def find(
    folder: Path,
    identity: dict[str, Any],
    names: Names | None = None,
    labels: dict[str, str] | None = None,
    replacing: bool = False,
) -> Record | None:
    """The record of this experiment, or None.

    Args:
        folder: The folder of records.
        identity: What was measured.
        names: Those of the folder, for who looks often; None: they are read.
        labels: The presets of who asks, see ``Names.path``.
        replacing: Whether a new record is to take its place, for which a damaged one is as none.

    Raises:
        RecordError: There is one that cannot be trusted, or the folder holds records of schema 1.
    """
    names = names or Names(folder)
    if names.old is not None:
        raise old_error(folder / names.old)
    path = names.path(identity, labels)
    try:
        return load(path) if path else None
    except RecordError as error:
        if not replacing or isinstance(error, NewerError):  # a newer record may be sound
            raise
        return None


def present(folder: Path) -> bool:
    """Whether a folder holds any record."""
    return any(map(id_of, json_names(folder)))


def namesakes(folder: Path, record: Record) -> list[Record]:
    """The other records of a folder with the presets and the category of a record."""
    stem = record.name.removesuffix(record.id)
    paths = sorted(folder.glob(f"{glob.escape(stem)}*.json"))
    same = [path for path in paths if path.name == f"{stem}{id_of(path.name)}.json"]
    return [load(path) for path in same if id_of(path.name) != record.id]


def remove(folder: Path, record: Record) -> None:
    """Delete a record and the files beside it. Raises AdbenchError where this cannot be done."""
    for path in Names(folder).paths(record.id):
        try:
            _delete(path)
        except OSError as error:
            raise _unwritable(path, error) from error


def load_all(folder: Path) -> list[Record]:
    """Every record of a folder, ordered by file name, each read from its file.

    Left out with a warning are JSON files that have not the name of a record, and records that a
    newer adbench wrote. ``adbench.results.index.Records`` is faster where few of many are wanted.

    Raises:
        AdbenchError: There is no folder or no record, or one that cannot be trusted.
    """
    found: dict[str, Record] = {}
    newer: list[str] = []
    for name in record_names(folder):
        try:
            record = load(folder / name)
        except NewerError as error:
            newer.append(str(error))
        else:
            found.setdefault(record.id, record)  # presets of two names may have been at work
    warn_of_newer(folder, newer)
    return list(found.values())


def record_names(folder: Path) -> list[str]:
    """The sorted names of the records of a folder; other JSON files are told in a warning.

    Raises:
        AdbenchError: There is no folder or no record.
    """
    every = sorted(json_names(folder))
    names = [name for name in every if id_of(name)]
    warn_of_foreign(folder, [name for name in every if not id_of(name)])
    if not names:
        raise none_there(folder)
    return names


def warn_of_foreign(folder: Path, names: Sequence[str]) -> None:
    """Tell of JSON files that have not the name of a record."""
    if names:
        log.warning(
            "%s: %d files have not the name of a record and are not read, such as %s",
            folder,
            len(names),
            names[0],
        )


def warn_of_newer(folder: Path, why: Sequence[str]) -> None:
    """Tell of records that a newer adbench wrote, by what is wrong with each."""
    if why:
        log.warning(
            "%s: %d records of a newer adbench are left out, such as %s", folder, len(why), why[0]
        )


def none_there(folder: Path) -> AdbenchError:
    """What is said of a folder without any record."""
    return AdbenchError(f"{folder}: no records there; run `adbench run` first or set results=DIR")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A block in which no other process writes records there: the files of one belong together.

    Where the folder takes no locks, the block runs without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(turn(FileLock(folder / LOCK), "writes records"))
        yield


@contextmanager
def _written(files: dict[Path, bytes]) -> Iterator[None]:
    """Write files whole before the block, and move them into place after it, the first one last.

    So a disk without room for all of them is noticed before the block deletes anything.
    """
    with ExitStack() as held:
        for path, content in files.items():
            file = held.enter_context(whole_file(path, tidy=False))  # the folder may be very large
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield


def _delete(path: Path) -> None:
    """Delete the file of a record and those beside it."""
    for file in (path, *(beside(path, suffix) for suffix in raw.SUFFIXES)):
        file.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> AdbenchError:
    why = error.strerror or error
    return AdbenchError(f"cannot write the record {path}: {why}; free space or set results=DIR")
