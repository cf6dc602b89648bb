"""Errors of Hydra, OmegaConf and YAML in sentences that name what was typed or the file."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from adbench.errors import AdbenchError

Choices = Callable[[str], list[str]]
Compose = Callable[[Sequence[str]], DictConfig]
GROUPS = ("dataset", "geometry", "backbone", "method", "experiment")
PLURALS = {"geometry": "geometries"}
"""Groups whose plural is not the name with an s."""


def plural(group: str) -> str:
    """What ``adbench list`` calls the presets of a group."""
    return PLURALS.get(group, f"{group}s")


def explain(error: Exception, words: Sequence[str], choices: Choices, compose: Compose) -> str:
    """What is wrong with words or with a config file, and what to do.

    Args:
        error: What was raised while the words were composed.
        words: The overrides.
        choices: Gives the presets of a group.
        compose: Composes other words.
    """
    if isinstance(error.__cause__, AdbenchError):  # of a part of adbench that Hydra builds
        return str(error.__cause__)
    if isinstance(error, yaml.YAMLError):
        return in_yaml(error)
    if isinstance(error.__cause__, OmegaConfBaseException) and not str(error):
        error = error.__cause__
    message = str(error)
    file = re.match(r"In '([^']+)': ", message)
    where = f"{file[1]}.yaml: " if file and file[1] not in ("run", "hydra/config") else ""
    if found := re.search(r"Could not (?:find|load) '([^']*/[^']*)'", message):
        path = found[1]  # a choice may hold a slash, and so may a group, such as hydra/launcher
        group = next((g for g in GROUPS if path.startswith(f"{g}/")), path.rpartition("/")[0])
        return where + unknown_choice(group, path.removeprefix(f"{group}/"), choices(group))
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", message):
        return _several_values(found[1])
    if found := re.search(r"Could not override '([^']+)'", message):
        return where + _unknown_key(found[1], words, compose)
    if found := re.search(r"primary config '([^']+)'", message):
        return f"{found[1]}.yaml: there is no such file; --config-path DIR names its folder"
    if found := re.search(r"Could not delete from config. '([^']+)' does not exist", message):
        return f"~{found[1]}: there is no such setting"
    if found := re.search(r"An item is already at '([^']+)'", message):
        return f"{_typed(found[1], words)}: the setting is there already; leave the + out"
    if found := re.search(r"config group '([^']+)' does not exist", message):
        groups = ", ".join(GROUPS)
        return f"{_typed(found[1], words)}: there is no group {found[1]}; there are {groups}"
    if isinstance(error, OmegaConfBaseException):
        return where + unresolved(error, "the config")
    return " ".join(message.partition("Config search path:")[0].split())


def in_yaml(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML file, with the file and the line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
    return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: {error.problem}{hint}"


def unresolved(error: OmegaConfBaseException, path: str) -> str:
    """Why a key of the config has no value; ``path`` is where the error names no key."""
    key = str(error.full_key or path)
    first = str(error).splitlines()[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: must be given, as {key}=VALUE"
    if isinstance(error, InterpolationKeyError):
        return f"{key}: refers to a key that is not there ({first})"
    return f"{key}: {first}"


_PACKAGES = {
    "submitit launcher": "'adbench-vision[slurm]'",
    "rq launcher": "hydra-rq-launcher",
    "ax sweeper": "hydra-ax-sweeper",
    "nevergrad sweeper": "hydra-nevergrad-sweeper",
    "optuna sweeper": "hydra-optuna-sweeper",
}
"""Plugins of Hydra; a name that somebody mistyped must not become the name of a package."""


def unknown_choice(group: str, choice: str, known: Sequence[str]) -> str:
    """There is no such preset: the nearest ones, or the package that could bring it."""
    if "=" in choice:
        return (
            f"{choice}: the name of a {group} comes first; `adbench list {plural(group)}` shows all"
        )
    near = difflib.get_close_matches(choice, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    if group.startswith("hydra/"):
        kind, name = group.removeprefix("hydra/"), choice.partition("_")[0]
        there = f"there are {', '.join(known)}"
        if package := _PACKAGES.get(f"{name} {kind}"):
            return f"{group}={choice}: it is not installed; run pip install {package}; {there}"
        return f"{group}={choice}: there is no such {kind}; {hint}{there}"
    return f"no {group} {choice!r}; {hint}`adbench list {plural(group)}` shows all"


def _several_values(word: str) -> str:
    key, _, value = word.partition("=")
    return (
        f"{word}: several values make a sweep, which needs -m; one text with a comma is quoted "
        f"twice: \"{key}='{value}'\""
    )


def _unknown_key(key: str, words: Sequence[str], compose: Compose) -> str:
    """The key that is unknown and the keys that there are."""
    given = _typed(key, words)
    if key.startswith("hydra."):
        return f"{given}: Hydra has no such setting; `adbench run --cfg hydra` shows all"
    if "@" in key:
        return f"{given}: a group is chosen by its name alone"
    config = compose([o for o in words if o.partition("=")[0] in GROUPS])
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    while parent and not isinstance(node, DictConfig):
        last, parent = parent.rpartition(".")[2], parent.rpartition(".")[0]
        node = OmegaConf.select(config, parent) if parent else config
    allowed = [str(name) for name in node if not str(name).startswith("_")]
    wanted = key.rpartition(".")[2]
    part = key.split(".")[0]
    inside = part if part in config and parent else ""
    places = [wanted] if not inside and wanted in config else _places(config, wanted, inside)
    nearest = difflib.get_close_matches(last, allowed, n=1)
    proposed = " or ".join(nearest if last == wanted and nearest else places or nearest)
    hint = f"; did you mean {proposed}?" if proposed else ";"
    return f"{given}: unknown setting{hint} {parent or 'the config'} has {', '.join(allowed)}"


def _typed(key: str, words: Iterable[str]) -> str:
    """The word in which a key was typed."""
    keys = {word.partition("=")[0].lstrip("+~"): word for word in words}
    return next((word for name, word in keys.items() if name.partition("@")[0] == key), key)


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
