"""The leaderboard: every setting on every category, and its means over the categories."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from adbench.evaluation.metrics import METRICS
from adbench.reports.cells import MEAN, Cell
from adbench.reports.marks import averaged
from adbench.reports.measures import MEASURES
from adbench.reports.page.choices import choices
from adbench.reports.page.model import NOTHING, Board, BoardCell, BoardRow, Column
from adbench.reports.page.rank import Entry, Rank, ranks
from adbench.reports.page.subjects import Subject
from adbench.results.disturbed import disturbed
from adbench.results.notes import RANDOM, random_weights

_ABOUT = {m.name: m.about.removesuffix(", a fraction like all metrics here") for m in METRICS}
_ACCURACIES = ("image_auroc", "pixel_auroc", "aupro")
COLUMNS = [
    *(
        Column(name, MEASURES[name].title.removesuffix(", %"), "%", 1, True, _ABOUT[name])
        for name in _ACCURACIES
    ),
    Column(
        "inference_time_s",
        "time",
        "ms",
        1,
        False,
        "median milliseconds for one image at a time: preprocess, backbone and method",
    ),
    Column("state_mb", "memory", "MB", 1, False, "what the detector learned, as a file holds it"),
]
OVER = "mean over categories"
"""The mean, where a category is called ``mean``."""
BUSY = "the machine was busy while this was measured; the record says how much"
_SCALES = {"inference_time_s": 1000.0}
"""From the unit of a measure to that of the column."""


@dataclass(frozen=True)
class _Line:
    """A row before its numbers are ranked."""

    subject: Subject
    category: str
    members: tuple[str, ...]
    cells: dict[str, Cell]

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean; a category may be called ``mean`` too."""
        return len(self.members) > 1


def board(settings: Sequence[Subject], folder: Path) -> Board:
    """The leaderboard of settings.

    A mean is there for a setting that has every category which most settings of its dataset have.

    Args:
        settings: Of ``subjects``.
        folder: Where the records lie with their raw scores.
    """
    lines = [line for subject in settings for line in _lines(subject, shared(settings))]
    ranked: dict[tuple[int, str], Rank] = {}
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for number, line in enumerate(lines):
        key = line.subject.dataset, line.category, line.is_mean
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        for column in COLUMNS:
            entries = [Entry(lines[n].subject, lines[n].cells[column.name]) for n in numbers]
            found = ranks(entries, column.name, folder)
            ranked |= {(n, column.name): r for n, r in zip(numbers, found, strict=True)}
    rows = [
        _row(line, {column.name: ranked[number, column.name] for column in COLUMNS})
        for number, line in enumerate(lines)
    ]
    return Board(
        COLUMNS,
        rows,
        sorted({row.dataset for row in rows}),
        sorted({row.category for row in rows if not row.is_mean}),
        sorted({row.method for row in rows}),
        sorted({row.backbone for row in rows} - {""}),
        choices(rows),
    )


def shared(settings: Sequence[Subject]) -> dict[str, tuple[str, ...]]:
    """Dataset -> the categories that its means are over: each that most of its settings have.

    Where no category is such, or no setting has all of these, it is the set of one setting which
    the most settings have, counted with its size.
    """
    found: dict[str, tuple[str, ...]] = {}
    for dataset in {subject.dataset for subject in settings}:
        own = [frozenset(s.found) for s in settings if s.dataset == dataset]
        counts = Counter(category for categories in own for category in categories)
        most = frozenset(c for c, count in counts.items() if 2 * count > len(own))
        if not most or not any(most <= categories for categories in own):
            most = max(set(own), key=lambda c: (sum(c <= o for o in own) * len(c), sorted(c)))
        found[dataset] = tuple(sorted(most))
    return found


def _lines(subject: Subject, means: dict[str, tuple[str, ...]]) -> list[_Line]:
    """The mean first, where the setting has its categories, then each category."""
    over = means[subject.dataset]
    scopes: list[tuple[str, tuple[str, ...]]] = [(c, (c,)) for c in subject.found]
    if len(over) > 1 and set(over) <= set(subject.found):
        scopes.insert(0, (MEAN if MEAN not in over else OVER, over))
    return [
        _Line(
            subject,
            category,
            members,
            {c.name: averaged(subject.name, c.name, subject.found, members) for c in COLUMNS},
        )
        for category, members in scopes
    ]


def _row(line: _Line, ranked: dict[str, Rank]) -> BoardRow:
    subject = line.subject
    single = [] if line.is_mean else subject.found[line.category]
    return BoardRow(
        setting=subject.name,
        setting_key=subject.key,
        dataset=subject.dataset,
        category=line.category,
        method=subject.method,
        backbone=subject.backbone,
        anchor=single[0].id if single else "",
        cells={c.name: _cell(line, c, ranked[c.name]) for c in COLUMNS},
        is_mean=line.is_mean,
        found=_rate(line, "true_positive_rate"),
        false_alarms=_rate(line, "false_positive_rate"),
    )


def _rate(line: _Line, name: str) -> float | None:
    """The mean of a rate that the thresholds of the runs gave; None where one is missing."""
    rates = [
        record.threshold.get(name)
        for category in line.members
        for record in line.subject.found[category]
    ]
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if len(known) == len(rates) else None


def _cell(line: _Line, column: Column, rank: Rank) -> BoardCell:
    cell, scale = line.cells[column.name], _SCALES.get(column.name, 1.0)
    if cell.measured is None or (line.is_mean and cell.members != line.members):
        lacking = _why(line, cell)
        return BoardCell(NOTHING, None, None, None, False, False, lacking, lacking)
    value = scale * cell.measured.mean
    low, high = cell.interval if cell.interval is not None else (None, None)
    why = BUSY if column.name == "inference_time_s" and _is_busy(line) else ""
    reasons = [rank.reason, why]
    note = "; ".join(filter(None, reasons))
    if line.is_mean:
        reasons.insert(0, f"mean of {', '.join(line.members)}")
    if cell.measured.n > 1:
        reasons.insert(0, f"mean of {cell.measured.n} seeds")
    text = f"{value:.{column.digits}f}"
    reason = "; ".join(filter(None, reasons))
    return BoardCell(text, value, low, high, rank.best, rank.within, reason, note, bool(why))


def _is_busy(line: _Line) -> bool:
    """Whether other work made a time of these records longer."""
    return any(disturbed(r) for c in line.members for r in line.subject.found[c])


def _why(line: _Line, cell: Cell) -> str:
    """Why a number is missing."""
    records = [r for category in line.members for r in line.subject.found[category]]
    if cell.metric in _ACCURACIES and all(map(random_weights, records)):
        return RANDOM.removeprefix("* ")
    if cell.measured is not None:
        return f"measured on {', '.join(cell.members)} alone"
    return cell.reason
