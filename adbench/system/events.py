"""Standard error as JSON lines, for machines that watch a command: JSON Lines (jsonlines.org).

While ``Events`` stands as standard error, a line there is always one JSON object. What any other
code writes, a library's warning or a bar, becomes an object of the event ``message``.
"""

import io
import json
import logging
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import IO, Any

_BREAK = re.compile(r"[\r\n]+")
_EVENT = re.compile(r'(?:\([^)]*\) )?(\{"event": "(?!exit")\w+", "process": \d+.*\})')
"""An event of another process, alone or behind the prefix that Ray prints."""
_STEERING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What moves the cursor of a terminal or colours its text (ECMA-48, control sequences)."""


class Events(io.TextIOBase):
    """A text stream that writes JSON lines to another one.

    Where the other one is closed or its reader has gone, the lines are lost, and no error is
    raised.

    Args:
        stream: The standard error of the process.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._lock, self._rest = stream, threading.RLock(), ""

    def event(self, name: str, **fields: Any) -> None:
        """Write an event as one line.

        Args:
            name: Its name.
            fields: What it tells, as plain data.
        """
        content = {"event": name, "process": os.getpid(), **fields}
        line = json.dumps({key: _plain(value) for key, value in content.items()})
        self._line(line)

    def write(self, text: str) -> int:
        """Take a text; each line of it is told when it is whole."""
        with self._lock:
            *lines, self._rest = _BREAK.split(self._rest + text)
            for line in lines:
                self._message(line)
        return len(text)

    def close(self) -> None:
        """Tell the rest of a line that was never ended; the other stream stays open."""
        if not self.closed:
            self._message(self._rest)
            self._rest = ""
        super().close()

    def writable(self) -> bool:
        """It is for writing alone."""
        return True

    def fileno(self) -> int:
        """The descriptor of the other stream."""
        return self._stream.fileno()

    def _line(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def _message(self, line: str) -> None:
        text = _STEERING.sub("", line).strip()
        if told := _event_in(text):
            self._line(told)
        elif text:
            self.event("message", text=text.removeprefix("adbench: "))


class EventHandler(logging.Handler):
    """Tells what is logged as events of the name ``warning``, with its level."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one message."""
        level = record.levelname.lower()
        self._events.event("warning", level=level, text=self.format(record))


@contextmanager
def events_on(stream: IO[str] | None, wanted: bool = True) -> Iterator[Events | None]:
    """A block in which standard error is one of JSON lines, where that is wanted.

    Args:
        stream: The standard error of the process; None where it has none.
        wanted: Whether it is.

    Yields:
        The stream that stands there; None where nothing was changed.
    """
    if not wanted or stream is None:
        yield None
        return
    events = Events(stream)
    try:
        with redirect_stderr(events):
            yield events
    finally:
        events.close()


def _event_in(text: str) -> str | None:
    """The event of another process, which a launcher prints here; None where it is none."""
    found = _EVENT.fullmatch(text)
    if found is not None:
        with suppress(ValueError, RecursionError):
            json.loads(found[1])
            return found[1]
    return None


def _plain(value: Any) -> Any:
    """A number that JSON lacks as None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
