"""``adbench track``: the records of a folder of results, logged to MLflow or Weights & Biases."""

from argparse import Namespace
from collections.abc import Sequence
from typing import cast

from adbench.cli.screen import say, say_aside
from adbench.cli.sides import results_of
from adbench.cli.words import unknown, values_of
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.tracking.track import PROJECT, TOOLS, FailedError, Place, Tool, track

_KEYS = ("results", "store", "project", "pictures")


def command(given: Namespace, configs: Configs) -> int:
    """Log what is not logged as it is; 1 where a record cannot be trusted or the tracker fails."""
    place = _place(given.tool, given.words)
    try:
        tracked = track(results_of(given.words, configs), place)
    except FailedError as error:
        say_aside(str(error))
        return 1
    for why in tracked.failures.values():
        say_aside(why)
    say(f"{place.tool}: {tracked.logged} logged, {tracked.known} were logged before")
    return 1 if tracked.failures else 0


def _place(tool: str, words: Sequence[str]) -> Place:
    """Where to log, from the words.

    Raises:
        AdbenchError: A word is unknown, or a value is wrong.
    """
    if tool not in TOOLS:
        raise AdbenchError(f"track: {unknown(tool, TOOLS)}")
    values = values_of("track", words, _KEYS)
    pictures = values.get("pictures", "false")
    if pictures not in ("true", "false"):
        raise AdbenchError(f"track: pictures={pictures}: is true or false")
    return Place(
        cast(Tool, tool),
        values.get("store"),
        values.get("project", PROJECT),
        pictures == "true",
    )
