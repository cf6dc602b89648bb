"""A built table as text: CSV and JSON in plain numbers, Markdown with measured / published."""

from pathlib import Path
from typing import Any

from adbench.errors import AdbenchError
from adbench.evaluation.intervals import Spread
from adbench.reports import remarks
from adbench.reports.cells import Cell
from adbench.reports.grid import both, grid, parts, plain, spread
from adbench.reports.latex import to_latex
from adbench.reports.measures import MEASURES
from adbench.reports.tables import Table
from adbench.results.spreadsheet import as_csv, safe
from adbench.results.tabulated import markdown_table
from adbench.system.files import write_whole
from adbench.system.printable import in_line

COLUMNS = [
    *("row", "category", "metric", "measured", "sd", "seeds", "categories", "images", "published"),
    *("difference", "low", "high", "band", "verdict", "reason"),
]
"""Of the comparison: ``low`` and ``high`` are the 95% interval of the difference for the draw of
test images, of which ``images`` is the number; ``band`` is what it may differ by."""


def write(built: Table, folder: Path) -> list[Path]:
    """Write NAME.csv, NAME.comparison.csv, NAME.md and NAME.tex; all are made before the first.

    Raises:
        AdbenchError: The folder cannot be written or is full.
    """
    makers = {
        ".csv": to_csv,
        ".comparison.csv": comparison_csv,
        ".md": to_markdown,
        ".tex": to_latex,
    }
    texts = {folder / f"{built.name}{suffix}": make(built) for suffix, make in makers.items()}
    for path, text in texts.items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise AdbenchError(
                f"cannot write {path}: {error.strerror or error}; free space or copy the records "
                "to a folder that can be written, and name it by results=DIR"
            ) from None
    return list(texts)


def to_csv(built: Table) -> str:
    """The table in plain numbers; ``comparison_csv`` has what else is known of each cell."""

    def texts(cell: Cell | None) -> list[str]:
        if cell is None:
            return ["", ""]
        measured: str = "" if cell.row not in built.sources else cell.verdict
        if cell.measured:
            measured = f"{cell.measured.mean:.{MEASURES[cell.metric].digits}f}"
        return [measured, plain(cell.published, cell.metric)]

    def heads(title: str) -> list[str]:
        return [title, f"{title} published"]

    return _csv(grid(built, built.spec.metrics, heads, texts))


def comparison_csv(built: Table) -> str:
    """One line per cell, with the columns of ``COLUMNS``."""
    lines = [COLUMNS]
    for c in built.cells.values():
        found, digits = cell_values(c), MEASURES[c.metric].digits + 2
        texts: dict[str, Any] = {
            n: f"{v:.{digits}f}" if isinstance(v, float) else v for n, v in found.items()
        }
        texts["published"] = plain(c.published, c.metric)
        texts["band"] = "" if c.band is None else f"{c.band:.2g}"
        lines.append(["" if texts[n] is None else str(texts[n]) for n in COLUMNS])
    return _csv(lines)


def cell_values(cell: Cell) -> dict[str, Any]:
    """What is known of a cell under the names of ``COLUMNS``; None where nothing is."""
    ends: list[float | None] = [None, None]
    if cell.interval and cell.published is not None:
        ends = [end - cell.published for end in cell.interval]
    measured = cell.measured or Spread(float("nan"), None, 0)
    return {
        "row": cell.row,
        "category": cell.category,
        "metric": cell.metric,
        "measured": measured.mean if cell.measured else None,
        "sd": measured.std,
        "seeds": measured.n,
        "categories": cell.categories,
        "images": cell.images,
        "published": cell.published,
        "difference": cell.difference,
        "low": ends[0],
        "high": ends[1],
        "band": cell.band,
        "verdict": cell.verdict,
        "reason": cell.reason,
    }


def to_json(built: Table) -> dict[str, Any]:
    """The table as plain data."""
    return {
        "table": built.name,
        "title": built.spec.title,
        "cells_with_records": built.present,
        "cells": built.possible,
        "stars": built.marks,
        "incomplete": built.incomplete,
        "numbers": [cell_values(cell) for cell in built.cells.values()],
    }


def to_markdown(built: Table) -> str:
    """The table, the comparison of each cell with both numbers, and what is known of the table."""
    spec = built.spec
    text = [f"# {in_line(spec.title)}", _summary(built)]
    text += [f"\\* **{star}**" for star in remarks.stars(built)]
    text += [f"**{line}**" for line in remarks.incomplete(built)]
    text += remarks.quotes(built)
    for metrics in parts(spec):
        head, *lines = grid(built, metrics, lambda title: [title], lambda c: [both(c, built)])
        text.append(markdown_table(lines, head))
    if absent := remarks.absences(built):
        text.append("Without a number (`-`):\n" + "\n".join(f"- {line}" for line in absent))
    text += _comparison(built)
    if spec.notes:
        text += ["## Known of the printed table", "\n".join(f"- {note}" for note in spec.notes)]
    return "\n\n".join(text) + "\n"


def _comparison(built: Table) -> list[str]:
    cells = [c for c in built.cells.values() if c.difference is not None]
    if not cells:
        return []
    columns = ["row", "category", "metric", "measured", "published", "difference"]
    columns += ["95% interval", "verdict"]
    text = [
        "## Comparison",
        "Measured minus published, with the 95% interval for the draw of test images.",
        markdown_table(map(_compared, cells), columns),
    ]
    if reasons := remarks.reasons(cells, built.marks):
        text.append("\n".join(f"- {reason}" for reason in reasons))
    return [*text, remarks.VERDICTS] if any(c.compared for c in cells) else text


def _summary(built: Table) -> str:
    """How much was measured, and how to read a cell."""
    text = (
        f"{built.present} of {built.possible} cells (setting x category) have records. Each cell: "
        "measured / published, or the measured number alone where none is printed."
    )
    if any(c.measured and c.measured.n > 1 for c in built.cells.values()):
        text += " ± is the standard deviation over seeds, their number in brackets."
    return " ".join([text, *remarks.means(built)])


def _compared(c: Cell) -> list[str]:
    measure, published = MEASURES[c.metric], c.published or 0.0
    interval = ""
    if c.interval:
        interval = " to ".join(f"{end - published:+.{measure.digits}f}" for end in c.interval)
    return [
        c.row,
        c.category,
        measure.title,
        spread(c.measured, c.metric) if c.measured else "",
        plain(published, c.metric),
        f"{c.difference:+.{measure.digits}f}",
        interval,
        c.words,
    ]


def _csv(lines: list[list[str]]) -> str:
    return as_csv(map(safe, line) for line in lines)
