"""One number of a table beside the printed one, with a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from adbench.evaluation.intervals import Difference, Interval, Spread, mean_difference, mean_std
from adbench.reports.matching import Source
from adbench.reports.measures import MEASURES
from adbench.reports.printed import Numbers
from adbench.reports.repeats import random_weights, seed
from adbench.reports.spec import Row

MEAN = "mean"
BAND, HARD_BAND, MEAN_BAND = 1.0, 3.0, 0.4
"""Points that a reproduction may differ by: in a category, in one that varies most, in a mean."""
HARD = frozenset({"pill", "screw", "grid", "toothbrush", "zipper"})
UNTRAINED = "not shown: the weights are random"


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
    """The printed number; of a mean over fewer categories than printed, that of their printed
    numbers where known."""
    verdict: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.measured is None or self.published is None:
            return None
        return self.measured.mean - self.published


def filled(
    row: Row,
    metric: str,
    categories: Sequence[str],
    own: Source,
    rival: Source,
    numbers: Numbers,
) -> list[Cell]:
    """The cells of a row: one per category, then their mean.

    Args:
        row: The row.
        metric: The column.
        categories: Those that the printed mean is over.
        own: The records of the row.
        rival: Those of the row that it is compared with.
        numbers: The printed numbers of the row.
    """
    cells = [_cell(row.label, metric, c, own, rival, numbers) for c in categories]
    every = [*cells, _mean(cells, own, rival, numbers)]
    return [replace(c, verdict=_verdict(c, row, own, numbers, len(categories))) for c in every]


def _values(metric: str, category: str, own: Source, rival: Source) -> dict[int, float]:
    """Seed -> number; where two rows are compared, with the mean of the rival's repeats."""
    measure = MEASURES[metric]
    records = own.found.get(category, [])
    repeats = [r for r in records if not (measure.accuracy and random_weights(r))]
    values = {seed(r): v for r in repeats if (v := measure.of(r)) is not None}
    if measure.versus:
        others = [v for r in rival.found.get(category, []) if (v := measure.of(r)) is not None]
        values = {s: measure.versus(v, fmean(others)) for s, v in values.items() if others}
    return values


def _cell(
    row: str, metric: str, category: str, own: Source, rival: Source, numbers: Numbers
) -> Cell:
    values = _values(metric, category, own, rival)
    intervals = [
        i
        for r in own.found.get(category, [])
        if values and (i := r.intervals.get(metric)) is not None
    ]
    interval = None
    if intervals:
        interval = Interval(*(100 * fmean(ends) for ends in zip(*intervals, strict=True)))
    measured = mean_std(list(values.values())) if values else None
    published = numbers.get((metric, category))
    return Cell(row, metric, category, measured, interval, int(bool(values)), published)


def _mean(cells: list[Cell], own: Source, rival: Source, numbers: Numbers) -> Cell:
    """The mean over the categories that were measured."""
    row, metric = cells[0].row, cells[0].metric
    present = [c for c in cells if c.measured]
    same = [c.published for c in present or cells if c.published is not None]
    published = numbers.get((metric, "average"))
    partly = published is None or 0 < len(present) < len(cells)
    if same and partly and len(same) == len(present or cells):
        published = fmean(same)
    if not present:
        return Cell(row, metric, MEAN, None, None, 0, published)
    by_category = [_values(metric, c.category, own, rival) for c in present]
    mean, std, n = fmean(fmean(values.values()) for values in by_category), None, 1
    if len({tuple(values) for values in by_category}) == 1:  # the same seeds everywhere
        seeds = by_category[0]
        mean, std, n = mean_std([fmean(values[s] for values in by_category) for s in seeds])
    ends = [(c.measured.mean, *c.interval) for c in present if c.measured and c.interval]
    interval = None
    if len(ends) == len(present):
        shares = [Difference(v / 100, low / 100, high / 100, 1.0) for v, low, high in ends]
        whole = mean_difference(shares)
        interval = Interval(100 * whole.low, 100 * whole.high)
    return Cell(row, metric, MEAN, Spread(mean, std, n), interval, len(present), published)


def _verdict(cell: Cell, row: Row, own: Source, numbers: Numbers, total: int) -> str:
    if row.quoted:
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
                f"not comparable because only the mean over {total} categories is printed; "
                f"{cell.categories} measured"
            )
        where = f" over the same {cell.categories} of {total} categories"
    band = MEAN_BAND if cell.category == MEAN else HARD_BAND if cell.category in HARD else BAND
    side = "within" if abs(cell.difference) <= band + 1e-9 else "outside"
    return f"{side} ±{band:g}{where}"
