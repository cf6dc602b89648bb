"""Progress bars on standard error, shown where the surrounding code asks for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

from tqdm import tqdm

_shown: ContextVar[bool] = ContextVar("progress", default=False)


@contextmanager
def progress(shown: bool) -> Iterator[None]:
    """Show, or hide, every ``bar`` inside the block."""
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


def bar(total: int, what: str, unit: str) -> "tqdm[NoReturn]":
    """A progress bar of ``total`` steps: a context manager that ``update`` moves."""
    return tqdm(total=total, desc=what, unit=unit, leave=False, disable=not _shown.get())
