"""``adbench plot``: speed against accuracy, ROC and PR curves of settings."""

from argparse import Namespace
from pathlib import Path

from adbench.config.compose import Configs
from adbench.reports import plots
from adbench.reports.compare import select
from adbench.results.records import load_all


def command(given: Namespace, configs: Configs) -> int:
    """Draw the figures and name their files."""
    results = Path(given.results)
    folder, figures = results / "records", results / "figures"
    records = load_all(folder)
    found = [select(side, records, configs) for side in given.sides]
    every = [r for categories in found for repeats in categories.values() for r in repeats]
    # One seed of several is one line of a curve.
    first = [repeats[0] for categories in found for repeats in categories.values()]
    written = plots.speed_accuracy(every, figures) + plots.roc_pr(first, folder, figures)
    print("\n".join(str(path) for path in written), flush=True)
    return 0
