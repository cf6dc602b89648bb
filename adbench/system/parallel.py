"""Work on many small pieces at once: one piece per thread, each with a BLAS of one thread.

Threads inside small products cost more than they bring, and contended ones many times more.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import RLock, get_ident
from typing import Any

from threadpoolctl import ThreadpoolController

from adbench.system.processors import processors


@dataclass
class _Libraries:
    """The libraries that were loaded when Python had loaded so many modules."""

    modules: int = field(default_factory=lambda: len(sys.modules))
    controller: ThreadpoolController = field(default_factory=ThreadpoolController)


_known: ContextVar[bool] = ContextVar("libraries_known", default=False)
_looked: list[_Libraries] = []
"""What the last look in a block of ``libraries_known`` found, for all blocks of the process."""


@dataclass
class _Limited:
    """A BLAS library that has one thread now."""

    library: Any
    before: int
    """How many threads it had."""
    blocks: int = 0
    """How many blocks need it limited."""


class _Limits:
    """The libraries that are limited now, by path and by the thread for which they are.

    Most libraries have one count for the whole process. The first block that begins limits them,
    and the last one that ends, in whatever thread, gives them their threads back.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # a block that is collected as garbage may end inside another's lock
        self._limited: dict[tuple[str, int | None], _Limited] = {}

    @contextmanager
    def one_thread(self, controller: ThreadpoolController) -> Iterator[None]:
        """Every BLAS library that the controller knows has one thread in the block."""
        libraries = _blas(controller)
        mine: list[tuple[str, int | None]] = []
        try:
            with self._lock:
                for library in libraries:
                    key = library.filepath, _thread_of(library)
                    if key not in self._limited:
                        self._limited[key] = _Limited(library, library.num_threads)
                        _set(library, 1)
                    self._limited[key].blocks += 1
                    mine.append(key)
            yield
        finally:
            with self._lock:
                for key in mine:
                    if limited := self._limited.get(key):  # none in a process that was forked
                        limited.blocks -= 1
                        if not limited.blocks:
                            _set(limited.library, limited.before)
                            del self._limited[key]

    def forget(self) -> None:
        """Start anew in a forked process, in which no other thread will end its block."""
        self._lock = RLock()  # another thread may have held the former one
        for limited in self._limited.values():
            _set(limited.library, limited.before)
        self._limited.clear()


_limits = _Limits()
if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_limits.forget)


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
    controller = _controller()
    alone = [lib for lib in _blas(controller) if _thread_of(lib) is not None]

    def begin() -> None:
        for library in alone:  # the limit of another thread does not hold for this one
            library.set_num_threads(1)

    with _limits.one_thread(controller), ThreadPoolExecutor(count, initializer=begin) as pool:
        yield lambda work, items: list(pool.map(work, items) if count > 1 else map(work, items))


@contextmanager
def libraries_known() -> Iterator[None]:
    """Look for BLAS libraries once for all ``workers`` in such blocks, and again after an import.

    A look takes about 4 ms, which is much for work that is done again for every image. A generator
    must not yield inside the block: it may go on in another context, where the block cannot end.
    """
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def _controller() -> ThreadpoolController:
    if not _known.get():
        return ThreadpoolController()
    if not _looked or _looked[-1].modules != len(sys.modules):
        _looked[:] = [_Libraries()]
    return _looked[-1].controller


def _blas(controller: ThreadpoolController) -> list[Any]:
    return [library for library in controller.lib_controllers if library.user_api == "blas"]


def _thread_of(library: Any) -> int | None:
    """The thread for which alone a library is limited; None for one with a count for all threads.

    From version 3.7 on, threadpoolctl limits MKL, and what has threads of OpenMP, for the thread
    that asks.
    """
    alone = library.internal_api == "mkl" or getattr(library, "threading_layer", "") == "openmp"
    return get_ident() if alone else None


def _set(library: Any, count: int) -> None:
    # From version 3.8 on, threadpoolctl lets one thread alone change OpenBLAS, until it is told to
    # forget that thread. Here the last thread that ends its block must be able to.
    forget = getattr(library, "clear_controlling_thread", lambda force: None)
    forget(force=True)
    library.set_num_threads(count)
    forget(force=True)
