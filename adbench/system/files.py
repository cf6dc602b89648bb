"""Files that are written whole or not at all."""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import platformdirs
import psutil

STALE = 24 * 3600.0
"""Seconds after which a temporary file, to which nobody wrote and whose owner cannot be asked for,
is given up."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")


@contextmanager
def whole_file(path: Path, tidy: bool = True) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` only when the block ends well.

    It is a temporary file beside ``path``, which is flushed to the disk and then renamed. So a
    reader, a crash or a kill sees the old content or the new, never a part. The temporary file is
    removed where the block fails.

    Args:
        path: The file.
        tidy: Whether ``remove_left`` is called first. It lists the folder, so who writes many files
            into one folder calls it once.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    temporary = _temporary(path, tidy)
    try:
        # The user's umask gives it the rights of any other file; those of tempfile are private.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            error.filename = str(path)  # a failed write names no file
        raise


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` for files that take their place by a rename; it goes at the end.

    Where ``path`` has no folder yet, it lies in the nearest one above that there is. One that a
    killed process left is removed with the next temporary file or folder there.

    Raises:
        OSError: The folder cannot be written.
    """
    folder = _temporary(existing_folder(path.parent) / path.name, tidy=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def try_folder(folder: Path) -> None:
    """Try whether files can be written to a folder, or whether it can be made. Raises OSError.

    Nothing is made: what fails later leaves no empty folder behind.
    """
    with tempfile.TemporaryFile(dir=existing_folder(folder)):
        pass


def existing_folder(folder: Path) -> Path:
    """A folder, or the nearest one above it that there is. Raises OSError where a file is above."""
    place = folder.absolute()
    while True:
        try:
            place.lstat()
            return place
        except FileNotFoundError:
            if place == place.parent:  # a drive that is not there
                raise
            place = place.parent


def try_file(path: Path) -> None:
    """Try whether a file can be written, see ``try_folder``. Raises OSError."""
    if path.is_dir():
        raise IsADirectoryError(0, "is a folder")
    try_folder(path.parent)


def write_whole(path: Path, content: str | bytes, tidy: bool = True) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` whole or not at all, see ``whole_file``."""
    with whole_file(path, tidy) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def expanded(name: str | os.PathLike[str]) -> Path:
    """A path as the user means it: ``~`` and ``~user`` are home folders.

    Where there is no such user, the name is that of a file: ``Path.expanduser`` raises an error.
    """
    return Path(os.path.expanduser(name))


def cache_folder(chosen: str | None) -> Path:
    """The folder for what can be computed again: ``chosen``, or the system's folder for caches."""
    if chosen:
        return expanded(chosen)
    return Path(platformdirs.user_cache_dir("adbench", appauthor=False))


def private_folder(folder: Path) -> bool:
    """Make a folder that its owner alone can read and write; whether it is such a folder now.

    What is run after it was read from a folder, such as machine code, is kept in no other.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except OSError:
        return False
    if os.name != "posix":
        return True
    return about.st_uid == os.geteuid() and not about.st_mode & 0o077 and os.access(folder, os.W_OK)


def remove_left(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in a folder.

    Those of this machine go where their process is no more. Those of another machine, whose
    processes cannot be seen, go when nobody wrote to them for ``STALE`` seconds by the clock of the
    disk: the clock of this machine may be wrong, and that of another may differ.
    """
    now: float | None = None
    for name, machine, process in _left(folder):
        path = folder / name
        with contextlib.suppress(OSError):
            if machine == _machine():
                if psutil.pid_exists(process):
                    continue
            else:
                now = now or _now(folder)
                if now - path.stat().st_mtime <= STALE:
                    continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _temporary(path: Path, tidy: bool) -> Path:
    """A name beside ``path`` that nobody else has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if tidy:
        remove_left(path.parent)
    mark = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{_short(path.name)}.{mark}.tmp")


def _left(folder: Path) -> list[tuple[str, str, int]]:
    """The names of the temporary files of a folder, each with its machine and its process."""
    try:
        with os.scandir(folder) as files:
            matched = (_TEMPORARY.fullmatch(f.name) for f in files if f.name.endswith(".tmp"))
            return [(found[0], found[1], int(found[2])) for found in matched if found]
    except OSError:
        return []


def _now(folder: Path) -> float:
    """The time by the clock of the disk on which a folder lies."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _machine() -> str:
    """A short name for what a process number is unique on: a boot of a machine, or a container."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name += Path("/proc/sys/kernel/random/boot_id").read_text()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _short(name: str) -> str:
    """So much of a name that what is added still fits into a file name of 255 bytes."""
    return os.fsencode(name)[:200].decode(errors="ignore")
