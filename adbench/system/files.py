"""Files that are written whole or not at all."""

import contextlib
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import platformdirs

STALE = 3600.0
"""Seconds after which a temporary file that nobody wrote to is one that a killed process left."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` only when the block ends well.

    It is a temporary file beside ``path``, which is flushed to the disk and then renamed. So a
    reader, a crash or a kill sees the old content or the new, never a part. The temporary file is
    removed where the block fails; those that killed processes left for the same ``path`` are
    removed too.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` whole or not at all."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def cache_folder(chosen: str | None) -> Path:
    """The folder for what can be computed again: ``chosen``, or the system's folder for caches."""
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("adbench", appauthor=False))
