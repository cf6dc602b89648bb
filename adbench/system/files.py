"""Files that are written whole or not at all."""

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import platformdirs
import psutil

STALE = 24 * 3600.0
"""Seconds after which a temporary file of another machine, to which nobody wrote, is given up."""
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` only when the block ends well.

    It is a temporary file beside ``path``, which is flushed to the disk and then renamed. So a
    reader, a crash or a kill sees the old content or the new, never a part. The temporary file is
    removed where the block fails; those that killed processes left in the folder are removed too.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    temporary = _temporary(path)
    try:
        # The user's umask gives it the rights of any other file; those of tempfile are private.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` for files that take their place by a rename; it goes at the end.

    One that a killed process left is removed with the next temporary file or folder there.

    Raises:
        OSError: The folder of ``path`` cannot be written.
    """
    folder = _temporary(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def try_folder(folder: Path) -> None:
    """Make a folder, and try whether files can be written to it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def try_file(path: Path) -> None:
    """Try whether a file can be written, and make its folder. Raises OSError."""
    if path.is_dir():
        raise IsADirectoryError(0, "is a folder")
    try_folder(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` whole or not at all."""
    with whole_file(path) as file:
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


def _temporary(path: Path) -> Path:
    """A name beside ``path`` that nobody else has; what killed processes left there is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path.parent)
    mark = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{_short(path.name)}.{mark}.tmp")


def _remove_left(folder: Path) -> None:
    """Remove what processes of this machine that are no more left, and what is old."""
    for file in folder.glob(".*.tmp"):
        found = _TEMPORARY.fullmatch(file.name)
        if not found:
            continue
        machine, process = found[1], int(found[2])
        with contextlib.suppress(OSError):
            dead = machine == _machine() and not psutil.pid_exists(process)
            if not dead and time.time() - file.stat().st_mtime <= STALE:
                continue
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()


def _machine() -> str:
    """A short name for what a process number is unique on: a machine, or a container on it."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _short(name: str) -> str:
    """So much of a name that what is added still fits into a file name of 255 bytes."""
    return os.fsencode(name)[:200].decode(errors="ignore")
