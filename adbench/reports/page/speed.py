"""Speed against accuracy, with the Pareto front and the setting at each mark."""

from collections.abc import Sequence
from dataclasses import dataclass

from adbench.reports.cells import Cell
from adbench.reports.marks import averaged, title_of
from adbench.reports.page.board import shared
from adbench.reports.page.model import NOTHING, Chart
from adbench.reports.page.scale import Axis
from adbench.reports.page.subjects import Subject, looks_of, machines_of
from adbench.reports.page.svg import Mark, Panel, Series, drawing
from adbench.results.disturbed import disturbed

SPEED, ACCURACIES = "inference_time_s", ("image_auroc", "pixel_auroc")
FRONT = " \N{BLACK DIAMOND}"
"""Stands at the accuracies that are on the front."""
NUMBERED = 12
"""So many marks are all numbered; of more, only those on the front."""


def speed(settings: Sequence[Subject]) -> Chart | None:
    """Time per image against accuracy, a panel per dataset and metric; None without a time.

    Args:
        settings: Of ``subjects``.
    """
    panels, rows, notes, every = [], [], [], list[_Timed]()
    looks = looks_of(settings)
    for dataset, categories in sorted(shared(settings).items()):
        own = [s for s in settings if s.dataset == dataset]
        timed = _timed(own, categories)
        every += timed
        machines = machines_of(r for one in timed for c in categories for r in one.subject.found[c])
        fronts = {metric: _front(timed, metric, machines) for metric in ACCURACIES}
        panels += [
            _panel(dataset, metric, timed, fronts[metric], looks)
            for metric in ACCURACIES
            if any(metric in one.cells for one in timed)
        ]
        rows += [_row(one, number, dataset, fronts) for number, one in enumerate(timed)]
        notes += _notes(dataset, categories, own, timed)
        if len(machines) > 1:
            notes.append(
                f"{dataset}: times of several machines do not compare, so that there is no front: "
                f"{'; '.join(sorted(machines))}."
            )
    if not panels:
        return None
    caption = (
        "Each mark is a setting: median milliseconds for one image at a time, and the mean "
        "accuracy over the same categories with its 95% interval for the draw of test images. The "
        "dashed line joins the Pareto front: no other setting is both faster and more accurate. "
        f"Numbers are those of the table, in which{FRONT} marks the front."
    )
    head = ["number", "setting", "dataset", "ms per image"]
    head += [title_of(metric) for metric in ACCURACIES]
    drawn = {one.subject.method for one in every}
    shown = [(look, method) for method, look in looks.items() if method in drawn]
    svg = drawing("speed-chart", caption, panels, shown)
    return Chart("speed-chart", "Speed against accuracy", caption, svg, (head, rows), notes)


@dataclass(frozen=True)
class _Timed:
    """A setting with its time and its accuracies over the same categories."""

    subject: Subject
    ms: float
    cells: dict[str, Cell]
    """By metric; those that were measured on all categories."""


def pareto(points: Sequence[tuple[float, Cell]]) -> set[int]:
    """Places of the points that no other one beats in both: less time, and a higher accuracy."""
    order = sorted(range(len(points)), key=lambda n: (points[n][0], -_mean(points[n][1])))
    front: set[int] = set()
    best = float("-inf")
    for place in order:
        if _mean(points[place][1]) > best:
            front.add(place)
            best = _mean(points[place][1])
    return front


def _timed(settings: Sequence[Subject], categories: Sequence[str]) -> list[_Timed]:
    """The settings with a time and an accuracy on all of the categories, the fastest first."""
    found = []
    for subject in settings:
        time, *accuracies = (
            averaged(subject.name, metric, subject.found, categories)
            for metric in (SPEED, *ACCURACIES)
        )
        whole = {
            metric: cell
            for metric, cell in zip(ACCURACIES, accuracies, strict=True)
            if cell.measured is not None and cell.members == tuple(categories)
        }
        if whole and time.measured is not None and time.members == tuple(categories):
            found.append(_Timed(subject, 1000 * time.measured.mean, whole))
    return sorted(found, key=lambda one: (one.ms, one.subject.name))


def _front(timed: Sequence[_Timed], metric: str, machines: set[str]) -> set[int]:
    """Places of the settings on the Pareto front of a metric; none for several machines."""
    if len(machines) > 1:
        return set()
    places = [n for n, one in enumerate(timed) if metric in one.cells]
    return {places[n] for n in pareto([(timed[p].ms, timed[p].cells[metric]) for p in places])}


def _notes(
    dataset: str, categories: Sequence[str], own: Sequence[Subject], timed: Sequence[_Timed]
) -> list[str]:
    """What of a dataset is not drawn, and which times cannot be believed."""
    notes = []
    if busy := [one.subject.name for one in timed if _is_busy(one.subject, categories)]:
        notes.append(
            f"{dataset}: the machine was busy while these were timed, so that their times are too "
            f"long: {'; '.join(busy)}."
        )
    if left := len(own) - len(timed):
        notes.append(
            f"{dataset}: {left} of {len(own)} settings are left out, for want of a time, an "
            f"accuracy or one of the categories {', '.join(categories)}."
        )
    return notes


def _is_busy(subject: Subject, categories: Sequence[str]) -> bool:
    return any(disturbed(record) for category in categories for record in subject.found[category])


def _panel(
    dataset: str, metric: str, timed: Sequence[_Timed], front: set[int], looks: dict[str, int]
) -> Panel:
    points = [(n, one, one.cells[metric]) for n, one in enumerate(timed) if metric in one.cells]
    everyone = len(points) <= NUMBERED
    series = [
        Series(
            looks[one.subject.method],
            [_mark(one, cell, n + 1 if everyone or n in front else None)],
            joined=False,
        )
        for n, one, cell in points
    ]
    steps = [Mark(one.ms, _mean(cell)) for n, one, cell in points if n in front]
    line = Series(0, steps, marked=False, front=True)
    x = Axis("ms per image", [one.ms for _, one, _ in points])
    ends = [end for _, _, cell in points for end in (cell.interval or (_mean(cell),) * 2)]
    y = Axis(title_of(metric), ends, span=1.0)
    return Panel(f"{dataset}: {title_of(metric)}", x, y, [line, *series])


def _mark(one: _Timed, cell: Cell, number: int | None) -> Mark:
    low, high = cell.interval or (None, None)
    text = f"{one.subject.name}: {one.ms:.1f} ms, {_said(cell)}"
    return Mark(one.ms, _mean(cell), low, high, text, "" if number is None else str(number))


def _row(one: _Timed, number: int, dataset: str, fronts: dict[str, set[int]]) -> list[str]:
    cells = [
        NOTHING
        if metric not in one.cells
        else f"{_said(one.cells[metric])}{FRONT if number in fronts[metric] else ''}"
        for metric in ACCURACIES
    ]
    return [str(number + 1), one.subject.name, dataset, f"{one.ms:.1f}", *cells]


def _mean(cell: Cell) -> float:
    return cell.measured.mean if cell.measured is not None else float("nan")


def _said(cell: Cell) -> str:
    ends = "" if cell.interval is None else " ({:.1f} to {:.1f})".format(*cell.interval)
    return f"{_mean(cell):.1f}{ends}"
