"""``adbench reproduce``: a published table from nothing. What it lacks is run, then it is built."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field

from adbench.bench.bundles import Split
from adbench.bench.plan import Plan, plan
from adbench.bench.run import Outcome
from adbench.cli.job import measure
from adbench.cli.output import lines_on_stderr
from adbench.cli.run_words import IN_TURN, ONLY_TIME, SPLIT, split_of
from adbench.cli.screen import say, say_aside
from adbench.cli.sweep import new_folder
from adbench.cli.table import finish
from adbench.config.compose import Configs
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError
from adbench.reports.needed import records_of
from adbench.reports.tables import Table, results_folder, runs, table
from adbench.results.records import present

_LAUNCHER = "launcher="


@dataclass(frozen=True)
class Launching:
    """A launcher that runs jobs side by side."""

    words: list[str]
    """As Hydra reads them."""
    split: Split


@dataclass(frozen=True)
class Reproduction:
    """A table and what it lacks."""

    table: Table
    failures: dict[str, str] = field(default_factory=dict)
    """Run and category -> why there is no record."""


def command(given: Namespace, configs: Configs) -> int:
    """Reproduce a table and print it; 1 where something failed, or a check did."""
    launching, given.overrides = _launching(given.overrides)
    with lines_on_stderr(given.json):
        done = reproduce(given.table, given.overrides, configs, given.measured, launching)
    status = finish([done.table], given, configs, {"failures": done.failures})
    if done.failures:  # each was told when it happened
        say_aside(f"failed: {'; '.join(done.failures)}")
    return 1 if done.failures else status


def reproduce(
    name: str,
    overrides: Sequence[str],
    configs: Configs,
    measured: bool = False,
    launching: Launching | None = None,
) -> Reproduction:
    """Measure what has no record yet, all runs together, and build the table.

    A setting that is impossible with the chosen backbone is no failure; the table says so.

    Args:
        name: A file of ``configs/table``.
        overrides: As for ``adbench run``: ``dataset.root=DIR``, and where wanted another backbone,
            fewer categories ...
        configs: The config files.
        measured: Whether categories and rows without any record are left out of the table.
        launching: What does the runs side by side; None: this process does them together.

    Raises:
        AdbenchError: Unknown table, wrong override, records that cannot be trusted or that claim
            one cell, or nothing could be measured. All but the last is said before any work.
    """
    folder = results_folder(name, overrides, configs) / "records"
    if present(folder):
        table(name, records_of(folder, configs, overrides), overrides, configs)
    wanted = {" ".join(words): words for words in runs(name, overrides, configs)}
    plans = {text: plan(configs.compose(words)) for text, words in wanted.items()}
    for number, text in enumerate(plans):
        say(f"{name}: run {number + 1} of {len(plans)}: {text}")
    found = _measured(list(plans.values()), list(wanted.values()), configs, launching)
    outcomes = dict(zip(plans, found, strict=True))
    failures = {
        f"{text}: {category}": why
        for text, outcome in outcomes.items()
        for category, why in outcome.failures.items()
        if category not in outcome.impossible
    }
    if not present(folder):
        reasons = [why for outcome in outcomes.values() for why in outcome.failures.values()]
        first = next(iter(reasons), "the table has no row to run")
        raise AdbenchError(f"{name}: nothing could be measured: {first}")
    records = records_of(folder, configs, overrides)
    return Reproduction(table(name, records, overrides, configs, measured), failures)


def _launching(words: Sequence[str]) -> tuple[Launching | None, list[str]]:
    """The launcher that the words choose, and the words about other things."""
    if ONLY_TIME in words:
        raise AdbenchError(
            f"{ONLY_TIME}: is a word of `adbench run`; `adbench reproduce TABLE` without a "
            "launcher adds the times that a table lacks"
        )
    named = [word for word in words if word.removeprefix("hydra/").startswith(_LAUNCHER)]
    splits = [word for word in words if word.startswith(SPLIT)]
    settings = [word for word in words if word.startswith("hydra.launcher.")]
    chosen = named[-1].rpartition("=")[2] if named else IN_TURN[0]
    split = split_of(splits, chosen not in IN_TURN)
    if settings and not named:
        raise AdbenchError(f"{settings[0]}: choose a launcher too, such as {_LAUNCHER}joblib")
    rest = [word for word in words if word not in (*named, *splits, *settings)]
    if chosen in IN_TURN:
        return None, rest
    return Launching([f"hydra/{_LAUNCHER}{chosen}", *settings], split), rest


def _measured(
    plans: Sequence[Plan],
    words: Sequence[Sequence[str]],
    configs: Configs,
    launching: Launching | None,
) -> list[Outcome]:
    """What became of each run of a table."""
    if launching is None or not plans:
        return measure(plans)
    from adbench.cli.bundles import BundleTask, measured
    from adbench.cli.hydra_app import launcher_for

    folder = new_folder(plans[0].results)
    task = BundleTask(configs, folder / "bundles")
    into = f"hydra.sweep.dir={quoted(str(folder))}"
    launcher = launcher_for(task, configs, [*launching.words, into])
    numbered = dict(enumerate(map(list, words)))
    outcomes, _ = measured(launcher, task.folder, dict(enumerate(plans)), numbered, launching.split)
    return list(outcomes.values())
