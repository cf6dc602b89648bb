"""``adbench run``: a method on a dataset through a backbone, once or as a sweep, by Hydra."""

import itertools
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbench.cli.hydra_app import run_hydra
from adbench.cli.output import lines_on_stderr, print_json
from adbench.cli.run_words import (
    LAUNCHER,
    ONLY_TIME,
    REPORT,
    SKIP,
    OwnWords,
    launchers_side_by_side,
    own_words,
)
from adbench.cli.screen import say, say_aside
from adbench.config.compose import Configs
from adbench.config.overrides import expand, refuse_wrong, split
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError

if TYPE_CHECKING:
    from adbench.bench.plan import Plan
    from adbench.cli.job import Task
    from adbench.cli.sweep import Done

_QUESTIONS = frozenset(("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--cfg", "-c"))
"""Flags with which Hydra answers and runs nothing."""
_SWEEP = frozenset(("-m", "--multirun"))
_OTHER_CONFIG = frozenset(("--config-name", "-cn", "--config-path", "-cp"))


def command(given: Namespace, configs: Configs) -> int:
    """Check every override, hand the words to Hydra, then tell what came of the jobs.

    Returns:
        0; 1 where a job failed, or a number is below its bar.
    """
    words, own = own_words(given.words)
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
    from adbench.tracking.callback import failures

    register()
    task = Task(configs, skip=own.skip, only_time=own.only_time, split=own.split)
    with lines_on_stderr(own.json), failures() as untracked:
        jobs = _jobs(task, overrides, flags, names)
        written = _page(task, jobs, own)
    for line in untracked:
        say_aside(line)
    return max(_told(jobs, own), 0 if written and not untracked else 1)


def _jobs(
    task: "Task", overrides: list[str], flags: list[str], names: set[str]
) -> Sequence["Done"]:
    """Run the jobs, and give what became of each."""
    if names & _OTHER_CONFIG:
        # Only Hydra knows what the jobs of such a config are, so that they run one by one.
        chosen = any(word.startswith(LAUNCHER) for word in overrides)
        words = overrides if chosen else [*overrides, f"{LAUNCHER}basic"]
        run_hydra(task, task.configs, words, flags)
        return task.done
    own = [word for word in overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if len(own) < len(overrides):
        task.configs.compose([word for word in overrides if word not in own])
    if names & _SWEEP or "hydra.mode=MULTIRUN" in overrides:
        return _sweep(task, _possible(task, own).results, overrides, flags)
    for word in launchers_side_by_side(overrides):
        raise AdbenchError(f"{word}: spreads a sweep, which needs -m: adbench run -m {word} ...")
    task.planned(own)
    run_hydra(task, task.configs, overrides, flags)
    return task.done


def _possible(task: "Task", overrides: list[str]) -> "Plan":
    """The plan of the first job of a sweep that can run.

    Raises:
        AdbenchError: A value is wrong in every job that has it; with ``--skip-impossible``, by
            itself, or no job can run.
    """
    from adbench.cli.job import contradicts

    wrong: list[AdbenchError] = []

    def attempt(job: Sequence[str]) -> "Plan | None":
        try:
            return task.planned(job)
        except AdbenchError as error:
            if not contradicts(error):
                wrong.append(error)
            elif task.skip:
                return None  # it is left out, and nothing is wrong with its values
            raise

    try:
        found = refuse_wrong(overrides, attempt)
    except AdbenchError as error:
        if task.skip or wrong or all(len(values) == 1 for values in expand(overrides)):
            raise
        raise AdbenchError(f"{error}\n{SKIP} leaves such jobs out and runs the rest") from None
    if found is not None:
        return found
    first: AdbenchError | None = None
    for job in itertools.product(*expand(overrides)):
        try:
            return task.planned(job)
        except AdbenchError as error:
            first = first or error
    raise first or AdbenchError("the sweep has no job")


def _sweep(task: "Task", results: Path, overrides: list[str], flags: list[str]) -> Sequence["Done"]:
    """Let Hydra run a sweep, and print the table of its jobs."""
    from adbench.cli.sweep import finish, jobs_of, new_folder

    task.results, task.folder = results, new_folder(results)
    if not any(word.startswith("hydra.sweep.dir=") for word in overrides):
        overrides = [*overrides, f"hydra.sweep.dir={quoted(str(task.folder))}"]
    run_hydra(task, task.configs, overrides, flags)
    jobs = jobs_of(task.folder)
    finish(task.folder, jobs)
    return jobs


def _page(task: "Task", jobs: Sequence["Done"], own: OwnWords) -> bool:
    """Name the command that makes the page, or make it; whether all went well."""
    from adbench.cli.report import NAME, repeating, write_page
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


def _told(jobs: Sequence["Done"], own: OwnWords) -> int:
    """Tell which bars were missed, print the document of ``--json``, and give the exit status."""
    from adbench.cli.sweep import varied

    labels = [" ".join(f"{n}={v}" for n, v in names.items()) for names in varied(jobs)]
    missed: list[list[str]] = []
    for job, label in zip(jobs, labels, strict=True):
        found = [] if job.skipped and not job.records else _missed(job, own)
        missed.append(found)
        for line in found:
            where = f"{label}: " if len(jobs) > 1 else ""
            say_aside(f"{where}{line}")
    nothing_to_compare = bool(own.bars) and all(job.skipped and not job.records for job in jobs)
    if nothing_to_compare:
        say_aside("no job has a record, so that every bar is missed")
    absent = sum(len(job.absent) for job in jobs)
    if absent:
        named = f"{absent} record{'s do' if absent > 1 else ' does'} not exist"
        again = f"the same command without {ONLY_TIME} makes them"
        say_aside(f"{named}, as named above; {again}")
    nothing_done = bool(absent) and not any(job.records for job in jobs)
    failed = any(job.failures for job in jobs) or any(missed) or nothing_done
    failed |= nothing_to_compare
    if own.json:
        print_json({"jobs": [_content(job, m) for job, m in zip(jobs, missed, strict=True)]})
    return 1 if failed else 0


def _missed(job: "Done", own: OwnWords) -> list[str]:
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
        "absent": job.absent,
        "bars_missed": missed,
    }
