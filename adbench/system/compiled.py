"""Loops that numba compiles, kept on disk where a folder can be written (numba, "Caching")."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, ParamSpec, TypeVar

from numba import njit
from numba.core import caching

from adbench.system.files import cache_folder, private_folder

P = ParamSpec("P")
R = TypeVar("R")


def compiled(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that compiles a loop at its first call and lets threads run it side by side.

    The machine code is kept on disk: in the folder of the environment variable NUMBA_CACHE_DIR,
    else next to the source, else in adbench's cache folder. Where none of them can be written, or
    where what they hold is damaged, the loop is compiled in memory.

    Args:
        options: Options of ``numba.njit`` other than ``cache`` and ``nogil``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        loop: Any = njit(nogil=True, **options)(function)
        cache: Any = _Cache
        with suppress(RuntimeError, OSError):  # there is no folder that can be written
            loop._cache = cache(function)  # as njit(cache=True) does with a FunctionCache
        compiled_loop: Callable[P, R] = loop
        return compiled_loop

    return decorate


class _OwnFolder(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):
    """The folder of adbench, if it is private: whoever writes there has his code run here."""

    def __init__(self, function: Any, file: str) -> None:
        self._py_file, self._lineno = file, function.__code__.co_firstlineno
        folder = cache_folder(os.environ.get("ADBENCH_CACHE")) / "compiled"
        numba: Any = self
        self._cache_path = folder / numba.get_suitable_cache_subpath(file)

    def get_cache_path(self) -> str:
        """Where the machine code of the function's file is."""
        return str(self._cache_path)

    def ensure_cache_path(self) -> None:
        """Make the folder; raises OSError where it cannot be used."""
        folder = self._cache_path.parent
        if not (folder.is_absolute() and private_folder(folder)):
            raise OSError(f"{folder} is not private")
        numba: Any = super()
        numba.ensure_cache_path()


class _Code(caching.CompileResultCacheImpl):
    """What numba keeps of a function: where its user says, else next to the source, else here."""

    _locator_classes: ClassVar[list[Any]] = [  # type: ignore[misc]
        *caching.CompileResultCacheImpl._locator_classes[:2],
        _OwnFolder,
    ]


class _Cache(caching.FunctionCache):
    """The machine code of one function on disk; a fault there never ends the program."""

    _impl_class = _Code

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
