"""Named stages inside a computation, whose seconds a surrounding clock collects."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


def synchronise() -> None:
    """Wait for the accelerator, so that a clock read afterwards has counted its work."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the block's seconds to the stage ``name`` of the surrounding ``stages()``; without one, do nothing."""
    seconds = _stages.get()
    if seconds is None:
        yield
        return
    synchronise()
    start = time.perf_counter()
    yield
    synchronise()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Collect the seconds of every ``stage`` inside the block."""
    seconds: dict[str, float] = {}
    token = _stages.set(seconds)
    try:
        yield seconds
    finally:
        _stages.reset(token)
