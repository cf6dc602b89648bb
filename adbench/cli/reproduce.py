"""``adbench reproduce``: a published table from nothing. What it lacks is run, then it is built."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field

from adbench.bench.plan import plan
from adbench.cli.job import measure
from adbench.cli.screen import say
from adbench.cli.table import show
from adbench.config.compose import Configs
from adbench.config.overrides import compose_or_explain
from adbench.errors import AdbenchError
from adbench.reports.tables import Table, results_folder, runs, table
from adbench.results.records import load_all


@dataclass(frozen=True)
class Reproduction:
    """A table and what it lacks."""

    table: Table
    failures: dict[str, str] = field(default_factory=dict)
    """Run and category -> why there is no record."""


def command(given: Namespace, configs: Configs) -> int:
    """Reproduce a table and print it; 1 where something failed."""
    done = reproduce(given.table, given.overrides, configs)
    show(done.table, given.overrides, configs)
    for run, message in done.failures.items():
        print(f"adbench: {run}: {message}", file=sys.stderr)
    return 1 if done.failures else 0


def reproduce(name: str, overrides: Sequence[str], configs: Configs) -> Reproduction:
    """Measure what has no record yet, all runs together, and build the table.

    A setting that is impossible with the chosen backbone is no failure; the table says so.

    Args:
        name: A file of ``configs/table``.
        overrides: As for ``adbench run``: ``dataset.root=DIR``, and where wanted another backbone,
            fewer categories ...
        configs: The config files.

    Raises:
        AdbenchError: Unknown table, wrong override, records that cannot be trusted or that claim
            one cell, or nothing could be measured. All but the last is said before any work.
    """
    folder = results_folder(name, overrides, configs) / "records"
    if any(folder.glob("*.json")):
        table(name, load_all(folder), overrides, configs)
    wanted = {" ".join(words): words for words in runs(name, overrides, configs)}
    plans = {text: plan(compose_or_explain(words, configs)) for text, words in wanted.items()}
    for number, text in enumerate(plans):
        say(f"{name}: run {number + 1} of {len(plans)}: {text}")
    outcomes = dict(zip(plans, measure(list(plans.values())), strict=True))
    failures = {
        f"{text}: {category}": why
        for text, outcome in outcomes.items()
        for category, why in outcome.failures.items()
        if category not in outcome.impossible
    }
    if failures and not any(folder.glob("*.json")):
        first = next(iter(failures.values()))
        raise AdbenchError(f"{name}: nothing could be measured: {first}")
    return Reproduction(table(name, load_all(folder), overrides, configs), failures)
