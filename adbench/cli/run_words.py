"""The words of ``adbench run`` that are adbench's own and not Hydra's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adbench.cli.output import FLAG
from adbench.errors import AdbenchError

if TYPE_CHECKING:
    from adbench.results.bars import Bar

SKIP = "--skip-impossible"
REPORT = "report="
SPLIT = "split="
ONLY_TIME = "timing=only"
LAUNCHER = "hydra/launcher="
IN_TURN = ("shared", "basic")
"""Launchers that run the jobs in this process, one after the other."""
_BARS = "bars."


@dataclass(frozen=True)
class OwnWords:
    """What adbench itself was told."""

    bars: list["Bar"]
    json: bool
    skip: bool
    report: bool
    """Whether the page is written at the end."""
    split: Literal["features", "settings"]
    """What a job of a launcher that runs jobs side by side does."""
    only_time: bool
    """Whether records are given the time that they lack, and nothing else is measured."""


def own_words(words: Sequence[str]) -> tuple[list[str], OwnWords]:
    """The words for Hydra, and adbench's own.

    Raises:
        AdbenchError: A value is wrong, or two words contradict each other.
    """
    bars = [word for word in words if word.startswith(_BARS)]
    pages = [word for word in words if word.startswith(REPORT)]
    splits = [word for word in words if word.startswith(SPLIT)]
    own = (FLAG, SKIP, ONLY_TIME, *bars, *pages, *splits)
    rest = [word for word in words if word not in own]
    for word in pages:
        if word.removeprefix(REPORT) not in ("true", "false"):
            raise AdbenchError(f"{word}: is report=true or report=false")
    for word in rest:
        if word.startswith("launcher="):
            raise AdbenchError(f"{word}: is a word of reproduce; here it is hydra/{word}, with -m")
    side_by_side = bool(launchers_side_by_side(rest))
    if ONLY_TIME in words and side_by_side:
        raise AdbenchError(
            f"{ONLY_TIME}: time is taken by one job after the other; leave {LAUNCHER}... out"
        )
    parsed = []
    if bars:
        from adbench.results.bars import parse

        parsed = parse(bars)
    return rest, OwnWords(
        bars=parsed,
        json=FLAG in words,
        skip=SKIP in words,
        report=pages[-1:] == [f"{REPORT}true"],
        split=split_of(splits, side_by_side),
        only_time=ONLY_TIME in words,
    )


def launchers_side_by_side(words: Sequence[str]) -> list[str]:
    """The words that choose a launcher which runs jobs side by side."""
    chosen = (word for word in words if word.startswith(LAUNCHER))
    return [word for word in chosen if word.removeprefix(LAUNCHER) not in IN_TURN]


def split_of(words: Sequence[str], side_by_side: bool) -> Literal["features", "settings"]:
    """How far the jobs of a launcher are split; features where nothing is said.

    Args:
        words: Those that begin with ``split=``.
        side_by_side: Whether a launcher was chosen that runs jobs side by side.

    Raises:
        AdbenchError: There is no such way, or no such launcher.
    """
    for word in words:
        if word.removeprefix(SPLIT) not in ("features", "settings"):
            raise AdbenchError(f"{word}: is {SPLIT}features or {SPLIT}settings")
        if not side_by_side:
            raise AdbenchError(
                f"{word}: splits the jobs of a launcher that runs them side by side; choose one, "
                "such as joblib, or leave this out"
            )
    return "settings" if words[-1:] == [f"{SPLIT}settings"] else "features"
