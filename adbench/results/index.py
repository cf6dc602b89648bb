"""The records of a folder, of which a few of 100,000 are found without reading all.

The folder alone says which records there are. The index is a memory of what was read there, a file
in the user's cache for each folder. Every use lists the folder, and reads the files that are new or
have changed since; their checksums are verified then.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

from adbench.evaluation.metrics import METRICS
from adbench.results.index_file import IndexFile, Row, key_of
from adbench.results.names import id_of, is_old, unreadable
from adbench.results.raw import RecordError
from adbench.results.reading import NewerError, completed, lacks_metrics, load, read, with_metrics
from adbench.results.record import SCHEMA, Record
from adbench.results.records import none_there, warn_of_foreign, warn_of_newer
from adbench.results.shape import misshapen
from adbench.system.files import private_folder
from adbench.system.settings import digest

log = logging.getLogger(__name__)

VERSION = 2
"""Of the rows and of what is computed for them. Each version has files of its own."""
KIND = "records"
"""The folder of the cache in which indexes lie."""
MANY = 5_000
"""Files to read before it is said that this takes a while."""
_UNKNOWN = ""
"""The state of a file that could not be read: such a row is not written down."""
_AT_ONCE = 500
"""Rows that are written together, so that a killed process leaves its work to the next one."""

Parts = dict[str, Any]
"""What a detector says of itself in an identity, such as geometry, backbone and method."""


class Records:
    """The records of a folder. It is read when this is made, and not again.

    Left out with a warning are JSON files that have not the name of a record, and records that a
    newer adbench wrote.

    Args:
        folder: The folder of records.
        cache: The cache folder in which the index is kept; None: it is made for this use alone.

    Raises:
        AdbenchError: The folder holds no record, cannot be read, or has records of schema 1.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        self._index = IndexFile(_place(folder, cache))
        states, foreign = _listed(folder)
        warn_of_foreign(folder, sorted(foreign))
        if not states:
            raise none_there(folder)
        rows, self._parts = self._index.rows(), self._index.parts()
        self._index.forget([name for name in rows if name not in states])
        known = {"", *self._parts}
        found = [
            row for n, row in rows.items() if states.get(n) == row.state and row.parts in known
        ]
        for row in found:
            del states[row.name]
        found = sorted([*found, *self._read(states)], key=attrgetter("name"))
        wrong = [row for row in found if row.problem]
        if old := [row for row in wrong if is_old(row.name)]:
            raise RecordError(old[0].problem)
        warn_of_newer(folder, [row.problem for row in wrong if row.newer])
        by_id: dict[str, Row] = {}  # presets of two names may have been at work
        for row in found:
            if not row.newer:
                by_id.setdefault(row.id, row)
        self._rows = list(by_id.values())
        self._fields: dict[str, Parts] = {}
        self._of_parts: dict[str, list[Row]] = {}
        """The rows with each key of parts."""
        self._of_source: dict[tuple[str, str], dict[str, Row]] = {}
        """Source and category -> the first sound row with each key of parts."""
        for row in self._rows:
            self._of_parts.setdefault(row.parts, []).append(row)
            if not row.problem:
                first = self._of_source.setdefault((row.source, row.category), {})
                first.setdefault(row.parts, row)

    def all(self) -> list[Record]:
        """Every record, ordered by file name.

        Raises:
            RecordError: One of them cannot be trusted.
        """
        return self._records(self._rows)

    def with_id(self, id_: str) -> Record | None:
        """The record with this id, or None. Raises RecordError where it cannot be trusted."""
        return next(iter(self._records([row for row in self._rows if row.id == id_])), None)

    def bearing_on(self, fits: Callable[[Parts], bool]) -> list[Record]:
        """What a report on some settings needs to know of the folder, ordered by file name.

        That is every record with such settings. Of the others it is one for each category and each
        backbone with its weights and channels: they tell under which words weights were used.

        Args:
            fits: Tells whether parts are those of such a setting, whatever their backbone.

        Raises:
            RecordError: A record with such settings cannot be trusted, or a file cannot be read as
                a record at all, so that nobody knows what it is of.
        """
        fitting = {key for key in self._of_parts if not key or fits(self._of(key))}
        chosen = [row for key in fitting for row in self._of_parts[key]]
        others = (
            next((row for key, row in first.items() if key not in fitting), None)
            for first in self._of_source.values()
        )
        return self._records(sorted([*chosen, *filter(None, others)]))

    def one_of_each(self) -> list[Record]:
        """The first sound record of each setting and seed, ordered by file name.

        There are none where a file was changed or removed since the folder was read.
        """
        sound = ([row for row in rows if not row.problem] for rows in self._of_parts.values())
        with suppress(RecordError):
            return self._records(sorted(rows[0] for rows in sound if rows))
        return []

    def _of(self, key: str) -> Parts:
        """The parts with a key."""
        if key not in self._fields:
            self._fields[key] = json.loads(self._parts[key])
        return self._fields[key]

    def _read(self, states: dict[str, str]) -> list[Row]:
        """Read files that are new or have changed, and write their rows to the index."""
        if len(states) > MANY:
            log.warning("%s: reads %d records that are new to the index", self.folder, len(states))
        found: list[Row] = []
        names = sorted(states)
        for start in range(0, len(names), _AT_ONCE):
            rows: dict[Row, bytes] = {}
            parts: dict[str, str] = {}
            for name in names[start : start + _AT_ONCE]:
                row, text, content = _row_of(self.folder / name, states[name])
                rows[row] = content
                parts |= {row.parts: text} if row.parts else {}
            sure = {row: content for row, content in rows.items() if row.state != _UNKNOWN}
            self._index.write(sure, parts)
            self._parts |= parts
            found += rows
        return found

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        """The records of some rows; one that the index does not hold is read from its file."""
        if wrong := next((row for row in rows if row.problem), None):
            raise RecordError(wrong.problem)
        names = [row.name for row in rows]
        kept = self._index.content(names)
        self._index.forget([name for name in names if name not in kept])
        found = []
        for row in rows:
            path = self.folder / row.name
            record = Record(**json.loads(kept[row.name])) if row.name in kept else load(path)
            found.append(completed(path, record))
        return found


