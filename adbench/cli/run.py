"""``adbench run``: a method on a dataset through a backbone, once or as a sweep, by Hydra."""

import datetime
import itertools
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbench.cli.hydra_app import run_hydra
from adbench.cli.output import FLAG, lines_on_stderr, print_json
from adbench.config.compose import Configs
from adbench.config.overrides import expand, refuse_wrong, split
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError

if TYPE_CHECKING:
    from adbench.bench.plan import Plan
    from adbench.cli.job import Task
    from adbench.cli.sweep import Done
    from adbench.results.bars import Bar

SKIP = "--skip-impossible"
REPORT = "report="
_BARS = "bars."
_QUESTIONS = frozenset(("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--cfg", "-c"))
"""Flags with which Hydra answers and runs nothing."""
_SWEEP = frozenset(("-m", "--multirun"))
_OTHER_CONFIG = frozenset(("--config-name", "-cn", "--config-path", "-cp"))
_LAUNCHER = "hydra/launcher="


@dataclass(frozen=True)
class _Own:
    """The words that are adbench's own and not Hydra's."""

    bars: list["Bar"]
    json: bool
    skip: bool
    report: bool
    """Whether the page is written at the end."""


def command(given: Namespace, configs: Configs) -> int:
    """Check every override, hand the words to Hydra, then tell what came of the jobs.

    Returns:
        0; 1 where a job failed, or a number is below its bar.
    """
    words, own = _own(given.words)
    overrides, flags = split(configs.current_words(words))
    names = {flag.partition("=")[0] for flag in flags}
    if any(word.startswith("hydra.searchpath=") for word in overrides):
        raise AdbenchError("hydra.searchpath: give --config-dir DIR, which every command takes")
    overrides += configs.searchpath()
    if names & _QUESTIONS:
        run_hydra(lambda config: None, configs, overrides, flags)
        return 0

    from adbench.cli.job import Task
    from adbench.cli.launcher import register

    register()
    task = Task(configs, skip=own.skip)
    with lines_on_stderr(own.json):
        jobs = _jobs(task, overrides, flags, names)
        written = _page(task, jobs, own)
    return max(_told(jobs, own), 0 if written else 1)


def _own(words: Sequence[str]) -> tuple[list[str], _Own]:
    """The words for Hydra, and adbench's own, whose values are checked."""
    bars = [word for word in words if word.startswith(_BARS)]
    pages = [word for word in words if word.startswith(REPORT)]
    rest = [word for word in words if word not in (FLAG, SKIP, *bars, *pages)]
    for word in pages:
        if word.removeprefix(REPORT) not in ("true", "false"):
            raise AdbenchError(f"{word}: is report=true or report=false")
    parsed = []
    if bars:
        from adbench.results.bars import parse

        parsed = parse(bars)
    return rest, _Own(parsed, FLAG in words, SKIP in words, pages[-1:] == [f"{REPORT}true"])


def _jobs(
    task: "Task", overrides: list[str], flags: list[str], names: set[str]
) -> Sequence["Done"]:
    """Run the jobs, and give what became of each."""
    if names & _OTHER_CONFIG:
        # Only Hydra knows what the jobs of such a config are, so that they run one by one.
        chosen = any(word.startswith(_LAUNCHER) for word in overrides)
        words = overrides if chosen else [*overrides, f"{_LAUNCHER}basic"]
        run_hydra(task, task.configs, words, flags)
        return task.done
    own = [word for word in overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if len(own) < len(overrides):
        task.configs.compose([word for word in overrides if word not in own])
    if names & _SWEEP or "hydra.mode=MULTIRUN" in overrides:
        return _sweep(task, _possible(task, own).results, overrides, flags)
    task.planned(own)
    run_hydra(task, task.configs, overrides, flags)
    return task.done


def _possible(task: "Task", overrides: list[str]) -> "Plan":
    """The plan of the first job of a sweep that can run.

    Raises:
        AdbenchError: A value is wrong in every job that has it; with ``--skip-impossible``, no job
            can run.
    """
    if not task.skip:
        try:
            return refuse_wrong(overrides, task.planned)
        except AdbenchError as error:
            if all(len(values) == 1 for values in expand(overrides)):
                raise
            raise AdbenchError(f"{error}\n{SKIP} leaves such jobs out and runs the rest") from None
    first: AdbenchError | None = None
    for job in itertools.product(*expand(overrides)):
        try:
            return task.planned(job)
        except AdbenchError as error:
            first = first or error
    raise first or AdbenchError("the sweep has no job")


def _sweep(task: "Task", results: Path, overrides: list[str], flags: list[str]) -> Sequence["Done"]:
    """Let Hydra run a sweep, and print the table of its jobs."""
    from adbench.cli.sweep import finish, jobs_of

    task.results, task.folder = results, _sweep_folder(results)
    if not any(word.startswith("hydra.sweep.dir=") for word in overrides):
        overrides = [*overrides, f"hydra.sweep.dir={quoted(str(task.folder))}"]
    run_hydra(task, task.configs, overrides, flags)
    jobs = jobs_of(task.folder)
    finish(task.folder, jobs)
    return jobs


def _page(task: "Task", jobs: Sequence["Done"], own: _Own) -> bool:
    """Name the command that makes the page, or make it; whether all went well."""
    from adbench.cli.report import NAME, repeating, write_page
    from adbench.cli.screen import say, say_aside
    from adbench.reports.page.gallery import Wanted

    if task.results is None or not any(job.records for job in jobs):
        return True
    command = repeating(task.results)
    if not own.report:
        say(f"page of all results: {command}")
        return True
    try:
        write_page(task.results, task.results / NAME, Wanted(), command, task.configs)
    except AdbenchError as error:
        say_aside(f"{REPORT}true: {error}")
        return False
    return True


def _told(jobs: Sequence["Done"], own: _Own) -> int:
    """Tell which bars were missed, print the document of ``--json``, and give the exit status."""
    from adbench.cli.sweep import varied

    labels = [" ".join(f"{n}={v}" for n, v in names.items()) for names in varied(jobs)]
    missed: list[list[str]] = []
    for job, label in zip(jobs, labels, strict=True):
        found = [] if job.skipped and not job.records else _missed(job, own)
        missed.append(found)
        for line in found:
            where = f"{label}: " if len(jobs) > 1 else ""
            print(f"adbench: {where}{line}", file=sys.stderr, flush=True)
    if own.bars and not jobs:
        print("adbench: no job ran, so that every bar is missed", file=sys.stderr, flush=True)
    failed = any(job.failures for job in jobs) or any(missed) or bool(own.bars and not jobs)
    if own.json:
        print_json({"jobs": [_content(job, m) for job, m in zip(jobs, missed, strict=True)]})
    return 1 if failed else 0


def _missed(job: "Done", own: _Own) -> list[str]:
    return [line for bar in own.bars if (line := bar.missed(job.records)) is not None]


def _content(job: "Done", missed: list[str]) -> dict[str, Any]:
    """A job as plain data: the columns of its CSV, and the means over its categories."""
    from adbench.results.summary import lines

    *categories, mean = lines(job.records) if job.records else [None]
    return {
        "overrides": job.overrides,
        "categories": categories,
        "mean": mean,
        "failures": job.failures,
        "skipped": job.skipped,
        "bars_missed": missed,
    }


def _sweep_folder(results: Path) -> Path:
    """A new folder for what the jobs of a sweep tell, which Hydra's own folder need not be."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = (results / "sweeps" / f"{stamp}_{os.getpid()}").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdbenchError(f"cannot write to {folder}: {error.strerror}; set results=DIR") from None
    return folder
