"""The figure of a sweep: one setting on the axis, a line for each value of the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbench.errors import AdbenchError
from adbench.reports.cells import Cell
from adbench.reports.figure import PLAIN, Figures, Look, beside, note, panels, save, title
from adbench.reports.marks import averaged, line, scale, title_of
from adbench.reports.repeats import Found, by_category
from adbench.reports.swept import CATEGORY, Point, as_numbers, line_names
from adbench.results.style import Style, drawn_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("image_auroc", "pixel_auroc", "inference_time_s")
READING = "Marks: measured. Bands: 95% intervals for the draw of test images."

Line = tuple[tuple[str, str], ...]
"""The settings that a line has, but for those of axis and panel."""
Curves = dict[str, dict[Line, dict[str, Found]]]
"""Panel -> line -> value on the axis -> records."""


def sweep_figure(
    points: Sequence[Point],
    x: str,
    folder: Path,
    metrics: Sequence[str] = METRICS,
    per: str | None = None,
    look: Look = PLAIN,
    left: Sequence[str] = (),
) -> Figures:
    """Curves over a setting: a row of panels per metric, a column per value of ``per``.

    Means are over the categories that every point has; several seeds are averaged.

    Args:
        points: The records with the settings that name them.
        x: The setting on the axis.
        folder: Where the figure goes.
        metrics: Names of measures; those that no record has are left out.
        per: ``category`` or a setting, with a panel for each value; all in one panel where None.
        look: Paper and formats.
        left: What was left out already, for the note.

    Raises:
        AdbenchError: Nothing is left to draw.
    """
    having = [point for point in points if x in point.settings]
    notes = list(left)
    if without := len(points) - len(having):
        notes.append(f"{without} records without {x} are left out.")
    curves = _curves(having, x, per)
    categories = _common(curves, per)
    if not categories:
        raise AdbenchError(f"no category was measured at every value of {x}; narrow the records")
    if others := sorted({p.record.category for p in having} - set(categories)):
        notes.append(f"Left out: {', '.join(others)}: not measured at every point.")
    shown = []
    for metric in metrics:
        if any(cell.measured for cell in _cells(curves, metric, categories)):
            shown.append(metric)
        else:
            reason = next((c.reason for c in _cells(curves, metric, categories)), "")
            notes.append(f"Left out: {title_of(metric)}: {reason or 'not measured'}.")
    if not shown:
        raise AdbenchError(f"nothing to draw over {x}. {' '.join(notes)}")
    with drawn_in(look.style):
        figure = _figure(curves, x, shown, categories, look.style)
        means = "" if per == CATEGORY else f", mean of {', '.join(categories)}"
        title(figure, [f"What {x} changes{means}"])
        note(figure, [READING, *notes])
        name = f"sweep-{x}" + (f"-per-{per}" if per else "")
        return Figures(save(figure, look.path(folder, name), None, look.suffixes), notes)


def _curves(points: Sequence[Point], x: str, per: str | None) -> Curves:
    # One order for all points, since records may hold the same settings in another one.
    order = list(dict.fromkeys(name for point in points for name in point.settings))
    grouped: dict[str, dict[Line, dict[str, list[Any]]]] = {}
    for point in points:
        settings = dict(point.settings)
        value = settings.pop(x)
        panel = point.record.category if per == CATEGORY else settings.pop(per, "") if per else ""
        lines = grouped.setdefault(panel, {})
        own = tuple((name, settings[name]) for name in order if name in settings)
        lines.setdefault(own, {}).setdefault(value, []).append(point.record)
    if per and set(grouped) == {""}:
        raise AdbenchError(f"--per {per}: it does not vary among these records")
    return {
        panel: {
            own: {value: by_category(_unique(records)) for value, records in values.items()}
            for own, values in lines.items()
        }
        for panel, lines in grouped.items()
    }


def _unique(records: Sequence[Any]) -> list[Any]:
    """A method that draws nothing has one record, whatever the seeds of a sweep."""
    return list({record.id: record for record in records}.values())


def _common(curves: Curves, per: str | None) -> list[str]:
    """The categories that every point has; with a panel for each, all of them."""
    found = [set(f) for lines in curves.values() for own in lines.values() for f in own.values()]
    return sorted(set.union(*found) if per == CATEGORY else set.intersection(*found))


def _cells(curves: Curves, metric: str, categories: Sequence[str]) -> list[Cell]:
    return [
        averaged("", metric, found, [c for c in categories if c in found])
        for lines in curves.values()
        for own in lines.values()
        for found in own.values()
    ]


def _figure(
    curves: Curves, x: str, metrics: Sequence[str], categories: Sequence[str], style: Style
) -> "Figure":
    every = list(dict.fromkeys(own for lines in curves.values() for own in lines))
    names = line_names([dict(own) for own in every])
    if len(curves) == 1:  # the panels of all metrics side by side
        figure, ((*flat,),) = panels(1, len(metrics), 3.6, 3.2)
        grid = [[axes] for axes in flat]
    else:
        figure, grid = panels(len(metrics), len(curves), 3.9, 2.9, sharey="row")
    for row, metric in zip(grid, metrics, strict=True):
        for axes, (panel, lines) in zip(row, curves.items(), strict=True):
            _panel(axes, lines, metric, categories, every, names, style)
            axes.set_title(panel if metric == metrics[0] else "", parse_math=False)
            axes.set_xlabel(x)
        row[0].set_ylabel(title_of(metric))
    handles, labels = _legend(grid)
    if len(every) > 1:
        beside(figure, handles, labels)
    return figure


def _panel(
    axes: Any,
    lines: dict[Line, dict[str, Found]],
    metric: str,
    categories: Sequence[str],
    every: Sequence[Line],
    names: Sequence[str],
    style: Style,
) -> None:
    values = list(dict.fromkeys(value for own in lines.values() for value in own))
    numbers = as_numbers(values)
    places = dict(zip(values, numbers or range(len(values)), strict=True))
    heights = []
    for own, found in lines.items():
        number = every.index(own)
        look = style.look(number) | {"label": names[number]}
        if numbers is None:
            look["linestyle"] = "none"  # there is nothing between names
        cells = [
            (float(places[v]), averaged("", metric, f, [c for c in categories if c in f]))
            for v, f in found.items()
        ]
        line(axes, sorted(cells, key=lambda point: point[0]), look)
        heights += [cell.measured.mean for _, cell in cells if cell.measured]
    if numbers is None:
        axes.set_xticks(list(places.values()), values, rotation=20, ha="right")
        axes.margins(x=0.2)
    else:
        scale(axes, "x", numbers)
    if metric.endswith("_s"):
        scale(axes, "y", heights, ticks=False)
        if axes.get_yscale() == "linear":
            axes.set_ylim(bottom=0)


def _legend(grid: Sequence[Sequence[Any]]) -> tuple[list[Any], list[str]]:
    """Each line once, whichever panels it is in."""
    found: dict[str, Any] = {}
    for axes in (axes for row in grid for axes in row):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
