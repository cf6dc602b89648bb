"""The words of ``adbench run``, checked before any work is done."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from adbench.config.quoting import parse
from adbench.errors import AdbenchError

_WITH_VALUE = frozenset(
    [
        "--cfg",
        "-c",
        "--package",
        "-p",
        "--config-path",
        "-cp",
        "--config-name",
        "-cn",
        "--experimental-rerun",
    ]
)
"""Flags of Hydra that take the next word as their value."""
_MAYBE_WITH_VALUE = frozenset(("--info", "-i"))

T = TypeVar("T")
Job = tuple[str, ...]


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides among the words, and the flags with their values; both in the order given."""
    overrides: list[str] = []
    flags: list[str] = []
    value = "no"
    for word in words:
        flag = word.startswith("-")
        wanted = value == "yes" or (value == "maybe" and not flag and "=" not in word)
        (flags if flag or wanted else overrides).append(word)
        value = "no"
        if flag and not wanted:
            value = "yes" if word in _WITH_VALUE else "maybe" if word in _MAYBE_WITH_VALUE else "no"
    return overrides, flags


def refuse_wrong(overrides: Sequence[str], attempt: Callable[[Job], T]) -> T:
    """Try the jobs of a sweep until every value has passed in one of them.

    A value that contradicts some of the others is left to the jobs that have both. A value that is
    wrong in every job that has it is refused.

    Args:
        overrides: What was typed; values of a sweep stand behind one key.
        attempt: Raises AdbenchError where a job cannot run.

    Returns:
        What ``attempt`` returned for the first job that passed.

    Raises:
        AdbenchError: What is wrong with the first job of every value that no job can have.
    """
    values = expand(overrides)
    tried: dict[Job, T | AdbenchError] = {}

    def result(job: Job) -> T | AdbenchError:
        if job not in tried:
            try:
                tried[job] = attempt(job)
            except AdbenchError as error:
                tried[job] = error
        return tried[job]

    refused: dict[str, list[str]] = {}
    for place, some in enumerate(values):
        for value in some if len(some) > 1 else ():
            jobs = _jobs_with(values, place, value)
            if all(isinstance(result(job), AdbenchError) for job in jobs):
                why = str(tried[next(_jobs_with(values, place, value))])
                refused.setdefault(why, []).append(value)
    first = result(tuple(some[0] for some in values))
    if isinstance(first, AdbenchError) and all(isinstance(t, AdbenchError) for t in tried.values()):
        refused.setdefault(str(first), [])
    if refused:
        raise AdbenchError("\n".join(_with_value(why, found) for why, found in refused.items()))
    return next(t for t in tried.values() if not isinstance(t, AdbenchError))


def _with_value(why: str, refused: list[str]) -> str:
    """What is wrong, with the value that all jobs have where it is in no other job."""
    if len(refused) != 1 or refused[0].partition("=")[2] in why:
        return why
    return f"{why} (in every job with {refused[0]})"


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The values of every override as overrides; ranges that a sweeper draws from are left out."""
    parsed = [parse(text) for text in overrides]
    return [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_discrete_sweep()
        else [str(o.input_line)]
        for o in parsed
        if not o.is_sweep_override() or o.is_discrete_sweep()
    ]


def _jobs_with(values: list[list[str]], place: int, value: str) -> Iterator[Job]:
    """Every job that has a value, the one with the first values of all others first."""
    others = [[value] if i == place else some for i, some in enumerate(values)]
    return itertools.product(*others)
