"""Work on many small pieces at once: one piece per thread, each with a BLAS of one thread.

Threads inside small products cost more than they bring, and contended ones many times more.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from threadpoolctl import ThreadpoolController

from adbench.system.processors import processors


@dataclass
class _Libraries:
    """The libraries that were loaded when Python had loaded so many modules."""

    modules: int = field(default_factory=lambda: len(sys.modules))
    controller: ThreadpoolController = field(default_factory=ThreadpoolController)


_known: ContextVar[list[_Libraries] | None] = ContextVar("libraries", default=None)


def threads() -> int:
    """How many threads to use: as many as torch does, or as there may be if it is not loaded."""
    torch = sys.modules.get("torch")
    return processors() if torch is None else int(torch.get_num_threads())


@contextmanager
def workers(
    limit: int | None = None,
) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]]:
    """A function like ``map`` that runs on ``threads()`` threads, and on ``limit`` at most.

    It returns the results in order and raises what was raised. The items must not share what they
    write. Inside the block every BLAS library that is loaded by then has one thread.
    """
    count = threads() if limit is None else max(1, min(threads(), limit))
    with _controller().limit(limits=1, user_api="blas"), ThreadPoolExecutor(count) as pool:
        yield lambda work, items: list(pool.map(work, items) if count > 1 else map(work, items))


@contextmanager
def libraries_known() -> Iterator[None]:
    """Look for BLAS libraries once for all ``workers`` in the block, and again after an import.

    A look takes about 4 ms, which is much for work that is done again for every image.
    """
    token = _known.set([])
    try:
        yield
    finally:
        _known.reset(token)


def _controller() -> ThreadpoolController:
    known = _known.get()
    if known is None:
        return ThreadpoolController()
    if not known or known[-1].modules != len(sys.modules):
        known[:] = [_Libraries()]
    return known[-1].controller
