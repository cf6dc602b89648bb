"""Published tables, rebuilt from records and set beside the printed numbers.

A table is data: ``configs/table/NAME.yaml`` says what each row is measured with and where its
numbers are printed. Nothing is computed here but means; what has no record says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.cells import Cell, filled
from adbench.reports.matching import Matching, Source
from adbench.reports.measures import MEASURES
from adbench.reports.printed import Library
from adbench.reports.setting import Setting
from adbench.reports.spec import GROUP, Row, Spec, load_spec, printed
from adbench.results.records import Record


@dataclass(frozen=True)
class Table:
    """A built table."""

    name: str
    spec: Spec
    cells: dict[tuple[str, str, str], Cell]
    """By row, metric and category or ``mean``; what a row cannot have is left out."""
    sources: dict[str, Source]
    """Row -> its records; quoted rows are left out."""

    @property
    def marks(self) -> dict[str, str]:
        """Row -> what it was measured with in place of the published setting."""
        sources = self.sources.items()
        return {label: source.mark for label, source in sources if source.mark and source.found}

    @property
    def present(self) -> int:
        """Pairs of row and category that have a record."""
        return sum(len(source.found) for source in self.sources.values())

    @property
    def possible(self) -> int:
        """Pairs of row and category that are not just quoted."""
        return len(self.sources) * len(self.spec.categories)


def table(
    name: str, records: Sequence[Record], overrides: Sequence[str], configs: Configs
) -> Table:
    """Build a table from records.

    Args:
        name: A file of ``configs/table``, or its name in an earlier version.
        records: All there are.
        overrides: Words of ``adbench run`` that are added to those of every row, such as
            ``backbone=efficientnet_lite0``. Without them a row whose published setting has no
            record is filled from the one other backbone that it was run with.
        configs: Where tables and presets are found.

    Raises:
        AdbenchError: Unknown table, wrong override, two records for one cell, several other
            backbones that would fit.
    """
    return _built(name, Matching(records, configs), Library(), overrides)


def overview(
    records: Sequence[Record], overrides: Sequence[str], configs: Configs
) -> list[tuple[str, str, str]]:
    """Every table: its name, how many of its cells have records or why none can, its title."""
    matching, library = Matching(records, configs), Library()
    lines = []
    for name in configs.choices(GROUP):
        try:
            built = _built(name, matching, library, overrides)
            state = f"{built.present} of {built.possible} cells have records"
        except AdbenchError as error:  # such as an override that only other tables can have
            state = str(error)
        lines.append((name, state, load_spec(name, configs).title))
    return lines


def results_folder(name: str, overrides: Sequence[str], configs: Configs) -> Path:
    """The folder of results of a table with these overrides; its records lie in ``records``."""
    spec = load_spec(name, configs)
    return Path(str(configs.compose((*spec.base, *overrides)).results)).expanduser()


def runs(name: str, overrides: Sequence[str], configs: Configs) -> list[tuple[str, ...]]:
    """The words of every ``adbench run`` that a table is made of.

    Args:
        name: A file of ``configs/table``.
        overrides: Added to the words of every row, such as ``backbone=NAME``.
        configs: Where tables and presets are found.

    Raises:
        AdbenchError: Unknown table or wrong override.
    """
    spec, matching = load_spec(name, configs), Matching((), configs)
    chosen = [
        matching.words(spec.wanted(row), overrides)
        for row in _distinct(spec, overrides, matching)
        if not row.quoted
    ]
    # A seed of the user's comes later and so takes the place of the table's.
    return [(f"seed={seed}", *words) for words in chosen for seed in spec.seeds]


def _built(name: str, matching: Matching, library: Library, overrides: Sequence[str]) -> Table:
    spec = load_spec(name, matching.configs)
    spec = replace(spec, rows=_distinct(spec, overrides, matching))
    sources = matching.find(
        {row.label: spec.wanted(row) for row in spec.rows if not row.quoted},
        overrides,
        costs_only=not any(MEASURES[m].accuracy for m in spec.metrics),
        categories=spec.categories,
    )
    cells: dict[tuple[str, str, str], Cell] = {}
    for row in spec.rows:
        numbers = printed(spec, row, library)
        own, rival = (sources.get(label or "", Source()) for label in (row.label, row.against))
        for metric in spec.metrics:
            if MEASURES[metric].versus and not row.against:
                continue
            if row.quoted and not any(m == metric for m, _ in numbers):
                continue
            for cell in filled(row, metric, spec.categories, own, rival, numbers):
                cells[row.label, metric, cell.category] = cell
    return Table(matching.configs.current(GROUP, name), spec, cells, sources)


def _distinct(spec: Spec, overrides: Sequence[str], matching: Matching) -> tuple[Row, ...]:
    """The rows but those that the overrides make the same as an earlier one."""
    kept: list[Row] = []
    seen: list[Setting] = []
    for row in spec.rows:
        if not row.quoted:
            setting = matching.setting(matching.words(spec.wanted(row), overrides))
            if setting in seen:
                continue
            seen.append(setting)
        kept.append(row)
    return tuple(kept)
