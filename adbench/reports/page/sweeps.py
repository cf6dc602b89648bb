"""Curves over every setting that was swept: it is on the axis, and the others tell lines apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adbench.reports.cells import Cell
from adbench.reports.marks import averaged, title_of
from adbench.reports.page.model import Chart
from adbench.reports.page.scale import Axis
from adbench.reports.page.subjects import PRESETS, Subject, looks_of, told
from adbench.reports.page.svg import Mark, Panel, Series, drawing
from adbench.reports.swept import as_numbers

TIME = "inference_time_s"
METRICS = ("image_auroc", "pixel_auroc", "aupro", TIME)
FEWEST = 3
"""Values that make a curve."""
BANDS = 2
"""So many lines have bands; of more, bands would hide one another, and bars stand side by side."""
APART, ROOM = 5.0, 30.0
"""Units between two bars that stand side by side, and of all of them together at most."""


@dataclass(frozen=True)
class _Point:
    """A setting with the value on the axis."""

    x: float
    subject: Subject


Lines = dict[str, list[_Point]]
"""Name of a line -> its points, from left to right."""


def sweeps(settings: Sequence[Subject]) -> list[Chart]:
    """A chart for each dataset and each number that has ``FEWEST`` values, all else being equal.

    Args:
        settings: Of ``subjects``.
    """
    found: list[Chart] = []
    for dataset in sorted({s.dataset for s in settings}):
        own = [s for s in settings if s.dataset == dataset]
        settings_by = {s.key: _settings(s) for s in own}
        for axis in _axes(list(settings_by.values())):
            lines = _lines(axis, own, settings_by)
            if lines and _categories(lines):
                looks = _looks(lines, settings)
                found.append(_chart(f"sweep-{len(found)}", dataset, axis, lines, looks))
    return found


def _settings(subject: Subject) -> dict[str, str]:
    """What a setting was measured with, presets included; the weights' sha256 says no more."""
    settings = told(next(iter(subject.found.values()))[0])
    return {name: value for name, value in settings.items() if name != "dataset"}


def _axes(told: Sequence[dict[str, str]]) -> list[str]:
    """The settings with enough numbers; of several that go together, the first."""
    names = dict.fromkeys(name for own in told for name in own if "." in name)
    kept: dict[tuple[str | None, ...], str] = {}
    for name in names:
        values = {own[name] for own in told if name in own and as_numbers([own[name]])}
        if len(values) >= FEWEST:
            kept.setdefault(tuple(own.get(name) for own in told), name)
    return list(kept.values())


def _lines(axis: str, settings: Sequence[Subject], told: dict[str, dict[str, str]]) -> Lines:
    """The settings that differ in the axis alone, in lines of ``FEWEST`` values and more."""
    # One order for all of them, since records may hold the same settings in another one.
    every = dict.fromkeys(name for own in told.values() for name in own)
    order = [name for name in every if name != axis]
    grouped: dict[tuple[tuple[str, str], ...], list[_Point]] = {}
    for subject in settings:
        own = told[subject.key]
        x = as_numbers([own.get(axis, "none")])
        if x is not None:
            rest = tuple((name, own[name]) for name in order if name in own)
            grouped.setdefault(rest, []).append(_Point(x[0], subject))
    long = {rest: points for rest, points in grouped.items() if _values(points) >= FEWEST}
    lines = [dict(rest) for rest in long]
    names = [_name(own, lines) for own in lines]
    return {
        name: sorted(points, key=lambda p: p.x)
        for name, points in zip(names, long.values(), strict=True)
    }


def _categories(lines: Lines) -> list[str]:
    """Those that all points have."""
    found = [set(point.subject.found) for points in lines.values() for point in points]
    return sorted(set.intersection(*found))


def _values(points: Sequence[_Point]) -> int:
    return len({point.x for point in points})


def _name(own: dict[str, str], every: Sequence[dict[str, str]]) -> str:
    """The method of a line, and what tells it apart from the other lines of its method."""
    same = [other for other in every if other.get("method") == own.get("method")]
    differing = [n for n in own if len({other.get(n) for other in same}) > 1]
    presets = [own[n] for n in PRESETS[1:] if n in differing]
    rest = [f"{n.rsplit('.', 1)[-1]} {own[n]}" for n in differing if "." in n]
    return ", ".join([own.get("method", "unnamed"), *presets, *rest])


def _looks(lines: Lines, settings: Sequence[Subject]) -> list[int]:
    """The look of each line: that of its method, where no method has two lines."""
    methods = [points[0].subject.method for points in lines.values()]
    if len(set(methods)) < len(methods):
        return list(range(len(methods)))
    known = looks_of(settings)
    return [known[method] for method in methods]


def _chart(name: str, dataset: str, axis: str, lines: Lines, looks: Sequence[int]) -> Chart:
    categories = _categories(lines)
    points = [point for own in lines.values() for point in own]
    metrics = [m for m in METRICS if any(_cell(p, m, categories).measured for p in points)]
    panels = [_panel(axis, metric, lines, looks, categories) for metric in metrics]
    over = f"means over {', '.join(categories)}" if len(categories) > 1 else "".join(categories)
    caption = (
        f"What {axis} changes on {dataset}, {over}: along a line every other setting is the same. "
        f"{'Bands' if len(lines) <= BANDS else 'Bars'} are 95% intervals for the draw of test "
        "images."
    )
    key = list(zip(looks, lines, strict=True))
    svg = drawing(name, caption, panels, key)
    head = ["line", axis, *(_title(m) for m in metrics)]
    rows = [
        [line, f"{point.x:g}", *(_said(_cell(point, m, categories)) for m in metrics)]
        for line, own in lines.items()
        for point in own
    ]
    return Chart(name, f"{axis} ({dataset})", caption, svg, (head, rows))


def _cell(point: _Point, metric: str, categories: Sequence[str]) -> Cell:
    cell = averaged(point.subject.name, metric, point.subject.found, categories)
    if metric == TIME and cell.measured is not None:  # in milliseconds
        return replace(cell, measured=cell.measured._replace(mean=1000 * cell.measured.mean))
    return cell


def _panel(
    axis: str, metric: str, lines: Lines, looks: Sequence[int], categories: Sequence[str]
) -> Panel:
    series, heights = [], list[float]()
    for number, points in enumerate(lines.values()):
        marks = []
        for point in points:
            cell = _cell(point, metric, categories)
            if cell.measured is None:
                continue
            low, high = cell.interval or (None, None)
            text = f"{point.subject.name}: {_said(cell)}"
            marks.append(Mark(point.x, cell.measured.mean, low, high, text))
            heights += [cell.measured.mean, *(cell.interval or ())]
        aside = (number - (len(lines) - 1) / 2) * min(APART, ROOM / len(lines))
        barred = len(lines) > BANDS
        series.append(Series(looks[number], marks, barred=barred, aside=aside if barred else 0.0))
    x = Axis(axis, [p.x for points in lines.values() for p in points], name_each=True)
    y = Axis(_title(metric), heights if metric != TIME else [0.0, *heights], span=_span(metric))
    return Panel(_title(metric), x, y, series)


def _title(metric: str) -> str:
    return "ms per image" if metric == TIME else title_of(metric)


def _span(metric: str) -> float:
    return 0.0 if metric == TIME else 1.0  # a point of accuracy


def _said(cell: Cell) -> str:
    if cell.measured is None:
        return f"none: {cell.reason}" if cell.reason else "none"
    ends = "" if cell.interval is None else " ({:.1f} to {:.1f})".format(*cell.interval)
    return f"{cell.measured.mean:.1f}{ends}"
