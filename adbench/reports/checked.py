"""What ``--check`` says of a table: how many numbers were compared, and which are outside."""

from typing import Any

from adbench.reports.cells import Cell
from adbench.reports.measures import MEASURES
from adbench.reports.tables import Table


def failures(built: Table) -> list[str]:
    """A line for each number that lies outside its band, or one where nothing was compared.

    A number that was never measured, or that cannot be compared, is no pass.
    """
    compared = _compared(built)
    if not compared:
        measured_first = sorted(built.cells.values(), key=lambda cell: cell.measured is None)
        why = next((c.reason for c in measured_first if c.reason), "no number is printed")
        return [
            f"{built.name}: none of {built.possible} cells could be compared with its printed "
            f"number: {why}"
        ]
    return [_outside(built, cell) for cell in compared if cell.verdict == "outside"]


def summary(built: Table) -> str:
    """How many numbers were compared, and what came of it."""
    compared = _compared(built)
    counts = {v: sum(c.verdict == v for c in compared) for v in ("inconclusive", "outside")}
    within = len(compared) - sum(counts.values())
    lacking = built.possible - built.present
    return (
        f"{built.name}: {len(compared)} numbers compared: {within} within their bands, "
        f"{counts['inconclusive']} inconclusive, {counts['outside']} outside; "
        f"{lacking} of {built.possible} cells have no record"
    )


def to_json(built: Table) -> dict[str, Any]:
    """The same as plain data."""
    found = failures(built)
    return {"compared": len(_compared(built)), "passed": not found, "failures": found}


def _compared(built: Table) -> list[Cell]:
    return [cell for cell in built.cells.values() if cell.compared]


def _outside(built: Table, cell: Cell) -> str:
    assert cell.measured is not None
    noise = ""
    if cell.interval:
        low, high = cell.interval
        noise = f"; its 95% interval, {low:.2f} to {high:.2f}, leaves the printed number out"
    metric = MEASURES[cell.metric].title.removesuffix(", %")
    return (
        f"{built.name}: {cell.row}, {cell.category}: {metric} {cell.measured.mean:.2f} is outside "
        f"{cell.published:g} ±{cell.band:.2g}{noise}"
    )
