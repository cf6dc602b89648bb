"""Figures of published tables: measured points with intervals, beside the printed numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adbench.reports.cells import MEAN
from adbench.reports.figure import (
    PLAIN,
    Look,
    files_of,
    is_drawn,
    key_of,
    note,
    panels,
    save,
    title,
)
from adbench.reports.jl import FEWEST, fit_jl_curve, jl_curve
from adbench.reports.marks import (
    READING,
    READING_PUBLISHED,
    across,
    line,
    scale,
    title_of,
)
from adbench.reports.measures import MEASURES
from adbench.reports.remarks import grouped, listed
from adbench.reports.tables import Table
from adbench.results.style import Style, drawn_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 0.24
"""Inches that a line of a figure takes."""
NAMED = 12
"""Rows that a note names one by one."""


def table_figure(built: Table, folder: Path, look: Look = PLAIN) -> list[Path]:
    """The figure of a table: curves where its rows lie on an axis, else a line for each number.

    Where nothing is measured there is none. One that is there already is not drawn again.

    Args:
        built: The table.
        folder: Where the figure goes.
        look: Paper and formats.
    """
    style = look.style
    drawn = [c for c in built.cells.values() if c.measured and not MEASURES[c.metric].versus]
    if not drawn:
        return []
    path = look.path(folder, built.name)
    cells = [asdict(c) for c in built.cells.values()]
    key = key_of([asdict(built.spec), cells, built.marks, style.name])
    if is_drawn(path, key, look.suffixes):
        return files_of(path, look.suffixes)
    on_axis = any(row.x is not None for row in built.spec.rows)
    with drawn_in(style):
        figure = _curves(built, style) if on_axis else _lines(built, style)
        rows = _shown(built) if not on_axis and len(_shown(built)) == 1 else []  # else at each line
        marks = grouped({label: m for label, m in built.marks.items() if label in _shown(built)})
        every = len(marks) == 1 and len(built.marks) == len(_shown(built))
        stars = [
            f"{'' if every else f'* {listed(labels)}: '}measured with {mark}"
            for mark, labels in marks.items()
        ]
        title(figure, [built.spec.title, *rows, *stars])
        note(figure, [f"{READING} {READING_PUBLISHED}", *left_out(built)])
        return save(figure, path, key, look.suffixes)


def left_out(built: Table) -> list[str]:
    """What of a table its figure does not show, with the reasons."""
    shown = _shown(built)
    why = {
        row.label: row.quoted or row.apart or built.sources[row.label].absent
        for row in built.spec.rows
        if row.label not in shown
    }
    present = {c.category for c in built.cells.values() if c.measured}
    lacking = [category for category in built.spec.categories if category not in present]
    lines = [f"{_named(labels)}: {reason}" for reason, labels in grouped(why).items()]
    if lacking:
        lines.append(f"{listed(lacking)}: no record")
    empty = [m for m in built.spec.metrics if m not in _metrics(built)]
    lines += [f"{title_of(m)}: not measured" for m in empty if not MEASURES[m].versus]
    return [f"Left out: {'; '.join(lines)}."] if lines else []


def _named(labels: list[str]) -> str:
    """Rows in a note of a figure, which has room for some names."""
    return listed(labels) if len(labels) <= NAMED else f"{len(labels)} rows"


def _shown(built: Table) -> list[str]:
    """The rows with a measured number."""
    having = {c.row for c in built.cells.values() if c.measured}
    return [row.label for row in built.spec.rows if row.label in having]


def _metrics(built: Table) -> list[str]:
    """The measures that were measured, but for those that compare two rows."""
    having = {c.metric for c in built.cells.values() if c.measured}
    return [m for m in built.spec.metrics if m in having and not MEASURES[m].versus]


def _width(metrics: Sequence[str]) -> float:
    """Inches of a panel; one alone needs room for title and note."""
    return 6.4 if len(metrics) == 1 else 4.6


def _curves(built: Table, style: Style) -> "Figure":
    """A panel per metric: means over the table's axis; rows beside the axis are dotted lines."""
    spec, metrics = built.spec, _metrics(built)
    figure, (every,) = panels(1, len(metrics), _width(metrics))
    for axes, metric in zip(every, metrics, strict=True):
        means = [
            (row.x, cell)
            for row in spec.rows
            if (cell := built.cells.get((row.label, metric, MEAN))) is not None
        ]
        on_axis = [(x, cell) for x, cell in means if x is not None]
        line(axes, on_axis, style.look(0) | {"label": "measured"})
        if spec.curve == "jl":
            _predicted(axes, [(x, c.measured.mean) for x, c in on_axis if c.measured], style)
        for number, (x, cell) in enumerate(means):
            if x is None and cell.measured:
                look = {"color": style.series[2 + number % 3], "linestyle": ":"}
                axes.axhline(cell.measured.mean, label=cell.row, **look)
        printed = [(x, cell.published) for x, cell in on_axis if cell.published is not None]
        if printed:
            hollow = {"markerfacecolor": style.paper, "color": style.series[0], "markersize": 10}
            axes.plot(*zip(*printed, strict=True), "o", label="published", zorder=1.9, **hollow)
        scale(axes, "x", [x for x, _ in on_axis])
        counts = sorted({c.categories for _, c in means if c.measured})
        over = f", mean of {', '.join(map(str, counts))} categories" if counts else ""
        axes.set(xlabel=spec.varies, ylabel=title_of(metric) + over)
        axes.legend()
    return figure


def _predicted(axes: object, points: Sequence[tuple[float, float]], style: Style) -> None:
    """The curve that the PaDiM-JL report predicts, fitted to the measured points."""
    if len(points) < FEWEST:
        return
    x, y = zip(*points, strict=True)
    p, q, k = fit_jl_curve(x, [value / 100 for value in y])
    dense = np.linspace(min(x), max(x), 200)
    label = f"predicted: p {p:.3g}, q {q:.3g}, k {k:.3g}"
    values = 100 * jl_curve(dense, p, q, k)
    axes.plot(dense, values, "--", color=style.series[1], label=label)  # type: ignore[attr-defined]


def _lines(built: Table, style: Style) -> "Figure":
    """A panel per metric, a line per number: its category and its row stand at the left."""
    rows, metrics = _shown(built), _metrics(built)
    present = {c.category for c in built.cells.values() if c.measured}
    categories = [c for c in (*built.spec.categories, MEAN) if c in present]
    places: dict[tuple[str, str], float] = {}
    names: list[tuple[float, str]] = []
    heads: list[int] = []
    y = 0.0
    for category in categories:
        if len(rows) > 1:
            heads.append(len(names))
            names.append((y, category))
            y += 1
        for row in rows:
            places[row, category] = y
            starred = f"{row} *" if row in built.marks else row
            names.append((y, starred if len(rows) > 1 else category))
            y += 1
        y += 0.4 if len(rows) > 1 else 0
    height = LINE * y + 1.0
    figure, (every,) = panels(1, len(metrics), _width(metrics), height, sharey=True)
    for axes, metric in zip(every, metrics, strict=True):
        values = []
        for (row, category), place in places.items():
            if (cell := built.cells.get((row, metric, category))) is not None and cell.measured:
                across(axes, place, cell, style.look(rows.index(row)), style)
                values.append(cell.measured.mean)
        scale(axes, "x", values, ticks=False)
        axes.set_xlabel(title_of(metric))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    every[0].set_yticks([at for at, _ in names], [name for _, name in names])
    every[0].set_ylim(y - 0.3, -0.8)
    for number in heads:
        every[0].get_yticklabels()[number].set_fontweight("bold")
    return figure
