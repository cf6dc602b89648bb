"""Locks that several processes share: who waits for long says for what.

They are locks of the operating system (flock), which end with the process that holds them. The
file of a lock stays; it is empty, and locks nothing by itself. A network disk must pass locks on,
as NFS 4 does, for processes on several machines to wait for one another.
"""

import errno
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
    except NotImplementedError as error:  # how some versions of filelock say so
        raise OSError(errno.ENOLCK, "the folder takes no locks") from error
    try:
        yield
    finally:
        lock.release()
