"""Published tables, rebuilt from records and set beside the printed numbers.

A table is data: ``configs/table/NAME.yaml`` says what each row is measured with and where its
numbers are printed. Nothing is computed here but means; what has no record says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.reports.cells import Cell, filled
from adbench.reports.completeness import lacking
from adbench.reports.given import of_tools, source_of
from adbench.reports.matching import Matching, Source
from adbench.reports.measures import MEASURES
from adbench.reports.needed import Stored, needed
from adbench.reports.printed import Library
from adbench.reports.setting import Setting
from adbench.reports.spec import GROUP, Row, Spec, load_spec, printed
from adbench.results.records import RecordError
from adbench.system.files import expanded


@dataclass(frozen=True)
class Table:
    """A built table."""

    name: str
    spec: Spec
    cells: dict[tuple[str, str, str], Cell]
    """By row, metric and category or ``mean``; what a row cannot have is left out."""
    sources: dict[str, Source]
    """Row -> its records; rows that are just quoted are left out."""
    total: int
    """How many categories the printed means are over; ``spec`` has those that are shown."""

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

    @property
    def incomplete(self) -> dict[str, str]:
        """Category -> how its images differ from the published ones, where they do."""
        if self.spec.own_images:
            return {}
        found = {
            category: lacking(r for s in self.sources.values() for r in s.found.get(category, ()))
            for category in self.spec.categories
        }
        return {category: words for category, words in found.items() if words}


def table(
    name: str,
    records: Stored,
    overrides: Sequence[str],
    configs: Configs,
    measured: bool = False,
) -> Table:
    """Build a table from records.

    Args:
        name: A file of ``configs/table``, or its name in an earlier version.
        records: All there are, or their folder.
        overrides: Words of ``adbench run`` that are added to those of every row, such as
            ``backbone=efficientnet_lite0``. Without them a row whose published setting has no
            record is filled from the one other backbone that it was run with.
            ``dataset.categories`` narrows the table.
        configs: Where tables and presets are found.
        measured: Whether categories and rows without any record are left out.

    Raises:
        AdbenchError: Unknown table, wrong override, two records for one cell, several other
            backbones that would fit.
    """
    return _built(name, records, Matching((), configs), Library(), overrides, measured)


def overview(
    records: Stored, overrides: Sequence[str], configs: Configs
) -> list[tuple[str, str, str]]:
    """Every table: its name, how many of its cells have records or why none can, its title.

    Raises:
        RecordError: A record that a table would show cannot be trusted.
    """
    matching, library = Matching((), configs), Library()
    lines = []
    for name in configs.choices(GROUP):
        try:
            built = _built(name, records, matching, library, overrides)
            state = f"{built.present} of {built.possible} cells have records"
            lines.append((name, state, built.spec.title))
        except RecordError:
            raise
        except AdbenchError as error:  # a broken file, or an override that other tables alone have
            lines.append((name, str(error), _title(name, configs)))
    return lines


def results_folder(name: str, overrides: Sequence[str], configs: Configs) -> Path:
    """The folder of results of a table with these overrides; its records lie in ``records``."""
    spec = load_spec(name, configs)
    return expanded(str(configs.compose((*spec.base, *overrides)).results))


def runs(name: str, overrides: Sequence[str], configs: Configs) -> list[tuple[str, ...]]:
    """The words of every ``adbench run`` that ``adbench reproduce`` makes a table of.

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
        if not row.quoted and not row.apart
    ]
    # A seed of the user's comes later and so takes the place of the table's.
    return [(f"seed={seed}", *words) for words in chosen for seed in spec.seeds]


def _title(name: str, configs: Configs) -> str:
    try:
        return load_spec(name, configs).title
    except AdbenchError:
        return "cannot be read"


def _built(
    name: str,
    records: Stored,
    matching: Matching,
    library: Library,
    overrides: Sequence[str],
    measured: bool = False,
) -> Table:
    whole = load_spec(name, matching.configs)
    spec = replace(
        whole,
        rows=_distinct(whole, overrides, matching),
        categories=_chosen(whole, name, overrides, matching),
    )
    wanted = {row.label: spec.wanted(row) for row in spec.rows if not row.quoted}
    tools = [name for row in spec.rows for name in (row.label, *row.given)]
    matching = matching.on(needed(records, matching.settings_for(wanted, overrides), tools))
    sources = matching.find(
        wanted,
        overrides,
        costs_only=not any(MEASURES[m].accuracy for m in spec.metrics),
        categories=spec.categories,
    )
    sources |= _given(spec, sources, overrides, matching)
    if measured:
        spec, sources = _narrowed(spec, sources)
    cells: dict[tuple[str, str, str], Cell] = {}
    total = len(whole.categories)
    for row in spec.rows:
        numbers = printed(spec, row, library)
        own, rival = (sources.get(label or "", Source()) for label in (row.label, row.against))
        for metric in spec.metrics:
            if MEASURES[metric].versus and not row.against:
                continue
            if row.quoted and not any(m == metric for m, _ in numbers):
                continue
            shown = filled(
                row, metric, spec.categories, own, rival, numbers, total, not spec.own_images
            )
            cells.update({(row.label, metric, cell.category): cell for cell in shown})
    return Table(matching.configs.current(GROUP, name), spec, cells, sources, total)


def _given(
    spec: Spec, sources: dict[str, Source], overrides: Sequence[str], matching: Matching
) -> dict[str, Source]:
    """Sources of rows without a run, from the maps and scores of tools with their names.

    A row that the overrides change asks for other settings than the tool's.
    """
    found: dict[str, Source] = {}
    for row in spec.rows if (records := of_tools(matching.records)) else ():
        words = spec.wanted(row).run
        setting = matching.setting(words)
        ran = row.label in sources and sources[row.label].found
        if not ran and (row.quoted or matching.setting((*words, *overrides)) == setting):
            source = source_of((row.label, *row.given), records, setting, spec.categories)
            if source.found:
                found[row.label] = source
    return found


def _chosen(spec: Spec, name: str, overrides: Sequence[str], matching: Matching) -> tuple[str, ...]:
    """The categories of a table, narrowed where the user's words name some of them."""
    if not any(word.startswith("dataset.categories=") for word in overrides):
        return spec.categories
    chosen = matching.configs.compose((*spec.base, *overrides)).dataset.categories
    if chosen == "all":
        return spec.categories
    named = [chosen] if isinstance(chosen, str) else list(chosen)
    if unknown := [str(c) for c in named if c not in spec.categories]:
        raise ImpossibleError(
            f"dataset.categories: table {name} has no {', '.join(unknown)}; it has "
            f"{', '.join(spec.categories)}"
        )
    return tuple(category for category in spec.categories if category in named)


def _narrowed(spec: Spec, sources: dict[str, Source]) -> tuple[Spec, dict[str, Source]]:
    """What was measured of a table, beside the rows that no run fills; all where nothing was."""
    found = {label: source for label, source in sources.items() if source.found}
    if not found:
        return spec, sources
    present = {category for source in found.values() for category in source.found}
    rows = tuple(row for row in spec.rows if row.quoted or row.apart or row.label in found)
    categories = tuple(category for category in spec.categories if category in present)
    return replace(spec, rows=rows, categories=categories), found


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
