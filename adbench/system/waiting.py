"""Locks that several processes share: who waits for long says for what."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import BaseFileLock, Timeout

from adbench.system.progress import aside

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds of waiting before it is said."""


@contextmanager
def turn(lock: BaseFileLock, what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a lock for the block.

    Args:
        lock: Of a file that other processes lock too.
        what: What another process is doing where the lock is taken, such as ``makes features``.
        patience: Seconds of waiting before a line on standard error says so.

    Raises:
        OSError: The folder of the lock takes none.
    """
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        with aside():
            log.warning("waiting for another process that %s (%s)", what, lock.lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
