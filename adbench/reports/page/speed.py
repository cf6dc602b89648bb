"""Speed against accuracy, with the Pareto front and the setting at each mark."""

from collections.abc import Sequence

from adbench.reports.cells import Cell
from adbench.reports.marks import averaged, title_of
from adbench.reports.page.board import shared
from adbench.reports.page.model import Chart
from adbench.reports.page.scale import Axis
from adbench.reports.page.subjects import Subject
from adbench.reports.page.svg import Mark, Panel, Series, drawing
from adbench.results.disturbed import disturbed
from adbench.results.record import Record

SPEED, ACCURACIES = "inference_time_s", ("image_auroc", "pixel_auroc")
NUMBERED = 12
"""So many marks are all numbered; of more, only those on the front."""


def speed(settings: Sequence[Subject]) -> Chart | None:
    """Time per image against accuracy, a panel per dataset and metric; None without a time.

    Args:
        settings: Of ``subjects``.
    """
    panels, rows, notes = [], [], []
    looks = looks_of(settings)
    for dataset, categories in sorted(shared(settings).items()):
        own = [s for s in settings if s.dataset == dataset]
        having = [s for s in own if set(categories) <= set(s.found)]
        for metric in ACCURACIES:
            points = _timed(having, metric, categories)
            if not points:
                continue
            front = pareto([(ms, cell) for _, ms, cell in points])
            panels.append(_speed_panel(dataset, metric, points, front, looks))
            rows += _speed_rows(dataset, metric, points, front)
        if busy := [s.name for s in having if any(map(disturbed, _of(s, categories)))]:
            notes.append(
                f"{dataset}: the machine was busy while these were timed, so that their times are "
                f"too long: {'; '.join(busy)}."
            )
        if left := len(own) - len(_timed(having, ACCURACIES[0], categories)):
            notes.append(
                f"{left} settings of {dataset} are left out: they lack a time, an accuracy or one "
                f"of the categories {', '.join(categories)}."
            )
    if not panels:
        return None
    caption = (
        "Each mark is a setting: median milliseconds for one image at a time, and the mean "
        "accuracy over the same categories with its 95% interval for the draw of test images. The "
        "dashed line joins the Pareto front: no other setting is both faster and more accurate. "
        "Numbers are those of the table."
    )
    head = ["number", "setting", "dataset", "metric", "ms per image", "accuracy, %", "on the front"]
    shown = [(look, method) for method, look in looks.items()]
    svg = drawing("speed-chart", caption, panels, shown)
    return Chart("speed-chart", "Speed against accuracy", caption, svg, (head, rows), notes)


def looks_of(settings: Sequence[Subject]) -> dict[str, int]:
    """Method -> the look of its marks."""
    return {method: n for n, method in enumerate(dict.fromkeys(s.method for s in settings))}


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


def _of(subject: Subject, categories: Sequence[str]) -> list[Record]:
    """The records of a setting on these categories."""
    return [record for category in categories for record in subject.found[category]]


Timed = tuple[Subject, float, Cell]
"""A setting, its milliseconds per image, and its accuracy."""


def _timed(settings: Sequence[Subject], metric: str, categories: Sequence[str]) -> list[Timed]:
    """The settings with both numbers on all of the categories, the fastest first."""
    found = []
    for subject in settings:
        time = averaged(subject.name, SPEED, subject.found, categories)
        cell = averaged(subject.name, metric, subject.found, categories)
        whole = time.members == cell.members == tuple(categories)
        if whole and time.measured is not None and cell.measured is not None:
            found.append((subject, 1000 * time.measured.mean, cell))
    return sorted(found, key=lambda point: (point[1], point[0].name))


def _speed_panel(
    dataset: str, metric: str, points: Sequence[Timed], front: set[int], looks: dict[str, int]
) -> Panel:
    everyone = len(points) <= NUMBERED
    series = [
        Series(
            looks[subject.method],
            [_mark(ms, cell, subject, n + 1 if everyone or n in front else None)],
            joined=False,
        )
        for n, (subject, ms, cell) in enumerate(points)
    ]
    steps = [Mark(points[n][1], _mean(points[n][2])) for n in sorted(front)]
    x = Axis("ms per image", [ms for _, ms, _ in points])
    ends = [end for _, _, cell in points for end in (cell.interval or (_mean(cell),) * 2)]
    y = Axis(title_of(metric), ends, span=1.0)
    return Panel(f"{dataset}: {title_of(metric)}", x, y, [_line(steps), *series])


def _line(marks: Sequence[Mark]) -> Series:
    return Series(0, marks, marked=False, front=True)


def _mark(ms: float, cell: Cell, subject: Subject, number: int | None) -> Mark:
    low, high = cell.interval or (None, None)
    text = f"{subject.name}: {ms:.1f} ms, {_said(cell)}"
    return Mark(ms, _mean(cell), low, high, text, "" if number is None else str(number))


def _speed_rows(
    dataset: str, metric: str, points: Sequence[Timed], front: set[int]
) -> list[list[str]]:
    return [
        [
            str(n + 1),
            subject.name,
            dataset,
            title_of(metric).removesuffix(", %"),
            f"{ms:.1f}",
            _said(cell),
            "yes" if n in front else "no",
        ]
        for n, (subject, ms, cell) in enumerate(points)
    ]


def _mean(cell: Cell) -> float:
    return cell.measured.mean if cell.measured is not None else float("nan")


def _said(cell: Cell) -> str:
    ends = "" if cell.interval is None else " ({:.1f} to {:.1f})".format(*cell.interval)
    return f"{_mean(cell):.1f}{ends}"
