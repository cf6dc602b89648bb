"""The file of the index of a folder of records: rows by file name, in SQLite.

Nothing in it is needed. A file that is locked by another process for long or cannot be written is
done without: then the records are kept in memory for this use. A damaged file is removed, and a new
one takes its place. The file is open only while it is read or written, so that nothing is left to
close when a reader is forgotten, in whatever thread that happens.
"""

import hashlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds to wait for another process that writes to the file."""
_NO_DAMAGE = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
}
"""Errors of a file that is in use, or on a disk that is full or cannot be written."""
_TABLES = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, state TEXT, id TEXT, category TEXT, parts TEXT, source TEXT,
    problem TEXT, newer INTEGER, crc INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, crc INTEGER, content BLOB);
CREATE TABLE IF NOT EXISTS parts (key TEXT PRIMARY KEY, content TEXT) WITHOUT ROWID;
"""


class Row(NamedTuple):
    """What is known of a file: its state when it was read, and what its record is found by."""

    name: str
    state: str
    """Size, times and inode. Any writing to the file changes it, even one that resets its time."""
    id: str
    category: str
    """Empty where the file cannot be read as a record at all."""
    parts: str
    """The key of the parts of its identity; empty where the file cannot be read at all."""
    source: str
    """Tells apart what records say of the backbone: its settings, weights and channels."""
    problem: str
    """Why the record cannot be trusted; empty where it can."""
    newer: int
    """Whether a newer adbench wrote it."""


class IndexFile:
    """Rows, and the records that belong to them, each with a checksum.

    Args:
        path: The file; None: the records are kept in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._unwritten: dict[str, bytes] = {}
        """The records, compressed, that the file did not take."""

    def rows(self) -> dict[str, Row]:
        """The sound rows by the names of their files."""
        columns = ", ".join(Row._fields)
        query = f"SELECT {columns}, crc FROM files"
        found: list[Any] = self._tried(lambda data: data.execute(query).fetchall(), [])
        return {row[0]: Row._make(row[:-1]) for row in found if _crc_of(row[:-1]) == row[-1]}

    def parts(self) -> dict[str, str]:
        """The sound parts by their keys, as JSON."""
        query = "SELECT key, content FROM parts"
        found: list[Any] = self._tried(lambda data: data.execute(query).fetchall(), [])
        return {key: text for key, text in found if key_of(str(text)) == key}

    def content(self, names: Sequence[str]) -> dict[str, bytes]:
        """The records of some files, as JSON; those that are not kept, or not sound, are absent."""
        query = "SELECT name, crc, content FROM records WHERE name = ?"

        def fetched(data: sqlite3.Connection) -> list[Any]:
            return [row for name in names for row in data.execute(query, [name])]

        found: list[Any] = self._tried(fetched, [])
        packed = {name: text for name, crc, text in found if _sound(crc, text)}
        packed |= {name: self._unwritten[name] for name in names if name in self._unwritten}
        return {name: zlib.decompress(text) for name, text in packed.items()}

    def write(self, rows: Mapping[Row, bytes], parts: Mapping[str, str]) -> None:
        """Write rows with the content of their records, and the parts that they name."""
        marks = ", ".join("?" * (len(Row._fields) + 1))
        packed = {row.name: zlib.compress(content, 1) for row, content in rows.items()}

        def written(data: sqlite3.Connection) -> bool:
            with data:
                data.executemany(
                    f"INSERT OR REPLACE INTO files VALUES ({marks})",
                    [(*row, _crc_of(row)) for row in rows],
                )
                data.executemany(
                    "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                    [(name, zlib.crc32(content), content) for name, content in packed.items()],
                )
                data.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?)", parts.items())
            return True

        if not self._tried(written, False):
            self._unwritten |= packed

    def forget(self, names: Sequence[str]) -> None:
        """Remove the rows of files that are gone."""

        def removed(data: sqlite3.Connection) -> None:
            with data:
                for table in ("files", "records"):
                    data.executemany(f"DELETE FROM {table} WHERE name = ?", [(n,) for n in names])

        if names:
            self._tried(removed, None)

    def _tried(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What an action on the file gives, or ``otherwise`` where the file is of no use."""
        if self._path is None:
            return otherwise
        try:
            with closing(sqlite3.connect(self._path, timeout=PATIENCE)) as data:
                data.executescript(_TABLES)
                return action(data)
        except sqlite3.Error as error:
            log.info("%s is done without: %s", self._path, error)
            if _is_damage(error):
                _remove(self._path)
            else:
                self._path = None
            return otherwise


def _remove(path: Path) -> None:
    for file in (f"{path}-journal", f"{path}"):
        with suppress(OSError):
            os.unlink(file)


def key_of(text: str) -> str:
    """A short name for parts, given as JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _crc_of(row: tuple[object, ...]) -> int:
    return zlib.crc32("\0".join(map(str, row)).encode())


def _sound(crc: object, content: object) -> bool:
    return isinstance(content, bytes) and zlib.crc32(content) == crc


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the content of the file is wrong; a text that is no UTF-8 has no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NO_DAMAGE
