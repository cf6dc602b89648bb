"""Named stages inside a computation, whose seconds a surrounding clock collects."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class _Clock:
    wait: Callable[[], None]
    seconds: dict[str, float] = field(default_factory=dict)


_clock: ContextVar[_Clock | None] = ContextVar("stages", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the block's seconds to the stage ``name`` of the surrounding ``stages()``.

    Without one it does nothing. Seconds count too where the block raises.
    """
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.wait()
    start = time.perf_counter()
    try:
        yield
        clock.wait()
    finally:
        clock.seconds[name] = clock.seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def stages(wait: Callable[[], None] = lambda: None) -> Iterator[dict[str, float]]:
    """Collect the seconds of every ``stage`` inside the block.

    Args:
        wait: Waits for the accelerator that computes, so that a clock read afterwards has
            counted its work.
    """
    clock = _Clock(wait)
    token = _clock.set(clock)
    try:
        yield clock.seconds
    finally:
        _clock.reset(token)


def count(name: str, seconds: float) -> None:
    """Add seconds that were measured elsewhere to the stage ``name`` of the surrounding clock."""
    if (clock := _clock.get()) is not None:
        clock.seconds[name] = clock.seconds.get(name, 0.0) + seconds
