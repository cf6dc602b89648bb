"""What commands tell on the screen while they work."""

import logging
import sys
from typing import TextIO

from adbench.system.printable import printable


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line at once, on standard output where no other stream is given."""
    print(printable(line), file=stream, flush=True)


def say_aside(line: str) -> None:
    """Print a line on standard error at once, with the name of the program."""
    say(f"adbench: {line}", sys.stderr)


def complain(error: Exception) -> int:
    """Print an error; returns the exit status for what the user must mend."""
    say_aside(str(error))
    return 2


class PrintableFormatter(logging.Formatter):
    """Writes warnings as everything else is printed."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, with its traceback where it has one."""
        return printable(super().format(record))
