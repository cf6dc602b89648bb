"""``adbench table``: published tables, built from records alone."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adbench.cli.output import print_json
from adbench.cli.screen import say, say_aside
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.reports import checked, plots, text
from adbench.reports.needed import records_of
from adbench.reports.tables import Table, results_folder, table
from adbench.results.index import Records


def command(given: Namespace, configs: Configs) -> int:
    """Build, print and write one table, or all of them; 1 where a check or one of all failed.

    A table for which there are no records is none that failed: its cells are empty.
    """
    every = given.table == "all"
    built: list[Table] = []
    failures: dict[str, str] = {}
    wrong = False
    read: dict[Path, Records] = {}
    for name in configs.choices("table") if every else [given.table]:
        try:
            folder = results_folder(name, given.overrides, configs) / "records"
            if folder not in read:
                read[folder] = records_of(folder, configs, given.overrides)
            records = read[folder]
            built.append(table(name, records, given.overrides, configs, given.measured))
        except AdbenchError as error:
            if not every:
                raise
            failures[name] = str(error)
            wrong |= not isinstance(error, ImpossibleError)  # such as a category that others have
    if failures and not read:  # there are no records, or a word is wrong for every table
        raise AdbenchError("\n".join(dict.fromkeys(failures.values())))
    for name, why in failures.items():
        say_aside(f"{name}: {why}")
    status = finish(built, given, configs, {"failures": failures} if every else None)
    return 1 if wrong or not built else status


def finish(
    built: Sequence[Table], given: Namespace, configs: Configs, more: dict[str, Any] | None = None
) -> int:
    """Print and write tables; 1 where a number is outside its band and ``--check`` was given.

    Args:
        built: The tables.
        given: The words: ``overrides``, ``json``, ``check``.
        configs: The config files.
        more: What else the document of ``--json`` says.
    """
    for one in built:
        written = _write(one, given.overrides, configs)
        if not given.json:
            say(text.to_markdown(one))
            say("\n".join(written))
    checks = {one.name: checked.failures(one) for one in built} if given.check else {}
    if given.json:
        found = [text.to_json(one) | _checked(one, given.check) for one in built]
        print_json({"tables": found, **(more or {})})
    for one in built if given.check else ():
        say(checked.summary(one), sys.stderr if given.json else sys.stdout)
    for line in (line for lines in checks.values() for line in lines):
        say_aside(line)
    return 1 if any(checks.values()) else 0


def _write(built: Table, overrides: Sequence[str], configs: Configs) -> list[str]:
    """Write a table as files and figures, and name these."""
    folder = results_folder(built.name, overrides, configs)
    written = text.write(built, folder / "published")
    if built.present:
        try:
            written += plots.table_figure(built, folder / "figures")
        except OSError as error:
            why = error.strerror or error
            raise AdbenchError(f"cannot write to {folder / 'figures'}: {why}") from None
    return [str(path) for path in written]


def _checked(built: Table, wanted: bool) -> dict[str, Any]:
    return {"check": checked.to_json(built)} if wanted else {}
