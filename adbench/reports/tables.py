"""Published tables, rebuilt from records and set beside the printed numbers with a verdict.

A table is data: ``configs/table/NAME.yaml`` says what each row is measured with and where its numbers are printed
(``published/*.csv``). Nothing is computed here but means; what has no record says so.
"""

import csv
import difflib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from pydantic.dataclasses import dataclass as settings_class

from adbench.build import check, plain
from adbench.compose import choices, compose, config_folder
from adbench.core import STRICT, AdbenchError
from adbench.records import Record
from adbench.reports.matching import Setting, Source, Wanted, find, random_weights, seed, setting
from adbench.statistics import Difference, Interval, Spread, mean_difference, mean_std

MEAN = "mean"
BAND, HARD_BAND, MEAN_BAND = 1.0, 3.0, 0.4
"""Points that a reproduction may differ by: in a category, in one of those that vary most, in a mean."""
HARD = frozenset({"pill", "screw", "grid", "toothbrush", "zipper"})
UNTRAINED = "not shown: the weights are random"


@dataclass(frozen=True)
class Measure:
    """A column: how its number is read from a record."""

    title: str
    digits: int
    of: Callable[[Record], float | None]
    accuracy: bool = False
    """In percent, with a band; depends on the values of the weights, which times and sizes do not."""
    versus: Callable[[float, float], float] | None = None
    """Makes of the row's and its rival's ``of`` the number that is shown."""


def _percent(metric: str) -> Callable[[Record], float | None]:
    def read(record: Record) -> float | None:
        value = record.metrics.get(metric)
        return None if value is None else 100 * value

    return read


def _seconds(stage: str) -> Callable[[Record], float | None]:
    return lambda record: record.time.get(stage, {}).get("p50")


def _state(record: Record) -> float | None:
    size = record.memory.get("state")
    return None if size is None else size / 1e6


MEASURES = {
    "image_auroc": Measure("image AUROC, %", 2, _percent("image_auroc"), accuracy=True),
    "pixel_auroc": Measure("pixel AUROC, %", 2, _percent("pixel_auroc"), accuracy=True),
    "aupro": Measure("AUPRO, %", 2, _percent("aupro"), accuracy=True),
    "inference_time_s": Measure("s/image", 4, _seconds("total")),
    "score_time_s": Measure("score, s/image", 4, _seconds("score")),
    "distance_time_s": Measure("distance, s/image", 5, _seconds("distance")),
    "state_mb": Measure("state, MB", 1, _state),
    "distance_speedup_x": Measure(
        "distance, times faster", 2, _seconds("distance"), versus=lambda own, other: other / own
    ),
    "memory_saved_percent": Measure("memory saved, %", 1, _state, versus=lambda own, other: 100 * (1 - own / other)),
}
"""Every column that a table or a claim can have; times are medians of one image at a time."""


@settings_class(frozen=True, config=STRICT)
class Printed:
    """Where numbers are printed: columns of ``published.csv``; what is left out is the table's own or the only one."""

    system: str
    setting: str | None = None
    table: str | None = None
    source: str | None = None
    """``peers``: the numbers that a public code base prints of its own runs."""


@settings_class(frozen=True, config=STRICT)
class Row:
    """One system or setting of a table."""

    label: str
    run: tuple[str, ...] = ()
    """What to add to ``adbench run`` to measure it; empty for a row that is only quoted."""
    elsewhere: tuple[str, ...] = ()
    """What must be added besides where the backbone is not the published one."""
    quoted: str = ""
    """Why the row is only quoted."""
    published: tuple[Printed, ...] = ()
    x: float | None = None
    """Where it stands on the axis of the table's curve."""
    against: str | None = None
    """The row that its times and sizes are compared with."""

    @property
    def wanted(self) -> Wanted:
        """What its records must have."""
        return Wanted(self.run, self.elsewhere)


