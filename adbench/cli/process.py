"""What a process of the command line needs before any work.

Streams bear every text, signals end it in one line, and no part of the package was replaced.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType

import adbench
from adbench.cli.screen import PrintableFormatter
from adbench.errors import AdbenchError
from adbench.system.events import EventHandler, Events

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_SIGNALS = ("SIGTERM", "SIGHUP")
_EVENTS = "progress=json"
FOLDER_FLAGS = ("--config-dir", "-cd")
"""Before a folder with configs of the user."""
_TELLING = ("run", "reproduce", "fit", "score", "export")
"""Commands that tell what they do while they work, to machines where this word is typed."""


class Ended(KeyboardInterrupt):
    """A signal ends the process; what is finished is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def prepare_streams() -> None:
    """Let both streams replace what they cannot encode, and open those that are closed.

    A descriptor below 3 that stayed free would be given to the next file, such as a record, and
    whatever prints would write into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(_STREAMS):
        pass
    os.close(descriptor)
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            # It stays open as long as the process.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that a test or a notebook put there
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def give_up_streams() -> None:
    """Write nothing more: the reader of a pipe has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def take_progress(words: list[str]) -> tuple[list[str], bool]:
    """The words without ``progress=json``, and whether it was among them.

    Commands that tell no progress refuse it as a word that they do not know.
    """
    wanted = _EVENTS in words and _command_of(words) in _TELLING
    return ([word for word in words if word != _EVENTS] if wanted else words), wanted


def _command_of(words: list[str]) -> str:
    """The first word that is neither a folder of configs nor the flag before one."""
    before = ["", *words]
    found = (w for w, b in zip(words, before, strict=False) if not {w, b} & {*FOLDER_FLAGS})
    return next((word for word in found if not word.startswith("-")), "")


def refuse_progress(words: list[str]) -> None:
    """Refuse another kind of progress than the one that ``take_progress`` takes."""
    wrong = [word for word in words if word.startswith("progress=")]
    if wrong and words[0] in _TELLING:
        raise AdbenchError(f"{wrong[0]}: is {_EVENTS}, or leave it out")


def log_handler(events: Events | None) -> logging.Handler:
    """What takes warnings to standard error."""
    if events is not None:
        return EventHandler(events)
    warnings_to = logging.StreamHandler()
    warnings_to.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    return warnings_to


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """A block in which the signals to end raise Ended; a second one ends the process at once.

    A signal that the caller had ignored, as nohup does, stays ignored.
    """
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) == signal.SIG_DFL}

    def end(number: int, frame: FrameType | None) -> None:
        for caught, handler in before.items():
            signal.signal(caught, handler)
        raise Ended(number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse_replaced() -> None:
    """Refuse to start where another distribution wrote into the folder of this package.

    On the index, the name ``adbench`` is that of a benchmark for tabular data, whose package has
    the same import name.

    Raises:
        AdbenchError: Names the folder and what to do.
    """
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    replaced = getattr(adbench, "DISTRIBUTION", None) is None
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        replaced |= any(e.name.startswith("adbench-") and _is_info(e.name) for e in entries)
    if replaced:
        raise AdbenchError(
            f"another project's distribution 'adbench' is installed over this one in {folder}; run "
            "pip uninstall adbench, then pip install --force-reinstall --no-deps adbench-vision"
        )


def refuse_unreadable(words: Iterable[str]) -> None:
    """Refuse words that are no text in the encoding of the terminal."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            coding = sys.getfilesystemencoding()
            raise AdbenchError(
                f"{word.encode(errors='surrogateescape')!r}: not a text in {coding}, which this "
                "terminal uses; set PYTHONUTF8=1, or give the file another name"
            ) from None


def _is_info(name: str) -> bool:
    return name.endswith((".dist-info", ".egg-info"))
