"""``adbench data``: what is in a dataset and what is wrong with it, and archives made folders."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from tabulate import tabulate

from adbench.cli.screen import say
from adbench.config.build import build, refuse_unread
from adbench.config.compose import Configs
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError
from adbench.system.files import expanded
from adbench.system.printable import in_line

OUT, SHA256 = "out=", "sha256="


def command(given: Namespace, configs: Configs) -> int:
    """Check a dataset without measuring anything, or prepare it first; 1 where there are problems.

    What the geometry hides is noted, and is no problem of the dataset.
    """
    overrides = given.overrides
    if given.action == "prepare":
        overrides = _prepared(overrides, configs)
    return _checked(configs.compose(overrides), overrides)


def _checked(config: DictConfig, overrides: Sequence[str]) -> int:
    dataset, geometry = (_part(name, config, overrides) for name in ("dataset", "geometry"))
    rows = dataset.check(geometry)
    texts = ("problems", "notes")
    shown = [{name: value for name, value in row.items() if name not in texts} for row in rows]
    for row in shown:
        row["category"] = in_line(row["category"])
    say(tabulate(shown, headers="keys", missingval="-", disable_numparse=[0]))
    problems, notes = (
        [f"{in_line(row['category'])}: {text}" for row in rows for text in row[name]]
        for name in texts
    )
    for line in [*(problems or ["no problems found"]), *notes]:
        say(line)
    return 1 if problems else 0


def _prepared(words: Sequence[str], configs: Configs) -> list[str]:
    """Unpack an archive; the words with which the dataset is checked then."""
    from adbench.data.archive import Archived
    from adbench.data.prepare import prepare
    from adbench.system.progress import kind_for, progress

    if len(words) < 2:
        raise AdbenchError("data prepare: give a dataset and its archive: prepare visa VisA.tar")
    (name, archive), rest = words[:2], words[2:]
    out, sha256 = (_value(rest, key) for key in (OUT, SHA256))
    rest = [word for word in rest if not word.startswith((OUT, SHA256))]
    if unclear := [word for word in rest if "=" not in word]:
        raise AdbenchError(f"data prepare: {unclear[0]}: is no key=value; one archive is unpacked")
    root = [f"dataset.root={quoted(str(expanded(out).absolute()))}"] if out else []
    overrides = [f"dataset={name}", *root, *rest]
    config = configs.compose(overrides)
    dataset = _part("dataset", config, overrides)
    if not isinstance(dataset, Archived):
        raise AdbenchError(f"data prepare: {name} has no archive; nothing needs to be prepared")
    folder = expanded(dataset.root)
    with progress(kind_for(sys.stderr)):
        done = prepare(dataset.archive, expanded(archive), folder, sha256, config.get("cache"))
    for line in done:
        say(line)
    return overrides


def _value(words: Sequence[str], key: str) -> str | None:
    """What follows a key of this command's own, the last time that it is given."""
    found = [word.removeprefix(key) for word in words if word.startswith(key)]
    if found and not found[-1]:
        raise AdbenchError(f"data prepare: {key} must be followed by a value")
    return found[-1] if found else None


def _part(name: str, config: DictConfig, overrides: Sequence[str]) -> Any:
    """A part of the config, built with every override of it read."""
    built: Any = build(config[name], name)
    refuse_unread(overrides, config[name], built, name)
    return built
