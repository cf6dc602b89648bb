"""Files that are written whole or not at all."""

import contextlib
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import platformdirs

STALE = 3600.0
"""Seconds after which a temporary file that nobody wrote to is what a killed process left."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` only when the block ends well.

    A temporary file beside ``path``, flushed to the disk, then renamed: a reader, a crash or a kill sees the old content or
    the new, never a part. Raises OSError where the folder cannot be written or is full; the temporary file is removed, and
    what kills left of earlier ones for the same ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                left.unlink()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes private files; results are shared like any other
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` whole or not at all."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def cache_folder(chosen: str | None) -> Path:
    """The folder for what can be computed again: ``chosen``, or the user's cache folder of this system."""
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("adbench", appauthor=False))