@settings_class(frozen=True, config=STRICT)
class Spec:
    """A published table as data."""

    title: str
    source: str
    table: str
    varies: str
    """What differs from row to row; names the axis of the curve where rows have an x."""
    lines: Literal["categories", "settings"]
    """categories: a line per category, a column per row; settings: a line per row, means over the categories."""
    metrics: tuple[str, ...]
    categories: tuple[str, ...]
    """Those that the printed mean is over."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """What is known to be wrong or open in the printed table."""
    seeds: tuple[int, ...] = (0,)
    curve: Literal["none", "jl"] = "none"
    """jl: the curve that the PaDiM-JL report predicts is fitted and drawn."""


@dataclass(frozen=True)
class Cell:
    """One number beside the printed one."""

    row: str
    metric: str
    category: str
    """A category, or ``mean``."""
    measured: Spread | None
    """Over seeds; None where there is no record."""
    interval: Interval | None
    """Of the measured number, for the draw of test images."""
    categories: int
    """How many were measured: of a mean, those that it is over."""
    published: float | None
    """The printed number; of a mean over fewer categories than printed, that of their printed numbers where known."""
    verdict: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.measured is None or self.published is None else self.measured.mean - self.published


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
        return {label: source.mark for label, source in self.sources.items() if source.mark and source.found}

    @property
    def present(self) -> int:
        """Pairs of row and category that have a record."""
        return sum(len(source.found) for source in self.sources.values())

    @property
    def possible(self) -> int:
        """Pairs of row and category that are not just quoted."""
        return len(self.sources) * len(self.spec.categories)


def load_spec(name: str) -> Spec:
    """Read a table's file. Raises AdbenchError for an unknown name, with the nearest ones, or a wrong key."""
    known = choices("table")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise AdbenchError(f"no table {name!r}; did you mean {', '.join(near)}? `adbench list tables` shows all")
    content = DictConfig(OmegaConf.load(config_folder() / "table" / f"{name}.yaml"))
    return check(Spec, plain(content, name), f"table {name}")


def table(name: str, records: Sequence[Record], overrides: Sequence[str] = ()) -> Table:
    """Build a table from records.

    Args:
        name: A file of ``configs/table``.
        records: All there are.
        overrides: As for ``adbench run``, added to those of every row, such as ``backbone=efficientnet_lite0``. Without
            them a row whose published setting has no record is filled from the one other backbone that it was run with.

    Raises:
        AdbenchError: Unknown table, wrong override, two records for one cell, several other backbones that would fit.
    """
    spec = load_spec(name)
    spec = replace(spec, rows=distinct(spec.rows, overrides))
    wanted = {row.label: row.wanted for row in spec.rows if row.run}
    sources = find(
        wanted,
        [r for r in records if r.category in spec.categories],
        tuple(overrides),
        costs_only=not any(MEASURES[m].accuracy for m in spec.metrics),
    )
    cells: dict[tuple[str, str, str], Cell] = {}
    for row in spec.rows:
        numbers = printed(spec, row)
        own, rival = (sources.get(label or "", Source()) for label in (row.label, row.against))
        for metric in spec.metrics:
            if (MEASURES[metric].versus and not row.against) or not (row.run or any(m == metric for m, _ in numbers)):
                continue
            found = [_cell(row.label, metric, category, own, rival, numbers) for category in spec.categories]
            for cell in [*found, _mean(found, own, rival, numbers)]:
                verdict = _verdict(cell, row, own, numbers, len(spec.categories))
                cells[row.label, metric, cell.category] = replace(cell, verdict=verdict)
    return Table(name, spec, cells, sources)


def distinct(rows: Sequence[Row], overrides: Sequence[str]) -> tuple[Row, ...]:
    """The rows but those that the overrides make the same as an earlier one. Raises AdbenchError for a wrong override."""
    kept: list[Row] = []
    seen: list[Setting] = []
    for row in rows:
        asked = setting(row.wanted.overrides(tuple(overrides))) if row.run else None
        if asked is None or asked not in seen:
            kept.append(row)
            seen += [asked] if asked else []
    return tuple(kept)


