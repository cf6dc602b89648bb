"""The orders in which patches were selected, kept on disk: one costs more to make than to read.

A kept order can always be made again. One that is missing, damaged or cannot be written costs a
warning and the computation, never a wrong number.
"""

import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from adbench.system import waiting
from adbench.system.files import remove_left, write_whole
from adbench.system.settings import digest

log = logging.getLogger(__name__)

VERSION = 1
"""Of the code that selects. A change of any pick needs a new one."""
_CHECKSUM = 4  # bytes


def order_key(features: str, device: str, selection: dict[str, Any]) -> dict[str, Any]:
    """All on which an order depends.

    Args:
        features: The key of the features.
        device: Where it is selected; its number does not matter.
        selection: What the method says that the order follows from.
    """
    return {"features": features, "device": device.split(":")[0], **selection}


@dataclass
class Orders:
    """A folder of orders; without a folder nothing is kept."""

    folder: Path | None = None
    _locks: dict[Path, FileLock] = field(default_factory=dict, init=False, repr=False)

    def tidy(self) -> None:
        """Remove what killed processes left in the folder. It may hold very many files."""
        if self.folder is not None:
            remove_left(self.folder / "orders")

    def read(self, key: dict[str, Any]) -> np.ndarray | None:
        """The kept order, (m,) int64, or None.

        Args:
            key: JSON-like; all on which the order depends: features and settings of the selection.
        """
        path = self._path(key)
        if path is None:
            return None
        try:
            content = path.read_bytes()
            body, stored = content[:-_CHECKSUM], content[-_CHECKSUM:]
            if zlib.crc32(body).to_bytes(_CHECKSUM, "little") != stored:
                raise ValueError("its checksum does not match")
            order: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            log.warning("%s is damaged (%s) and is computed again", path, error)
            return None
        return order

    def keep(self, key: dict[str, Any], order: np.ndarray) -> None:
        """Keep ``order``, (m,) int64, unless a longer one is kept: its first picks are the same."""
        path = self._path(key)
        if path is None:
            return
        with self.turn(key):
            kept = self.read(key)
            if kept is not None and len(kept) >= len(order):
                return
            body = io.BytesIO()
            np.save(body, np.ascontiguousarray(order, np.int64), allow_pickle=False)
            content = body.getvalue()
            try:
                checksum = zlib.crc32(content).to_bytes(_CHECKSUM, "little")
                write_whole(path, content + checksum, tidy=False)
            except OSError as error:
                log.warning(
                    "cannot keep %s (%s); it will be computed again next time", path.name, error
                )

    @contextmanager
    def turn(self, key: dict[str, Any]) -> Iterator[None]:
        """Let one process at a time work on this order, for a block that reads, computes and keeps.

        Where the folder takes no locks, the block runs without one.
        """
        path = self._path(key)
        if path is None:
            yield
            return
        lock = self._locks.setdefault(path, FileLock(f"{path}.lock"))
        with ExitStack() as held:
            with suppress(OSError):  # the folder takes no locks
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(waiting.turn(lock, "selects the same patches"))
            yield

    def _path(self, key: dict[str, Any]) -> Path | None:
        name = digest({"version": VERSION, **key})
        return self.folder / "orders" / f"{name}.npy" if self.folder else None
