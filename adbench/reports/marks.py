"""Measured and published numbers as marks: filled and hollow, with 95% intervals."""

from collections.abc import Sequence
from typing import Any

from adbench.reports.cells import Cell, filled
from adbench.reports.matching import Source
from adbench.reports.measures import MEASURES
from adbench.reports.repeats import Found
from adbench.reports.spec import Row
from adbench.results.style import Style

READING = "Filled: measured, with its 95% interval for the draw of test images."
READING_PUBLISHED = "Hollow: published."
DECADES = 10.0
"""An axis is logarithmic where its largest value is this many times its smallest."""
TICKS = 8
"""Points that an axis can name each."""


def averaged(name: str, metric: str, found: Found, categories: Sequence[str]) -> Cell:
    """The mean of a setting over categories and seeds, with its interval and no printed number."""
    own = {category: found.get(category, []) for category in categories}
    cells = filled(Row(name), metric, categories, Source(own), Source(), {}, len(categories))
    return cells[-1]


def reach(cell: Cell) -> tuple[float, float]:
    """From the measured value down and up to the ends of its interval."""
    if cell.interval is None or cell.measured is None:
        return 0.0, 0.0
    mean, (low, high) = cell.measured.mean, cell.interval
    return max(0.0, mean - low), max(0.0, high - mean)


def line(axes: Any, points: Sequence[tuple[float, Cell]], look: dict[str, Any]) -> None:
    """Measured numbers along x as marks on a line, in the band of their intervals."""
    shown = [(x, cell.measured.mean, reach(cell)) for x, cell in points if cell.measured]
    if not shown:
        return
    x, y, ends = zip(*shown, strict=True)
    low = [value - down for value, (down, _) in zip(y, ends, strict=True)]
    high = [value + up for value, (_, up) in zip(y, ends, strict=True)]
    if low != high:
        axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.plot(x, y, **look)


def across(axes: Any, y: float, cell: Cell, look: dict[str, Any], style: Style) -> None:
    """A measured number on a line of its own, and the published one where there is one."""
    point = {"marker": look["marker"], "color": look["color"], "linestyle": "none"}
    if cell.measured:
        ends = [[end] for end in reach(cell)]
        axes.errorbar(cell.measured.mean, y, xerr=ends, capsize=2.5, elinewidth=1.4, **point)
    if cell.published is not None:
        hollow = {"markerfacecolor": style.paper, "markeredgewidth": 1.4, "markersize": 10}
        axes.plot(cell.published, y, zorder=1.9, **point, **hollow)


def scale(axes: Any, which: str, values: Sequence[float], ticks: bool = True) -> None:
    """Make an axis logarithmic where the values span decades, and name few values each."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    places = sorted(set(values))
    if places and places[0] > 0 and places[-1] >= DECADES * places[0]:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    if ticks and len(places) <= TICKS:
        axis.set_ticks(places, [f"{place:g}" for place in places])
        axis.set_minor_locator(NullLocator())


def title_of(metric: str) -> str:
    """What an axis of this measure is called."""
    return MEASURES[metric].title