def overview(records: Sequence[Record], overrides: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """Every table: its name, how many of its cells have records (or why it cannot be built from them), its title."""
    lines = []
    for name in choices("table"):
        try:
            built = table(name, records, overrides)
            state = f"{built.present} of {built.possible} cells have records"
        except AdbenchError as error:  # an override that only other tables can have, or two backbones that would fit
            state = str(error)
        lines.append((name, state, load_spec(name).title))
    return lines


def results_folder(name: str, overrides: Sequence[str] = ()) -> Path:
    """Where ``adbench run`` would leave the records of a table with these overrides, in ``records`` of this folder."""
    run = next(row.run for row in load_spec(name).rows if row.run)
    return Path(str(compose((*run, *overrides)).results)).expanduser()


def printed(spec: Spec, row: Row) -> dict[tuple[str, str], float]:
    """(metric, category or ``average``) -> the printed number. Raises AdbenchError for a wrong place."""
    numbers: dict[tuple[str, str], float] = {}
    for place in row.published:
        source = place.source or spec.source
        settings = _published().get((source, "" if source == "peers" else place.table or spec.table, place.system), {})
        chosen = [place.setting] if place.setting else list(settings)
        if len(chosen) != 1 or chosen[0] not in settings:
            raise AdbenchError(
                f"{spec.title}: {row.label}: {place} is not one printed setting; there are {list(settings)}"
            )
        numbers |= settings[chosen[0]]
    return numbers


def _values(metric: str, category: str, own: Source, rival: Source) -> dict[int, float]:
    """Seed -> number; where two rows are compared, with the mean of the rival's repeats."""
    measure = MEASURES[metric]
    repeats = [r for r in own.found.get(category, []) if not (measure.accuracy and random_weights(r))]
    values = {seed(r): v for r in repeats if (v := measure.of(r)) is not None}
    if measure.versus:
        others = [v for r in rival.found.get(category, []) if (v := measure.of(r)) is not None]
        values = {s: measure.versus(v, fmean(others)) for s, v in values.items() if others}
    return values


def _cell(
    row: str, metric: str, category: str, own: Source, rival: Source, numbers: dict[tuple[str, str], float]
) -> Cell:
    values = _values(metric, category, own, rival)
    intervals = [i for r in own.found.get(category, []) if values and (i := r.intervals.get(metric)) is not None]
    interval = Interval(*(100 * fmean(ends) for ends in zip(*intervals, strict=True))) if intervals else None
    measured = mean_std(list(values.values())) if values else None
    return Cell(row, metric, category, measured, interval, int(bool(values)), numbers.get((metric, category)))


def _mean(cells: list[Cell], own: Source, rival: Source, numbers: dict[tuple[str, str], float]) -> Cell:
    """The mean over the categories that were measured."""
    row, metric = cells[0].row, cells[0].metric
    present = [c for c in cells if c.measured]
    same = [c.published for c in present or cells if c.published is not None]
    published = numbers.get((metric, "average"))
    if same and len(same) == len(present or cells) and (published is None or 0 < len(present) < len(cells)):
        published = fmean(same)
    if not present:
        return Cell(row, metric, MEAN, None, None, 0, published)
    by_category = [_values(metric, c.category, own, rival) for c in present]
    mean, std, n = fmean(fmean(values.values()) for values in by_category), None, 1
    if len({tuple(values) for values in by_category}) == 1:  # the same seeds everywhere
        mean, std, n = mean_std([fmean(values[s] for values in by_category) for s in by_category[0]])
    ends = [(c.measured.mean, *c.interval) for c in present if c.measured and c.interval]
    interval = None
    if len(ends) == len(present):
        whole = mean_difference([Difference(v / 100, low / 100, high / 100, 1.0) for v, low, high in ends])
        interval = Interval(100 * whole.low, 100 * whole.high)
    return Cell(row, metric, MEAN, Spread(mean, std, n), interval, len(present), published)


def _verdict(cell: Cell, row: Row, own: Source, numbers: dict[tuple[str, str], float], total: int) -> str:
    if not row.run:
        return f"quoted: {row.quoted}"
    if cell.measured is None:
        untrained = any(random_weights(r) for repeats in own.found.values() for r in repeats)
        return UNTRAINED if untrained and MEASURES[cell.metric].accuracy else own.absent
    if cell.difference is None:
        return "no printed number"
    if own.mark:
        return f"not comparable because measured with {own.mark}"
    if not MEASURES[cell.metric].accuracy:
        return "not comparable because the printed one is of another machine and other code"
    where = ""
    if cell.category == MEAN and cell.categories < total:
        if not any(m == cell.metric and category != "average" for m, category in numbers):
            return (
                f"not comparable because only the mean over {total} categories is printed; {cell.categories} measured"
            )
        where = f" over the same {cell.categories} of {total} categories"
    band = MEAN_BAND if cell.category == MEAN else HARD_BAND if cell.category in HARD else BAND
    return f"{'within' if abs(cell.difference) <= band + 1e-9 else 'outside'} ±{band:g}{where}"


@functools.cache
def _published() -> dict[tuple[str, str, str], dict[str, dict[tuple[str, str], float]]]:
    """(source, table, system) -> setting -> (metric, category) -> number."""
    numbers: dict[tuple[str, str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for name in ("published.csv", "peers.csv"):
        with (Path(__file__).parent / "published" / name).open(newline="") as file:
            for line in csv.DictReader(file):
                settings = numbers.setdefault((line.get("source", "peers"), line.get("table", ""), line["system"]), {})
                settings.setdefault(line["setting"], {})[line["metric"], line["category"]] = float(line["value"])
    return numbers
