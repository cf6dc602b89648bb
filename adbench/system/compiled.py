"""Loops that numba compiles, kept on disk where a folder can be written."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from numba import njit
from numba.core.caching import FunctionCache

P = ParamSpec("P")
R = TypeVar("R")


def compiled(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that compiles a loop at its first call and lets threads run it side by side.

    The machine code is kept on disk, where numba keeps it: next to the source, or in the folder of
    the environment variable NUMBA_CACHE_DIR, or in the user's cache folder. Where none of them can
    be written, or where what they hold is damaged, the loop is compiled in memory.

    Args:
        options: Options of ``numba.njit`` other than ``cache`` and ``nogil``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        loop: Any = njit(nogil=True, **options)(function)
        cache: Any = _Cache
        with suppress(RuntimeError):  # numba finds no folder that it can write
            loop._cache = cache(function)  # as njit(cache=True) does with a FunctionCache
        compiled_loop: Callable[P, R] = loop
        return compiled_loop

    return decorate


class _Cache(FunctionCache):
    """The machine code of one function on disk; a fault there never ends the program."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code of a signature, or None where it has to be compiled."""
        numba: Any = super()
        try:
            return numba.load_overload(sig, target_context)
        except Exception:  # a damaged pickle raises errors of almost any class
            with suppress(OSError):
                numba.flush()  # start the index anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled code of a signature, if that is possible."""
        numba: Any = super()
        with suppress(Exception):  # the disk is full, or the index could not be started anew
            numba.save_overload(sig, data)
