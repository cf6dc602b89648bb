"""The words of ``adbench run``, checked before any work is done."""

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf

from adbench.config.compose import Configs, parse
from adbench.errors import AdbenchError

GROUPS = ("dataset", "geometry", "backbone", "method", "experiment")
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


def compose_or_explain(overrides: Sequence[str], configs: Configs) -> DictConfig:
    """The config with these overrides.

    Raises:
        AdbenchError: Names the override that is wrong and the keys that there are.
    """
    try:
        return configs.compose(overrides)
    except AdbenchError as error:
        raise AdbenchError(_with_allowed(str(error), overrides, configs)) from error


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

    refused: list[str] = []
    for place, some in enumerate(values):
        for value in some if len(some) > 1 else ():
            jobs = _jobs_with(values, place, value)
            if all(isinstance(result(job), AdbenchError) for job in jobs):
                why = str(tried[next(_jobs_with(values, place, value))])
                known = value.partition("=")[2] in why
                refused.append(why if known else f"{why} (in every job with {value})")
    first = result(tuple(some[0] for some in values))
    if isinstance(first, AdbenchError) and all(isinstance(t, AdbenchError) for t in tried.values()):
        refused.append(str(first))
    if refused:
        raise AdbenchError("\n".join(dict.fromkeys(refused)))
    return next(t for t in tried.values() if not isinstance(t, AdbenchError))


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


def _with_allowed(message: str, overrides: Sequence[str], configs: Configs) -> str:
    """Add to Hydra's complaint about an unknown key the keys that there are."""
    found = re.search(r"Could not override '([^']+)'", message)
    if not found:
        return message
    key = found[1]
    parent, _, last = key.rpartition(".")
    chosen = [o for o in overrides if o.partition("=")[0] in GROUPS]
    config = configs.compose(chosen)
    node = OmegaConf.select(config, parent) if parent else config
    allowed = _keys(node)
    nearest = difflib.get_close_matches(last, allowed, n=1)
    elsewhere = _places(config, last, key.split(".")[0] if parent else "")
    proposed = " or ".join(nearest or elsewhere)
    hint = f"; did you mean {proposed}?" if proposed else ";"
    given = next((o for o in overrides if o.partition("=")[0] == key), key)
    return f"{given}: unknown setting{hint} {parent or 'the config'} has {', '.join(allowed)}"


def _keys(node: object) -> list[str]:
    names = [str(name) for name in node] if isinstance(node, DictConfig) else []
    return [name for name in names if not name.startswith("_")]


def _places(config: DictConfig, name: str, part: str) -> list[str]:
    """Where a key of this name stands in the config, or in one part of it."""
    node = OmegaConf.select(config, part) if part else config
    content = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}

    def below(at: str, value: object) -> Iterator[str]:
        for key, inner in value.items() if isinstance(value, dict) else ():
            here = f"{at}.{key}" if at else str(key)
            if key == name:
                yield here
            yield from below(here, inner)

    return [place for place in below(part, content) if not place.endswith((".name", "._target_"))]
