"""What commands tell on the screen while they work."""

import sys


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def say_aside(line: str) -> None:
    """Print a line on standard error at once, with the name of the program."""
    print(f"adbench: {line}", file=sys.stderr, flush=True)


def complain(error: Exception) -> int:
    """Print an error; returns the exit status for what the user must mend."""
    say_aside(str(error))
    return 2
