"""What a run tells on standard error while it works.

In a terminal it shows bars: one for the whole run, which names category, job and stage, and one for
a long stage. Elsewhere, such as in a log file or a batch job, it writes a line when a stage starts,
but not more than one in ``INTERVAL`` seconds. Where standard error is one of JSON lines
(``adbench.system.events``), it tells events instead. A standard error that is closed costs the
lines, not the run.
"""

import io
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import IO, Any, Literal, NoReturn

from tqdm import tqdm

from adbench.system.events import Events
from adbench.system.printable import in_line
from adbench.system.shown import INTERVAL, Kind, Shown, duration

__all__ = [
    "Kind",
    "aside",
    "at",
    "bar",
    "doing",
    "finished",
    "happened",
    "kind_for",
    "progress",
    "steps",
]

_current: ContextVar[Shown | None] = ContextVar("progress", default=None)


def kind_for(stream: IO[str] | None) -> Kind:
    """How to show progress on a standard error: bars where it is a terminal."""
    if stream is None or stream.closed:
        return "nothing"
    if isinstance(stream, Events):
        return "events"
    return "bars" if stream.isatty() else "lines"


@contextmanager
def progress(kind: Kind, total: int = 0, interval: float = INTERVAL) -> Iterator[None]:
    """Show what is done inside the block.

    Args:
        kind: How; see ``kind_for``.
        total: How many records are to be brought up to date.
        interval: Seconds between two lines.
    """
    shown = Shown(kind, total, interval)
    token = _current.set(shown)
    try:
        yield
    finally:
        _current.reset(token)
        shown.end()


def at(category: str, jobs: Sequence[int] = ()) -> None:
    """Say at which category the run is, and for which jobs of a sweep."""
    if (shown := _current.get()) is None:
        return
    words = [f"job {jobs[0]}" if len(jobs) == 1 else f"{len(jobs)} jobs"] if jobs else []
    new, shown.category, shown.jobs = category != shown.category, category, list(jobs)
    shown.place = ", ".join([in_line(category), *words])
    if new:
        shown.tell("category")


@contextmanager
def doing(stage: str) -> Iterator[None]:
    """Show a stage, such as ``fit``, as long as the block lasts; inside another one it is shown."""
    shown = _current.get()
    if shown is None:
        yield
        return
    before, shown.stage = shown.stage, stage
    steps, shown.steps = shown.steps, None
    shown.show()
    try:
        yield
    finally:
        shown.stage, shown.steps = before, steps
        shown.show()


def finished(count: int = 1) -> None:
    """Say that so many records are up to date."""
    if (shown := _current.get()) is not None:
        shown.finish(count)


def happened(event: Literal["record", "failure"], category: str, **about: Any) -> None:
    """Tell machines what became of a category; a person is told in other words.

    Args:
        event: Its name.
        category: The category.
        about: What else the event holds, such as the jobs of a sweep and a message.
    """
    if (shown := _current.get()) is not None:
        shown.tell(event, category=category, **about)


def bar(total: int, what: str, unit: str) -> "tqdm[NoReturn]":
    """A progress bar of ``total`` steps: a context manager that ``update`` moves."""
    shown = _current.get()
    if shown is None or shown.kind not in ("bars", "events"):
        return tqdm(total=total, disable=True)
    if shown.kind == "bars":
        return tqdm(total=total, desc=shown.title(what), unit=unit, leave=False)
    counted: tqdm[NoReturn] = tqdm(total=total, file=io.StringIO(), mininterval=1e9)
    shown.steps = lambda: (int(counted.n), total)
    return counted


@contextmanager
def steps(total: int, what: str, unit: str) -> Iterator[Callable[[], None]]:
    """A block of many steps, with a bar, or with lines that say how long the rest takes.

    Args:
        total: How many there are.
        what: Is done in all of them, such as ``training``.
        unit: One of them, such as ``step``.

    Yields:
        A function to call after each step.
    """
    shown, start, done = _current.get(), time.monotonic(), itertools.count(1)
    with doing(what), bar(total, what, unit) as moved:

        def tell() -> None:
            number = next(done)
            moved.update()
            if shown is not None:
                left = (time.monotonic() - start) / number * (total - number)
                shown.detail = f", {unit} {number} of {total}, about {duration(left)} left"

        try:
            yield tell
        finally:
            if shown is not None:
                shown.detail = ""


def aside() -> AbstractContextManager[None]:
    """A block that writes to the screen; bars are taken away before it and come back after it."""
    shown = _current.get()
    if shown is None or shown.kind != "bars":
        return nullcontext()
    return tqdm.external_write_mode(file=sys.stdout)
