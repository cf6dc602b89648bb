"""Checks the words of ``adbench run`` before any work is done."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.run import Plan, plan

GROUPS = ("dataset", "geometry", "backbone", "method", "experiment")
_FLAGS_WITH_VALUE = ("--config-dir", "-cd", "--package", "-p")
_OTHER_CONFIG = ("--config-name", "-cn", "--config-path", "-cp")


def check_overrides(words: Sequence[str]) -> list[Plan]:
    """Check the words of ``adbench run`` before any work, every value of a sweep included.

    Each value is tried with the first values of the others; two that contradict each other fail in their own job.

    Returns:
        What was tried, the first job first; nothing where another primary config is named, which is left to Hydra.

    Raises:
        AdbenchError: A key, an option or a type is wrong; names the key, what was got and what is allowed.
    """
    if any(word.split("=")[0] in _OTHER_CONFIG for word in words):
        return []
    texts, searchpath = _override_words(words)
    parsed = [_parse(text) for text in texts]
    values = [
        [f"{o.key_or_group}={v}" if not o.is_add() else f"+{o.key_or_group}={v}" for v in o.sweep_string_iterator()]
        if o.is_discrete_sweep()
        else [str(o.input_line)]
        for o in parsed
        if not o.is_sweep_override() or o.is_discrete_sweep()  # ranges that a sweeper draws from are its own matter
    ]
    firsts = [some[0] for some in values]
    jobs = [firsts, *([*firsts[:i], value, *firsts[i + 1 :]] for i, some in enumerate(values) for value in some[1:])]
    return [_check_one([*searchpath, *job]) for job in jobs]


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise AdbenchError(f"{text}: not key=value as Hydra reads it ({str(error).splitlines()[0]})") from error


def _check_one(overrides: list[str]) -> Plan:
    try:
        config = compose(overrides)
    except AdbenchError as error:
        raise AdbenchError(_with_allowed(str(error), overrides)) from error
    return plan(config)


def _with_allowed(message: str, overrides: list[str]) -> str:
    """Add to Hydra's complaint about an unknown key the keys that there are."""
    found = re.search(r"Could not override '([^']+)'", message)
    if not found:
        return message
    key = found[1]
    parent, _, last = key.rpartition(".")
    config = compose([o for o in overrides if "." not in o.split("=")[0] and o.split("=")[0] in GROUPS])
    node = OmegaConf.select(config, parent) if parent else config
    allowed = [str(k) for k in node if not str(k).startswith("_")] if isinstance(node, DictConfig) else []
    nearest = difflib.get_close_matches(last, allowed, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    given = next((o for o in overrides if o.split("=")[0] == key), key)
    return f"{given}: unknown setting{hint} {parent or 'the config'} has {', '.join(allowed)}"


def _override_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides among the words, and a search path where ``--config-dir`` names one."""
    overrides: list[str] = []
    searchpath: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, _, value = word.partition("=")
        if flag in _FLAGS_WITH_VALUE:
            value = value or next(rest, "")
            if flag in ("--config-dir", "-cd"):
                searchpath.append(f"hydra.searchpath=['file://{Path(value).absolute()}']")
        elif not word.startswith("-"):
            overrides.append(word)
    return overrides, searchpath
