"""A published table from nothing: run what it lacks, then build it from the records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.records import load_all
from adbench.reports.matching import NOT_RUN, impossible, setting
from adbench.reports.tables import Table, distinct, load_spec, results_folder, table
from adbench.run import plan, process_fits, run


@dataclass(frozen=True)
class Reproduction:
    """What came of it."""

    table: Table
    failures: dict[str, str] = field(default_factory=dict)
    """Run and category -> why there is no record."""


def runs(name: str, overrides: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The words of every ``adbench run`` that a table is made of, with further overrides such as ``backbone=NAME``.

    Settings that are not possible with the backbone asked for are left out.

    Raises:
        AdbenchError: Unknown table or wrong override.
    """
    spec, extra = load_spec(name), tuple(overrides)
    chosen = [row.wanted.overrides(extra) for row in distinct(spec.rows, extra) if row.run]
    possible = [words for words in chosen if impossible(setting(words)) == NOT_RUN]
    return [(f"seed={seed}", *words) for words in possible for seed in spec.seeds]  # a seed of the user's comes later


def reproduce(name: str, overrides: Sequence[str], progress: bool, report: Callable[[str], None]) -> Reproduction:
    """Measure what has no record yet, one run after the other, and build the table.

    Args:
        name: A file of ``configs/table``.
        overrides: As for ``adbench run``: ``dataset.root=DIR``, and where wanted another backbone, fewer categories ...
        progress: Whether to show progress bars.
        report: Is told what happens, a line at a time.

    Raises:
        AdbenchError: Unknown table, wrong override, records that cannot be trusted or claim one cell, or nothing could be
            measured. All but the last is said before any work.
    """
    folder = results_folder(name, overrides) / "records"
    if any(folder.glob("*.json")):
        table(name, load_all(folder), overrides)
    plans = {" ".join(words): plan(compose(words)) for words in runs(name, overrides)}
    failures: dict[str, str] = {}
    for number, (words, planned) in enumerate(plans.items(), 1):
        report(f"{name}: run {number} of {len(plans)}: {words}")
        outcome = run(planned, process_fits(), progress, report, list(plans.values()))
        failures |= {f"{words}: {category}": why for category, why in outcome.failures.items()}
    if failures and not any(folder.glob("*.json")):
        raise AdbenchError(f"{name}: nothing could be measured: {next(iter(failures.values()))}")
    return Reproduction(table(name, load_all(folder), overrides), failures)
