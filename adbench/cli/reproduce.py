"""``adbench reproduce``: a published table from nothing. What it lacks is run, then it is built."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field

from adbench.bench.plan import plan
from adbench.cli.job import measure
from adbench.cli.output import lines_on_stderr
from adbench.cli.screen import say, say_aside
from adbench.cli.table import finish
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.tables import Table, results_folder, runs, table
from adbench.results.records import load_all, present


@dataclass(frozen=True)
class Reproduction:
    """A table and what it lacks."""

    table: Table
    failures: dict[str, str] = field(default_factory=dict)
    """Run and category -> why there is no record."""


def command(given: Namespace, configs: Configs) -> int:
    """Reproduce a table and print it; 1 where something failed, or a check did."""
    with lines_on_stderr(given.json):
        done = reproduce(given.table, given.overrides, configs, given.measured)
    status = finish([done.table], given, configs, {"failures": done.failures})
    if done.failures:  # each was told when it happened
        say_aside(f"failed: {'; '.join(done.failures)}")
    return 1 if done.failures else status


def reproduce(
    name: str, overrides: Sequence[str], configs: Configs, measured: bool = False
) -> Reproduction:
    """Measure what has no record yet, all runs together, and build the table.

    A setting that is impossible with the chosen backbone is no failure; the table says so.

    Args:
        name: A file of ``configs/table``.
        overrides: As for ``adbench run``: ``dataset.root=DIR``, and where wanted another backbone,
            fewer categories ...
        configs: The config files.
        measured: Whether categories and rows without any record are left out of the table.

    Raises:
        AdbenchError: Unknown table, wrong override, records that cannot be trusted or that claim
            one cell, or nothing could be measured. All but the last is said before any work.
    """
    folder = results_folder(name, overrides, configs) / "records"
    if present(folder):
        table(name, load_all(folder), overrides, configs)
    wanted = {" ".join(words): words for words in runs(name, overrides, configs)}
    plans = {text: plan(configs.compose(words)) for text, words in wanted.items()}
    for number, text in enumerate(plans):
        say(f"{name}: run {number + 1} of {len(plans)}: {text}")
    outcomes = dict(zip(plans, measure(list(plans.values())), strict=True))
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
    return Reproduction(table(name, load_all(folder), overrides, configs, measured), failures)
