"""What must be said below a table, each thing once: stars, missing numbers, verdicts."""

from collections.abc import Iterable

from adbench.reports.cells import MEAN, Cell
from adbench.reports.measures import MEASURES
from adbench.reports.tables import Table
from adbench.system.printable import in_line

INCOMPLETE = "†"
"""Stands at numbers of categories that were measured on other images than the published ones."""

VERDICTS = (
    "within: inside the band. Inconclusive: outside the band, but the printed number lies in the "
    "measured one's 95% interval, so that this many images cannot tell. Outside: neither. The band "
    "is 1 point for a category, 3 for pill, screw, grid, toothbrush and zipper; that of a mean "
    "follows from its members'."
)


def stars(built: Table) -> list[str]:
    """What the starred rows were measured with."""
    return [
        f"{listed(labels)}: measured with {mark}; not comparable with the printed numbers."
        for mark, labels in grouped(built.marks).items()
    ]


def quotes(built: Table) -> list[str]:
    """Why some rows have published numbers only."""
    rows = [row for row in built.spec.rows if row.label not in built.sources]
    quoted = {row.label: row.quoted for row in rows if row.quoted}
    return [
        f"{listed(labels)}: published numbers only ({reason})."
        for reason, labels in grouped(quoted).items()
    ]


def incomplete(built: Table) -> list[str]:
    """Which categories lack images, or have too many."""
    words = built.incomplete.values()
    return [f"{INCOMPLETE} {said}; it gets no verdict." for said in words]


def means(built: Table) -> list[str]:
    """What the means are over while categories lack."""
    if built.present == len(built.sources) * built.total:
        return []
    return [
        "A mean is over the categories measured, the published mean too; where nothing was "
        "measured or the report prints the mean alone, the published one is over all "
        f"{built.total}."
    ]


def absences(built: Table) -> list[str]:
    """Why numbers are missing: a line per reason."""
    lacking: dict[str, dict[str, dict[tuple[str, ...], list[str]]]] = {}
    for row in built.sources:
        for metric in built.spec.metrics:
            for reason, categories in _lacking(built, row, metric).items():
                of_row = lacking.setdefault(reason, {}).setdefault(row, {})
                of_row.setdefault(categories, []).append(metric)
    lines = []
    for reason, rows in lacking.items():
        alike: dict[str, list[str]] = {}
        for row, found in rows.items():
            alike.setdefault(_where(built, row, found), []).append(row)
        said = [f"{listed(labels)}{where}" for where, labels in alike.items()]
        lines.append(f"{reason}: {'; '.join(said)}.")
    return lines


def reasons(cells: Iterable[Cell], starred: Iterable[str]) -> list[str]:
    """Why measured numbers are not set against printed ones, but for rows with a star."""
    known = set(starred)
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        if cell.reason and cell.row not in known:
            found.setdefault((cell.verdict, cell.reason), {})[MEASURES[cell.metric].title] = None
    return [f"{v} ({', '.join(titles)}): {why}." for (v, why), titles in found.items()]


def grouped(said: dict[str, str]) -> dict[str, list[str]]:
    """Reason -> the rows that share it."""
    rows: dict[str, list[str]] = {}
    for label, reason in said.items():
        rows.setdefault(reason, []).append(label)
    return rows


def listed(labels: list[str]) -> str:
    """Row labels in a sentence; semicolons tell apart those with a comma of their own."""
    return ("; " if any("," in label for label in labels) else ", ").join(map(in_line, labels))


def _lacking(built: Table, row: str, metric: str) -> dict[str, tuple[str, ...]]:
    """Reason -> the categories whose number is missing for it."""
    found: dict[str, list[str]] = {}
    for category in built.spec.categories:
        cell = built.cells.get((row, metric, category))
        if cell is not None and cell.measured is None:
            found.setdefault(cell.reason, []).append(category)
    return {reason: tuple(categories) for reason, categories in found.items()}


def _names(built: Table, categories: tuple[str, ...]) -> str:
    """The categories, or those that are not among them; empty where all are."""
    others = [in_line(c) for c in built.spec.categories if c not in categories]
    if len(others) < len(categories):
        return f"all categories but {', '.join(others)}" if others else ""
    return ", ".join(map(in_line, categories))


def _where(built: Table, row: str, found: dict[tuple[str, ...], list[str]]) -> str:
    """The metrics and categories of a row that are missing, where it is not all of them."""
    own = [m for m in built.spec.metrics if (row, m, MEAN) in built.cells]
    parts = []
    for categories, metrics in found.items():
        titles = "" if metrics == own else ", ".join(MEASURES[m].title for m in metrics)
        parts.append(" on ".join(filter(None, (titles, _names(built, categories)))))
    said = " and ".join(filter(None, parts))
    return f" ({said})" if said else ""
