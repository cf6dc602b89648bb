"""YAML files of the user, read with errors that name the file and the line."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adbench.config.explain import in_yaml
from adbench.errors import AdbenchError

_NUMBER = re.compile(r"[-+]?[0-9a-fA-FxXoO_.:]+")

SIZE = 2**20
"""Bytes that a config file may have."""
DEPTH = 100
"""How deep its values may be nested."""
VALUES = 100_000
"""How many it may hold, with every alias of an anchor counted as what it repeats."""
CIRCLE = (
    "a file of the config leads back to itself through its defaults list; take it out of the list"
)
"""What is wrong where Hydra never ends composing."""
DIGITS = 1000
"""Signs that a number may have."""


def check_folder(folder: Path, ours: Path) -> None:
    """Refuse a folder that is not there, that hides a file of ours, or that no reader could bear.

    Raises:
        AdbenchError: Names the folder or the file.
    """
    if not folder.is_dir():
        raise AdbenchError(f"--config-dir {folder}: there is no such folder")
    for file in sorted(folder.rglob("*.yaml")):
        if (ours / file.relative_to(folder)).is_file():
            raise AdbenchError(
                f"{file}: adbench has a file of this name, which would be read in its place; "
                "give yours another name"
            )
        if problem := _too_much(file):
            raise AdbenchError(f"{file}: {problem}; mend it or move it out of the folder")


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; empty where there is none.

    Raises:
        AdbenchError: Names the file and the line.
    """
    try:
        return OmegaConf.load(path) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise AdbenchError(in_yaml(error)) from error
    except (OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise AdbenchError(f"{path}: cannot be read: {error}") from error


def _too_much(file: Path) -> str | None:
    """Why reading a file would not end well; None where it would, or where the reader says why."""
    if not file.is_file():
        return "is no regular file" if file.exists() or file.is_symlink() else None
    if (size := file.stat().st_size) > SIZE:
        return f"has {size:,} bytes, and a config file has at most {SIZE:,}"
    try:
        return _grown(file.read_text("utf-8"))
    except UnicodeDecodeError:
        return "is not a text in UTF-8"
    except (yaml.YAMLError, OSError):  # the reader tells the line
        return None


def _grown(text: str) -> str | None:
    """What would grow without bounds while a YAML text is read; None for nothing."""
    open_, sizes, total = list[tuple[str | None, int]](), dict[str, int](), 0
    for event in yaml.parse(text, yaml.SafeLoader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(name == anchor for name, _ in open_):
                return f"the anchor &{anchor} holds itself"
            total += sizes.get(str(anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_.pop()
            sizes |= {name: total - before} if name else {}
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes |= {anchor: 1} if anchor else {}
            if len(event.value) > DIGITS and _NUMBER.fullmatch(event.value):
                return f"holds a number of {len(event.value):,} signs"
        if len(open_) > DEPTH:
            return f"is nested deeper than {DEPTH} levels"
        if total > VALUES:
            return f"holds more than {VALUES:,} values, with those that its aliases repeat"
    return None


def unreadable(folders: Iterable[Path], error: Exception) -> str:
    """Which file cannot be read; Hydra does not tell."""
    for file in (file for folder in folders for file in sorted(folder.rglob("*.yaml"))):
        try:
            file.read_text("utf-8")
        except UnicodeDecodeError:
            return f"{file}: is not a text in UTF-8"
        except OSError as of_file:
            return f"{file}: cannot be read: {of_file.strerror}"
    return str(error)
