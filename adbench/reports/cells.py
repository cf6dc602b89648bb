"""One number of a table beside the printed one, with a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from adbench.evaluation.intervals import Difference, Interval, Spread, mean_difference, mean_std
from adbench.reports.bands import Kind, band, judged
from adbench.reports.completeness import lacking
from adbench.reports.matching import IMPOSSIBLE, Source
from adbench.reports.measures import MEASURES
from adbench.reports.printed import AVERAGE, Numbers
from adbench.reports.repeats import random_weights, seed
from adbench.reports.spec import Row
from adbench.results.records import Record

MEAN = "mean"
Verdict = Literal[
    Kind, "not comparable", "incomplete", "nothing printed", "quoted", "not possible", "not run"
]


@dataclass(frozen=True)
class Cell:
    """One number beside the printed one."""

    row: str
    metric: str
    category: str
    """A category, or ``mean``."""
    measured: Spread | None
    """Over seeds; None where there is no number."""
    interval: Interval | None
    """Of the measured number, for the draw of test images."""
    members: tuple[str, ...]
    """The categories that were measured: of a mean, those that it is over."""
    images: int
    """Test images of these categories."""
    published: float | None
    """The printed number; of a mean over fewer categories than printed, that of their printed
    numbers where known."""
    verdict: Verdict = "not run"
    reason: str = ""
    """Why there is no number, or why it is not set against the printed one."""

    @property
    def categories(self) -> int:
        """How many categories were measured."""
        return len(self.members)

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.measured is None or self.published is None:
            return None
        return self.measured.mean - self.published

    @property
    def compared(self) -> bool:
        """Whether the measured number was set against the printed one."""
        return self.verdict in ("within", "inconclusive", "outside")

    @property
    def band(self) -> float | None:
        """Points that it may differ by, where it is compared."""
        return band(self.members) if self.compared else None

    @property
    def words(self) -> str:
        """The verdict as it stands in tables."""
        if self.verdict == "inconclusive":
            return (
                f"inconclusive: outside ±{self.band:.2g}, within the noise of {self.images} images"
            )
        return f"{self.verdict} ±{self.band:.2g}" if self.compared else self.verdict


def filled(
    row: Row,
    metric: str,
    categories: Sequence[str],
    own: Source,
    rival: Source,
    numbers: Numbers,
    total: int,
    whole: bool = True,
) -> list[Cell]:
    """The cells of a row: one per category, then their mean.

    Args:
        row: The row.
        metric: The column.
        categories: Those to show.
        own: The records of the row.
        rival: Those of the row that it is compared with.
        numbers: The printed numbers of the row.
        total: How many categories the printed mean is over.
        whole: Whether the printed numbers are of all images of each category.
    """
    cells = [_cell(row.label, metric, c, own, rival, numbers) for c in categories]
    every = [*cells, _mean(cells, own, rival, numbers, total)]
    judge = _Judge(row, own, numbers, total, whole)
    return [judge(c) for c in every]


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
    values, records = _values(metric, category, own, rival), own.found.get(category, [])
    found = [r.intervals.get(metric) for r in records] if values else []
    intervals = [interval for interval in found if interval is not None]
    interval = None
    if intervals:
        interval = Interval(*(100 * fmean(ends) for ends in zip(*intervals, strict=True)))
    measured = mean_std(list(values.values())) if values else None
    published = numbers.get((metric, category))
    members = (category,) if values else ()
    images = records[0].counts["test"] if values else 0
    return Cell(row, metric, category, measured, interval, members, images, published)


def _mean(cells: list[Cell], own: Source, rival: Source, numbers: Numbers, total: int) -> Cell:
    """The mean over the categories that were measured."""
    row, metric = cells[0].row, cells[0].metric
    present = [c for c in cells if c.measured]
    same = [c.published for c in present or cells if c.published is not None]
    published = numbers.get((metric, AVERAGE))
    partly = published is None or len(cells) < total or 0 < len(present) < len(cells)
    if same and partly and len(same) == len(present or cells):
        published = fmean(same)
    if not present:
        return Cell(row, metric, MEAN, None, None, (), 0, published)
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
    members, images = tuple(c.category for c in present), sum(c.images for c in present)
    spread = Spread(mean, std, n)
    return Cell(row, metric, MEAN, spread, interval, members, images, published)


@dataclass(frozen=True)
class _Judge:
    """Gives the cells of a row their verdicts."""

    row: Row
    own: Source
    numbers: Numbers
    total: int
    whole: bool

    def __call__(self, cell: Cell) -> Cell:
        verdict, reason = self._absent(cell) if cell.measured is None else self._verdict(cell)
        return replace(cell, verdict=verdict, reason=reason)

    def _absent(self, cell: Cell) -> tuple[Verdict, str]:
        """Why there is no measured number."""
        if self.row.quoted:
            return "quoted", self.row.quoted
        measure, found = MEASURES[cell.metric], self.own.found
        records = found.get(cell.category, []) if cell.category != MEAN else _all(found)
        if not found and self.own.absent.startswith(IMPOSSIBLE):
            return "not possible", self.own.absent
        if not records:
            why = self.own.absent if not found else "not run"
            return "not run", self.row.apart or why
        if measure.accuracy and any(map(random_weights, records)):
            return "not run", "not shown because the weights are random"
        reasons = [r.reasons[measure.reason] for r in records if measure.reason in r.reasons]
        rival = f"no number of {self.row.against} to compare with" if measure.versus else ""
        return "not run", next(iter(reasons), rival or "the record does not hold it")

    def _verdict(self, cell: Cell) -> tuple[Verdict, str]:
        """What the measured number says of the printed one."""
        if cell.published is None or cell.measured is None:
            return "nothing printed", ""
        if self.own.mark:
            return "not comparable", f"measured with {self.own.mark}"
        if not MEASURES[cell.metric].accuracy:
            return "not comparable", "the printed one is of another machine and other code"
        if self.whole:
            for category in cell.members:
                if why := lacking(self.own.found[category]):
                    return "incomplete", why
        if cell.category == MEAN and len(cell.members) < self.total and not self._each(cell):
            return "not comparable", f"only the mean over {self.total} categories is printed"
        kind = judged(cell.measured.mean, cell.published, cell.interval, cell.members)
        return kind, ""

    def _each(self, cell: Cell) -> bool:
        """Whether a number is printed for each category that a mean is over."""
        return all((cell.metric, category) in self.numbers for category in cell.members)


def _all(found: dict[str, list[Record]]) -> list[Record]:
    return [record for records in found.values() for record in records]
