"""What ``adbench run`` does for a job: build its plan, measure, tell what came of it."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from pydantic import ValidationError

from adbench.bench.bundles import Split
from adbench.bench.plan import DETECTOR, PARTS, Plan, plan
from adbench.bench.run import Outcome, run
from adbench.bench.session import Reads, Session
from adbench.cli.screen import complain, say, say_aside
from adbench.cli.sweep import Done
from adbench.config.build import Builder, refuse_unread
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.results import summary, thresholds
from adbench.results.records import require_writable
from adbench.system.files import write_whole
from adbench.system.progress import kind_for
from adbench.system.settings import unread

_OF_SEVERAL = ("unexpected_keyword_argument", "value_error")
"""What pydantic calls a setting that a class lacks, and settings that a class refuses together."""


@dataclass
class Task:
    """The function that Hydra calls for each job.

    Attributes:
        configs: The config files.
        folder: Where each job of a sweep leaves a file for the sweep's table; None for one run.
        skip: Whether a job of a sweep whose settings are impossible is left out and is no failure.
        only_time: Whether records are given the time that they lack, and nothing else is measured.
        split: How far the jobs of a launcher that runs them side by side are split.
        done: What became of the jobs of this process.
        fresh: Whether no job was measured in this process so far.
        results: The folder of results of the last job; None before there is one.
    """

    configs: Configs
    folder: Path | None = None
    skip: bool = False
    only_time: bool = False
    split: Split = "features"
    done: list[Done] = field(default_factory=list)
    fresh: bool = True
    results: Path | None = None
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)
    _builder: Builder = field(default_factory=Builder)

    def __reduce__(self) -> tuple[type["Task"], tuple[Any, ...]]:
        # Another process plans its own job.
        return Task, (self.configs, self.folder, self.skip, self.only_time)

    def __call__(self, config: DictConfig) -> float | None:
        """Run one job by itself; the mean image AUROC is for Hydra's callbacks and sweepers."""
        here = HydraConfig.get()
        launcher = str(here.launcher.get("_target_", ""))
        in_sweep = here.mode == RunMode.MULTIRUN
        refused = refused_by(launcher) if in_sweep else None
        overrides = list(here.overrides.task)
        known = None if refused else self._plans.get(tuple(overrides))
        try:
            planned = known or planned_job(
                config, overrides, refused, self.only_time, self._builder
            )
            fresh, self.fresh = self.fresh, False
            outcome = measure([planned], fresh)[0]
        except AdbenchError as error:
            if not in_sweep:
                raise SystemExit(complain(error)) from None
            self.refuse(error, here.job.num, overrides)
            return None
        return self.report(planned, outcome, here.job.num if in_sweep else None, overrides)

    def planned(self, overrides: Sequence[str]) -> Plan:
        """The plan of a job that may take time, built and checked once.

        Raises:
            AdbenchError: A word is wrong.
        """
        key = tuple(overrides)
        if key not in self._plans:
            if any(word.startswith("detector=") and word != "detector=null" for word in overrides):
                refuse_own(overrides)  # a word for another method would be called unknown
            config = self.configs.compose(overrides)
            self._plans[key] = planned_job(
                config, overrides, only_time=self.only_time, builder=self._builder
            )
        return self._plans[key]

    def refuse(self, error: AdbenchError, number: int, overrides: Sequence[str]) -> None:
        """Tell that a job of a sweep cannot run."""
        impossible = contradicts(error)
        if self.skip and impossible:
            say(f"job {number}: skipped: {error}")
        outcome = Outcome(failures={"settings": str(error)})
        outcome.impossible |= {"settings"} if impossible else set()
        self._finish(None, outcome, number, overrides)

    def report(
        self, planned: Plan, outcome: Outcome, number: int | None, overrides: Sequence[str]
    ) -> float | None:
        """Write and print the table of a job.

        Args:
            planned: The job.
            outcome: What became of it.
            number: Its number in a sweep; None for one run.
            overrides: What was typed for it.

        Returns:
            The mean image AUROC in [0, 1] over its categories; None where nothing was measured.
        """
        self.results = planned.results
        if number is not None:
            say(f"job {number}: {' '.join(overrides) or 'defaults'}")
        try:
            if outcome.records:
                _show(planned, outcome)
        except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
            raise
        except OSError as error:
            if number is None:
                say_aside(
                    f"cannot write to {planned.results}: {error.strerror or error}; the records "
                    "are kept: make room there, and run the same command again"
                )
                raise SystemExit(1) from None
            outcome.failures["results"] = str(error)
            say_aside(f"job {number}: {error}")
        self._finish(planned, outcome, number, overrides)
        return outcome.mean()

    def _finish(
        self, planned: Plan | None, outcome: Outcome, number: int | None, overrides: Sequence[str]
    ) -> None:
        skipped = outcome.impossible if self.skip and number is not None else set()
        failures = {n: why for n, why in outcome.failures.items() if n not in skipped}
        job = "" if number is None else f"job {number}: "
        if planned is None:  # what fails at work is told when it does
            for message in failures.values():
                say_aside(f"{job}{message}")
        impossible = {n: why for n, why in outcome.failures.items() if n in skipped}
        done = Done(list(overrides), outcome.records, failures, impossible, outcome.absent)
        self.done.append(done)
        if self.folder is None or number is None:
            return
        records = planned.records.absolute() if planned else self.folder
        path = self.folder / f"job-{number}.json"
        try:
            write_whole(path, done.written(os.path.relpath(records, self.folder)))
        except OSError as error:
            raise AdbenchError(f"cannot write {path}: {error.strerror or error}") from error


