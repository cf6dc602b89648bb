"""The archive of a dataset becomes the folder that its class reads."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from adbench.data.archive import Archive
from adbench.data.listing import shown, some, visible
from adbench.data.unpack import unpack
from adbench.errors import AdbenchError, DataError
from adbench.system.files import cache_folder, existing_folder, scratch_folder, try_folder
from adbench.system.progress import doing
from adbench.system.settings import digest
from adbench.system.waiting import turn

DEPTH = 3
"""Folders of an archive in which its dataset may be wrapped."""


def prepare(
    known: Archive, archive: Path, out: Path, sha256: str | None, cache: str | None
) -> list[str]:
    """Unpack a dataset into a folder that appears when it is whole; what was done, in sentences.

    Args:
        known: What is known of the archive.
        archive: The file.
        out: The folder that is made. Where it holds something already, nothing is done.
        sha256: What the user expects of the file in place of what is known; None for that.
        cache: The folder of caches, which takes a lock. A process with another cache does not wait;
            then both unpack, and what is whole first stays.

    Raises:
        DataError: The archive is missing or another one, or ``unpack`` refuses it, or it holds no
            such dataset. Nothing is left behind.
        AdbenchError: ``out`` is a file, or its folder cannot be written.
    """
    out = out.absolute()
    locks = cache_folder(cache) / "prepare"
    locks.mkdir(parents=True, exist_ok=True)
    with turn(FileLock(locks / f"{digest(str(out))}.lock"), f"prepares {shown(out)}"):
        if _holds_something(out):
            return [f"{shown(out)} is there already; nothing was unpacked"]
        if out.exists() and not out.is_dir():
            raise AdbenchError(f"out={shown(out)}: is a file; name a folder")
        told = _verified(archive, sha256 or known.sha256)
        files = _unpacked(known, archive, out)
    if files is None:
        return [told, f"{shown(out)} was made by another process meanwhile and stays as it is"]
    return [told, f"{files:,} files were unpacked into {shown(out)}"]


def _verified(archive: Path, expected: str | None) -> str:
    """A sentence about the sha256 of the file. Raises DataError where another is expected."""
    try:
        with archive.open("rb") as file, doing("sha256 of the archive"):
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{shown(archive)}: the archive cannot be read: {why}") from error
    if expected is None:
        return f"{shown(archive)} has sha256 {found}; no published one is known to compare with"
    if found != expected.lower():
        raise DataError(
            f"{shown(archive)}: has sha256 {found}, and {expected} is expected; it is damaged or "
            f"another release. Download it again, or give sha256={found} to take it as it is"
        )
    return f"{shown(archive)} has the expected sha256 {found}"


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _unpacked(known: Archive, archive: Path, out: Path) -> int | None:
    """Unpack beside the place and move what is whole there; the number of files.

    None where another process put something there before.
    """
    try:
        try_folder(out.parent)
        place = existing_folder(out.parent)
        free = shutil.disk_usage(place).free
    except OSError as error:
        why = error.strerror or error
        raise AdbenchError(f"{shown(out.parent)}: cannot be written to: {why}") from error
    size = archive.stat().st_size
    if free < size:
        raise DataError(
            f"{shown(out.parent)}: has {free / 2**20:,.0f} MiB free, and the archive alone has "
            f"{size / 2**20:,.0f}; name another place by out=DIR"
        )
    with scratch_folder(out) as scratch:
        made = scratch / "content"
        made.mkdir()
        with doing("unpack"):
            files = unpack(archive, made)
        found = next((f for f in _nested(made, DEPTH) if any(f.glob(known.holds))), None)
        if found is None:
            raise DataError(
                f"{shown(archive)}: holds no folder with {known.holds}, but "
                f"{some(path.name for path in visible(made)) or 'nothing'}; is it another dataset?"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(found, out)
        except OSError:
            if not _holds_something(out):
                raise
            return None
    return files


def _nested(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it, from the outside in."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [inner for outer in level for inner in visible(outer) if inner.is_dir()]
