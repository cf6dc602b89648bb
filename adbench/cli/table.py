"""``adbench table``: published tables, built from records alone."""

from argparse import Namespace
from collections.abc import Sequence

from adbench.config.compose import Configs
from adbench.reports import plots, text
from adbench.reports.tables import Table, results_folder, table
from adbench.results.records import load_all


def command(given: Namespace, configs: Configs) -> int:
    """Build, print and write one table, or all of them."""
    for name in configs.choices("table") if given.table == "all" else [given.table]:
        records = load_all(results_folder(name, given.overrides, configs) / "records")
        show(table(name, records, given.overrides, configs), given.overrides, configs)
    return 0


def show(built: Table, overrides: Sequence[str], configs: Configs) -> None:
    """Print a table, write it as files and figures, and name these."""
    folder = results_folder(built.name, overrides, configs)
    written = text.write(built, folder / "published")
    if built.present:
        written += plots.table_figure(built, folder / "figures")
    print(text.to_markdown(built))
    print("\n".join(str(path) for path in written), flush=True)