def contradicts(error: AdbenchError) -> bool:
    """Whether an error says that settings cannot be had together.

    Any other error is of something that is wrong by itself, such as a number out of range, a folder
    that is not there or a full disk. Hydra and pydantic find most of what is wrong with words, and
    their error behind this one tells which kind it is.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            return all(p["type"] in _OF_SEVERAL for p in cause.errors(include_url=False))
        if isinstance(cause, ImpossibleError | ConfigCompositionException):
            return not isinstance(cause, MissingConfigException)  # of a preset that is not there
        cause = cause.__context__
    return False


def refused_by(launcher: str) -> str | None:
    """Why time must not be measured under a launcher, by its dotted path; None where it may be."""
    if launcher.endswith(("BasicLauncher", "SharedLauncher")):
        return None
    name = launcher.rpartition(".")[2]
    return f"not taken beside other jobs ({name})"


def planned_job(
    config: DictConfig,
    overrides: Sequence[str],
    refused: str | None = None,
    only_time: bool = False,
    builder: Builder | None = None,
) -> Plan:
    """The plan of a job.

    Args:
        config: Its composed config.
        overrides: What was typed for it.
        refused: Why time must not be measured.
        only_time: Whether records are given the time that they lack, and nothing else is measured.
        builder: That of other jobs, from which parts that are described alike are taken.

    Raises:
        ImpossibleError: A setting was typed and is not read.
        AdbenchError: A setting is wrong, or time alone is wanted where none can be taken.
    """
    builder = builder or Builder()
    planned = replace(plan(config, refused, builder), only_time=only_time)
    if only_time and not planned.wants_time:
        reason = refused or "timing.enabled=false is set"
        raise AdbenchError(f"timing=only: no time is taken here: {reason}")
    if only_time and planned.options.existing == "redo":
        raise AdbenchError("timing=only: completes what exists; leave existing=redo out")
    if planned.options.detector is not None:
        refuse_own(overrides)
    for part in PARTS:
        if any(o.lstrip("+").startswith(f"{part}.") for o in overrides):
            built = builder.part(config, part)
            try:
                refuse_unread(overrides, config[part], built, part)
            except AdbenchError as error:
                raise ImpossibleError(str(error)) from None
    for override in overrides:
        if why := unread(planned.options, [override.lstrip("+").partition("=")[0]]):
            raise ImpossibleError(f"{override}: {why}; set that too, or leave this out")
    return planned


def refuse_own(overrides: Sequence[str]) -> None:
    """Refuse words for what a saved detector brings with it. Raises ImpossibleError."""
    own = (*DETECTOR, "threshold", "alpha", "folds", "seed")
    for override in overrides:
        name = override.lstrip("+~").partition("=")[0].partition(".")[0]
        if name in own:
            raise ImpossibleError(
                f"{override}: the detector's file holds its own {name}; leave this out"
            )


def measure(
    plans: Sequence[Plan],
    fresh: bool = True,
    numbers: Sequence[int] | None = None,
    reads: Reads | None = None,
) -> list[Outcome]:
    """Run jobs together in this process.

    Args:
        plans: The jobs.
        fresh: Whether nothing was measured in this process before.
        numbers: Of the jobs in their sweep.
        reads: What jobs of other processes read of the same features.

    Raises:
        AdbenchError: A folder of results cannot be written; this is said before any work.
    """
    for folder in {planned.records for planned in plans}:
        require_writable(folder)
    session = Session(plans, kind_for(sys.stderr), fresh, numbers, reads)
    return run(session, say, say_aside)


def _show(planned: Plan, outcome: Outcome) -> None:
    path = planned.results / "tables" / f"{planned.name}.csv"
    write_whole(path, summary.to_csv(outcome.records))
    found = outcome.records
    tables = [
        summary.to_screen(found),
        thresholds.to_screen(found),
        summary.rivals_to_screen(found),
    ]
    shown = "\n\n".join(filter(None, tables))
    say(f"\n{shown}\n\nmetrics in percent; table: {path}")
    pictures = planned.results / "heatmaps" / planned.name
    if pictures.is_dir():
        say(f"pictures: {pictures}")
