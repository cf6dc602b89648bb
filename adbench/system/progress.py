"""What a run tells on standard error while it works.

In a terminal it shows bars: one for the whole run, which names category, job and stage, and one for
a long stage. Elsewhere, such as in a log file or a batch job, it writes a line when a stage starts,
but not more than one in ``INTERVAL`` seconds. A standard error that is closed costs the lines, not
the run.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import IO, Literal, NoReturn

from tqdm import tqdm

from adbench.system.printable import printable

Kind = Literal["bars", "lines", "nothing"]

INTERVAL = 10.0
"""Seconds between two lines."""
REMINDER = 60.0
"""Seconds after which a stage that still goes on is told again."""


class _Progress:
    """Where a run is.

    Args:
        kind: How it is shown.
        total: How many records the run is to bring up to date.
        interval: Seconds between two lines.
    """

    def __init__(self, kind: Kind, total: int, interval: float) -> None:
        self.kind, self.total, self.done = kind, total, 0
        self.place, self.stage, self.detail = "", "", ""
        self._interval, self._start = interval, time.monotonic()
        self._told: tuple[str, str] = ("", "")
        self._last = -interval - REMINDER
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._bar: tqdm[NoReturn] | None = None
        self._ticker: threading.Thread | None = None
        if kind == "bars" and total:
            self._bar = tqdm(total=total, unit="record", leave=False)
        if kind == "lines":
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def show(self) -> None:
        """Show where the run is now."""
        if self._bar is not None:
            self._bar.set_description(self.title(self.stage))
        elif self.kind == "lines":
            self._tell()

    def title(self, stage: str) -> str:
        """The place with a stage."""
        return ": ".join(filter(None, (self.place, stage)))

    def finish(self, count: int) -> None:
        """Count records that are up to date."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)

    def end(self) -> None:
        """Take bars away and stop the reminders."""
        self._ended.set()
        if self._bar is not None:
            self._bar.close()
        if self._ticker is not None:
            self._ticker.join()

    def _tick(self) -> None:
        while not self._ended.wait(1):
            self._tell()

    def _tell(self) -> None:
        """Write a line if one is due."""
        with self._lock:
            now, here = time.monotonic(), (self.place, self.stage)
            since = now - self._last
            due = self._interval if here != self._told else max(REMINDER, self._interval)
            if not self.stage or since < due:
                return
            self._last, self._told = now, here
            stage = f"{self.title(self.stage)}{self.detail}"
            _write(f"adbench: {stage}{self._left(now - self._start)}")

    def _left(self, passed: float) -> str:
        """How far the run is, and how long the rest takes if it goes on like this."""
        if self.total < 2:
            return f" (after {_duration(passed)})" if passed >= 1 else ""
        words = f"{self.done} of {self.total} records after {_duration(passed)}"
        if not self.done:
            return f" ({words})"
        left = passed / self.done * (self.total - self.done)
        return f" ({words}, about {_duration(left)} left)"


_current: ContextVar[_Progress | None] = ContextVar("progress", default=None)


def kind_for(stream: IO[str] | None) -> Kind:
    """How to show progress on a standard error: bars where it is a terminal."""
    if stream is None or stream.closed:
        return "nothing"
    return "bars" if stream.isatty() else "lines"


@contextmanager
def progress(kind: Kind, total: int = 0, interval: float = INTERVAL) -> Iterator[None]:
    """Show what is done inside the block.

    Args:
        kind: How; see ``kind_for``.
        total: How many records are to be brought up to date.
        interval: Seconds between two lines.
    """
    shown = _Progress(kind, total, interval)
    token = _current.set(shown)
    try:
        yield
    finally:
        _current.reset(token)
        shown.end()


def at(place: str) -> None:
    """Say at which category and job the run is, such as ``bottle, job 3``."""
    if (shown := _current.get()) is not None:
        shown.place = place


@contextmanager
def doing(stage: str) -> Iterator[None]:
    """Show a stage, such as ``fit``, as long as the block lasts; inside another one it is shown."""
    shown = _current.get()
    if shown is None:
        yield
        return
    before, shown.stage = shown.stage, stage
    shown.show()
    try:
        yield
    finally:
        shown.stage = before
        shown.show()


def finished(count: int = 1) -> None:
    """Say that so many records are up to date."""
    if (shown := _current.get()) is not None:
        shown.finish(count)


def bar(total: int, what: str, unit: str) -> "tqdm[NoReturn]":
    """A progress bar of ``total`` steps: a context manager that ``update`` moves."""
    shown = _current.get()
    title = shown.title(what) if shown is not None else what
    hidden = shown is None or shown.kind != "bars"
    return tqdm(total=total, desc=title, unit=unit, leave=False, disable=hidden)


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
                shown.detail = f", {unit} {number} of {total}, about {_duration(left)} left"

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


def _write(line: str) -> None:
    """Write a line to standard error where that is possible."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):  # closed, or the reader of a pipe has gone
        print(printable(line), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Seconds in words, to the precision that a reader needs."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