def _place(folder: Path, cache: Path | None) -> Path | None:
    """The file of the index of a folder; None where the cache is not its owner's alone."""
    if cache is None or not private_folder(cache / KIND):
        return None
    metrics = [metric.name for metric in METRICS]
    version = {"version": VERSION, "schema": SCHEMA, "metrics": metrics}
    return cache / KIND / f"{digest({'folder': os.path.realpath(folder), **version})}.sqlite"


def _listed(folder: Path) -> tuple[dict[str, str], list[str]]:
    """The state of each record of a folder by file name, and the names of other JSON files."""
    states, foreign = {}, []
    try:
        with os.scandir(folder) as files:
            for file in files:
                name = file.name
                if not name.endswith(".json"):
                    continue
                if not id_of(name):
                    foreign.append(name)
                    continue
                try:
                    s = file.stat()
                except FileNotFoundError:  # it was removed just now
                    continue
                except OSError:  # such as a link to itself, of which reading tells more
                    states[name] = _UNKNOWN
                    continue
                states[name] = f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unreadable(folder, error) from error
    return states, foreign


def _row_of(path: Path, state: str) -> tuple[Row, str, bytes]:
    """What the index keeps of a file: its row, the parts of its identity and its record."""
    id_ = id_of(path.name)
    try:
        record = read(path)
    except NewerError as error:
        return Row(path.name, state, id_, "", "", "", str(error), 1), "", b""
    except RecordError as error:
        if isinstance(error.__cause__, OSError):  # it may pass, and the next use tries again
            state = _UNKNOWN
        category, text = _claimed(path)
        key = key_of(text) if text else ""
        return Row(path.name, state, id_, category, key, "", str(error), 0), text, b""
    if lacks_metrics(record):
        with suppress(RecordError):  # the files beside it may be mended, and are tried each time
            record = with_metrics(path, record)
    text = _parts_text(record.identity)
    source = digest([record.identity.get("backbone"), record.weights, record.channels])
    row = Row(path.name, state, id_, record.category, key_of(text), source, "", 0)
    return row, text, json.dumps(vars(record)).encode()


def _claimed(path: Path) -> tuple[str, str]:
    """The category and the parts that a record names which cannot be trusted; empty without."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        if not path.is_file():
            return "", ""
        content = json.loads(path.read_bytes())
        for name in ("schema", "checksum", "id"):
            content.pop(name, None)
        if misshapen(content) is None:
            return content["identity"]["category"], _parts_text(content["identity"])
    return "", ""


def _parts_text(identity: dict[str, Any]) -> str:
    parts = {n: v for n, v in identity.items() if n not in ("dataset", "category")}
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))
