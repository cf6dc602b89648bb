"""``adbench run``: a method on a dataset through a backbone, once or as a sweep, by Hydra."""

import datetime
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.types import TaskFunction

from adbench.config.compose import Configs, config_folder, quoted
from adbench.config.overrides import refuse_wrong, split
from adbench.errors import AdbenchError

if TYPE_CHECKING:
    from adbench.cli.job import Task

_QUESTIONS = frozenset(("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--cfg", "-c"))
"""Flags with which Hydra answers and runs nothing."""
_SWEEP = frozenset(("-m", "--multirun"))
_OTHER_CONFIG = frozenset(("--config-name", "-cn", "--config-path", "-cp"))
_LAUNCHER = "hydra/launcher="


def command(given: Namespace, configs: Configs) -> int:
    """Check every override, then hand the words to Hydra."""
    overrides, flags = split(configs.current_words(given.words))
    names = {flag.partition("=")[0] for flag in flags}
    if any(word.startswith("hydra.searchpath=") for word in overrides):
        raise AdbenchError("hydra.searchpath: give --config-dir DIR, which every command takes")
    overrides += configs.searchpath()
    if names & _QUESTIONS:
        _hydra(lambda config: None, overrides, flags)
        return 0

    from adbench.cli.job import Task
    from adbench.cli.launcher import register

    register()
    task = Task(configs)
    if names & _OTHER_CONFIG:
        # Only Hydra knows what the jobs of such a config are, so that they run one by one.
        chosen = any(word.startswith(_LAUNCHER) for word in overrides)
        _hydra(task, overrides if chosen else [*overrides, f"{_LAUNCHER}basic"], flags)
        return 1 if task.failed else 0
    own = [word for word in overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if len(own) < len(overrides):
        configs.compose([word for word in overrides if word not in own])
    if names & _SWEEP or "hydra.mode=MULTIRUN" in overrides:
        return _sweep(task, refuse_wrong(own, task.planned).results, overrides, flags)
    task.planned(own)
    _hydra(task, overrides, flags)
    return 1 if task.failed else 0


def _sweep(task: "Task", results: Path, overrides: list[str], flags: list[str]) -> int:
    """Let Hydra run a sweep, and print the table of its jobs."""
    from adbench.cli.sweep import finish

    task.folder = _sweep_folder(results)
    if not any(word.startswith("hydra.sweep.dir=") for word in overrides):
        overrides = [*overrides, f"hydra.sweep.dir={quoted(str(task.folder))}"]
    _hydra(task, overrides, flags)
    return finish(task.folder)


def _hydra(task: TaskFunction, overrides: Sequence[str], flags: Sequence[str]) -> None:
    """Let Hydra run; it reads flags behind the overrides alone, whatever the user's order."""
    sys.argv = ["adbench run", *overrides, *flags]
    hydra.main(str(config_folder()), "run", version_base="1.3")(task)()


def _sweep_folder(results: Path) -> Path:
    """A new folder for what the jobs of a sweep tell, which Hydra's own folder need not be."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = (results / "sweeps" / f"{stamp}_{os.getpid()}").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdbenchError(f"cannot write to {folder}: {error.strerror}; set results=DIR") from None
    return folder
