"""Results kept on disk under the name of their content, so that no run and no job computes them twice.

What is kept can always be computed again: an entry that is missing, damaged or cannot be written costs a warning and the
reuse, never a wrong number. A file is written whole or not at all, carries a checksum, and is computed by one process at a
time while others wait for it.
"""

import hashlib
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adbench.files import write_whole

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def digest(content: Any, length: int = 20) -> str:
    """A short name for JSON-like ``content``, the same on every machine whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Entry:
    """Arrays and the seconds that computing them took, then or now."""

    arrays: Arrays
    seconds: float

    @classmethod
    def of(cls, compute: Callable[[], Arrays]) -> Self:
        """Compute now and take the time."""
        start = time.perf_counter()
        arrays = compute()
        return cls(arrays, time.perf_counter() - start)

    def to_bytes(self) -> bytes:
        """Checksum and content."""
        arrays = {name: np.ascontiguousarray(a) for name, a in self.arrays.items()}
        body = save(arrays, metadata={"seconds": repr(self.seconds)})
        return zlib.crc32(body).to_bytes(4, "big") + body

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The entry that ``to_bytes`` wrote. Raises ValueError where a bit differs."""
        body = content[4:]
        if len(content) < 12 or zlib.crc32(body).to_bytes(4, "big") != content[:4]:
            raise ValueError("checksum does not match")
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        return cls(load(body), float(header["__metadata__"]["seconds"]))


@dataclass
class Memo:
    """A folder of entries; without a folder nothing is kept."""

    folder: Path | None = None
    credit: float = 0.0
    """Seconds that recalled results cost when they were computed, less the seconds spent on reading them."""

    def recall(
        self,
        what: str,
        settings: dict[str, Any],
        compute: Callable[[], Arrays],
        extend: Callable[[Arrays], Arrays | None] | None = None,
        cost: Callable[[Arrays], float] | None = None,
    ) -> Entry:
        """The kept arrays of this computation, or newly computed ones.

        Args:
            what: Name of the computation.
            settings: JSON-like; all that the result depends on.
            compute: Makes the arrays.
            extend: Is given kept arrays and returns None where they suffice, else larger ones that replace them.
            cost: Seconds that the part of the arrays in use took, where that is less than all of them.
        """
        if self.folder is None:
            return Entry.of(compute)
        path = self.folder / f"{what}-{digest(settings)}.memo"
        with _turn(path):
            start = time.perf_counter()
            kept = _read(path)
            if kept is not None:
                longer = extend(kept.arrays) if extend else None
                if longer is None:
                    spent = time.perf_counter() - start
                    self.credit += (cost(kept.arrays) if cost else kept.seconds) - spent
                    return kept
                entry = Entry(longer, kept.seconds + time.perf_counter() - start)
                self.credit += cost(longer) - (time.perf_counter() - start) if cost else kept.seconds
            else:
                entry = Entry.of(compute)
            try:
                write_whole(path, entry.to_bytes())
            except OSError as error:
                log.warning("cannot keep %s (%s); it will be computed again next time", path.name, error)
            return entry


def _read(path: Path) -> Entry | None:
    try:
        return Entry.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        log.warning("%s is damaged (%s) and is computed again", path, error)
        return None


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Let one process at a time make ``path``; where the folder takes no locks, go on without."""
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
