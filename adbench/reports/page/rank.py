"""Which numbers are the best on the same images, and which differ from the best by noise alone.

A difference inside the noise is not a rank. Where a metric has a paired test
(``adbench.evaluation.metrics``), a number is inside the noise where the 95% interval of its paired
difference from the best holds zero. Where the test cannot be made, the intervals of both are
compared instead, and the reason says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.errors import AdbenchError
from adbench.evaluation.metrics import METRICS
from adbench.reports.cells import Cell
from adbench.reports.measures import MEASURES
from adbench.reports.page.subjects import Subject, machines_of
from adbench.reports.pairing import common, differences
from adbench.results.record import Record

TIME = "inference_time_s"
TESTED = frozenset(metric.name for metric in METRICS if metric.noise is not None)
"""The metrics with a paired test."""


@dataclass(frozen=True)
class Rank:
    """Where a number stands among those on the same images."""

    best: bool = False
    within: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """A number of a setting, over the categories that the cell names."""

    subject: Subject
    cell: Cell


def ranks(entries: Sequence[Entry], metric: str, folder: Path) -> list[Rank]:
    """The rank of each number; none where fewer than two settings have one.

    Args:
        entries: Of one dataset, over the same categories.
        metric: A name of ``MEASURES``.
        folder: Where the records lie with their raw scores.
    """
    measured = [e.cell.measured for e in entries]
    values = [spread.mean for spread in measured if spread is not None]
    if len(values) < 2:
        return [Rank() for _ in entries]
    if metric == TIME and len(machines_of(_records(entries))) > 1:
        return [Rank(reason="times of several machines do not compare") for _ in entries]
    top = max(values) if MEASURES[metric].higher else min(values)
    best = next(e for e, m in zip(entries, measured, strict=True) if m and m.mean == top)
    found = []
    for entry, spread in zip(entries, measured, strict=True):
        if spread is None:
            found.append(Rank())
        elif spread.mean == top:
            found.append(Rank(best=True))
        elif metric not in TESTED:
            found.append(Rank())
        else:
            found.append(_beside(best, entry, metric, folder))
    return found


def _records(entries: Sequence[Entry]) -> Iterator[Record]:
    for entry in entries:
        for category in entry.cell.members:
            yield from entry.subject.found.get(category, [])


def _beside(best: Entry, entry: Entry, metric: str, folder: Path) -> Rank:
    """Whether a number differs from the best one by more than the noise."""
    try:
        line = _paired(best, entry, metric, folder)
    except AdbenchError as error:
        return Rank(within=_meets(best.cell, entry.cell), reason=_untested(error))
    if line is None:
        return Rank(within=_meets(best.cell, entry.cell))
    low, high = line
    return Rank(within=low <= 0 <= high)


def _paired(best: Entry, entry: Entry, metric: str, folder: Path) -> tuple[float, float] | None:
    """The 95% interval of the best minus the other; None where the records hold no number."""
    ours, theirs = (
        {c: e.subject.found[c] for c in e.cell.members if c in e.subject.found}
        for e in (best, entry)
    )
    pairs = common(ours, theirs, best.subject.name, entry.subject.name)
    lines = differences(pairs, metric, folder)
    return (lines[-1].difference.low, lines[-1].difference.high) if lines else None


def _meets(best: Cell, other: Cell) -> bool:
    """Whether the intervals of two numbers have a value in common."""
    if best.interval is None or other.interval is None:
        return False
    return other.interval.high >= best.interval.low and best.interval.high >= other.interval.low


def _untested(error: AdbenchError) -> str:
    return f"compared with the best by the intervals of both, because there is no test: {error}"
