"""What commands tell on the screen while they work."""

import sys


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def complain(error: Exception) -> int:
    """Print an error; returns the exit status for what the user must mend."""
    print(f"adbench: {error}", file=sys.stderr, flush=True)
    return 2
