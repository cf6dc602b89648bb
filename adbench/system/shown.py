"""Where a run is, and how standard error shows it: in bars, in lines or in events."""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NoReturn

from tqdm import tqdm

from adbench.system.events import Events
from adbench.system.printable import printable

Kind = Literal["bars", "lines", "events", "nothing"]

INTERVAL = 10.0
"""Seconds between two lines."""
REMINDER = 60.0
"""Seconds after which a stage that still goes on is told again."""


class Shown:
    """Where a run is.

    Args:
        kind: How it is shown.
        total: How many records the run is to bring up to date.
        interval: Seconds between two lines.
    """

    def __init__(self, kind: Kind, total: int, interval: float) -> None:
        self.kind, self.total, self.done = kind, total, 0
        self.place, self.stage, self.detail = "", "", ""
        self.category, self.jobs = "", list[int]()
        self.steps: Callable[[], tuple[int, int]] | None = None
        self._interval, self._start = interval, time.monotonic()
        self._told: tuple[str, str] = ("", "")
        self._last = -interval - REMINDER
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._bar: tqdm[NoReturn] | None = None
        self._ticker: threading.Thread | None = None
        if kind == "bars" and total:
            self._bar = tqdm(total=total, unit="record", leave=False)
        self.tell("start")
        if kind in ("lines", "events"):
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def show(self) -> None:
        """Show where the run is now."""
        if self._bar is not None:
            self._bar.set_description(self.title(self.stage))
        elif self.kind == "lines":
            self._tell()
        elif self.stage:
            self._last = time.monotonic()
            self.tell("stage")

    def tell(self, event: str, **more: Any) -> None:
        """Tell an event with where the run is, where events are told."""
        if self.kind != "events" or not isinstance(sys.stderr, Events):
            return
        passed = time.monotonic() - self._start
        left = passed / self.done * (self.total - self.done) if self.done else None
        count = self.steps  # once: another thread may take it away
        step, steps = count() if count is not None else (None, None)
        here = {
            "category": self.category or None,
            "jobs": self.jobs,
            "stage": self.stage or None,
            "step": step,
            "steps": steps,
            "done": self.done,
            "total": self.total,
            "seconds": round(passed, 3),
            "eta": None if left is None else round(left, 3),
        }
        sys.stderr.event(event, **{**here, **more})

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
        self.tell("end")

    def _tick(self) -> None:
        while not self._ended.wait(1):
            if self.kind == "lines":
                self._tell()
            elif self.stage and time.monotonic() - self._last >= self._interval:
                self.show()

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
            return f" (after {duration(passed)})" if passed >= 1 else ""
        words = f"{self.done} of {self.total} records after {duration(passed)}"
        if not self.done:
            return f" ({words})"
        left = passed / self.done * (self.total - self.done)
        return f" ({words}, about {duration(left)} left)"


def _write(line: str) -> None:
    """Write a line to standard error where that is possible."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):  # closed, or the reader of a pipe has gone
        print(printable(line), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words, to the precision that a reader needs."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
