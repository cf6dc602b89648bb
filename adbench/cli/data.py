"""``adbench data``: what is in a dataset, and what is wrong with it."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from tabulate import tabulate

from adbench.cli.screen import say
from adbench.config.build import build, refuse_unread
from adbench.config.compose import Configs


def command(given: Namespace, configs: Configs) -> int:
    """Check a dataset without measuring anything; 1 where there are problems.

    What the geometry hides is noted, and is no problem of the dataset.
    """
    config = configs.compose(given.overrides)
    dataset, geometry = (_part(name, config, given.overrides) for name in ("dataset", "geometry"))
    rows = dataset.check(geometry)
    texts = ("problems", "notes")
    shown = [{name: value for name, value in row.items() if name not in texts} for row in rows]
    say(tabulate(shown, headers="keys", missingval="-", disable_numparse=[0]))
    problems, notes = (
        [f"{row['category']}: {text}" for row in rows for text in row[name]] for name in texts
    )
    for line in [*(problems or ["no problems found"]), *notes]:
        say(line)
    return 1 if problems else 0


def _part(name: str, config: DictConfig, overrides: Sequence[str]) -> Any:
    """A part of the config, built with every override of it read."""
    built: Any = build(config[name], name)
    refuse_unread(overrides, config[name], built, name)
    return built
