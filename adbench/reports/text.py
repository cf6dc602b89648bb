"""A built table as text: CSV in plain numbers, Markdown and LaTeX with measured / published."""

import csv
import io
import re
from pathlib import Path

from tabulate import tabulate

from adbench.evaluation.intervals import Spread
from adbench.reports.cells import Cell
from adbench.reports.grid import both, grid, grouped, listed, parts, plain, spread, why
from adbench.reports.measures import MEASURES
from adbench.reports.spec import Spec
from adbench.reports.tables import Table
from adbench.system.files import write_whole

COLUMNS = [
    *("row", "category", "metric", "measured", "sd", "seeds", "categories", "published"),
    *("difference", "low", "high", "verdict"),
]
"""Of the comparison: ``low`` and ``high`` are the 95% interval of the difference for the draw of
test images."""


def write(built: Table, folder: Path) -> list[Path]:
    """Write NAME.csv, NAME.comparison.csv, NAME.md and NAME.tex; all are made before the first."""
    makers = {
        ".csv": to_csv,
        ".comparison.csv": comparison_csv,
        ".md": to_markdown,
        ".tex": to_latex,
    }
    texts = {folder / f"{built.name}{suffix}": make(built) for suffix, make in makers.items()}
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


def to_csv(built: Table) -> str:
    """The table in plain numbers; ``comparison_csv`` has what else is known of each cell."""

    def texts(cell: Cell | None) -> list[str]:
        if cell is None:
            return ["", ""]
        measured = "" if cell.row not in built.sources else why(cell)
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
        digits = MEASURES[c.metric].digits + 2
        measured = c.measured or Spread(float("nan"), None, 0)
        ends: list[float | None] = [None, None]
        if c.interval and c.published is not None:
            ends = [end - c.published for end in c.interval]
        numbers = [c.measured and measured.mean, measured.std, c.difference, *ends]
        mean, sd, difference, low, high = ("" if v is None else f"{v:.{digits}f}" for v in numbers)
        counts = [str(measured.n), str(c.categories), plain(c.published, c.metric)]
        lines.append(
            [c.row, c.category, c.metric, mean, sd, *counts, difference, low, high, c.verdict]
        )
    return _csv(lines)


def to_markdown(built: Table) -> str:
    """The table, the comparison of each cell with both numbers, and what is known of the table."""
    spec = built.spec
    text = [f"# {spec.title}", _summary(built)]
    for mark, labels in grouped(built.marks).items():
        said = f"{listed(labels)}: measured with {mark}; not comparable with the printed numbers."
        text.append(f"\\* **{said}**")
    absent = {label: s.absent for label, s in built.sources.items() if not s.found}
    text += [f"{listed(labels)}: {reason}." for reason, labels in grouped(absent).items()]
    quoted = {row.label: row.quoted for row in spec.rows if row.quoted}
    for reason, labels in grouped(quoted).items():
        text.append(f"{listed(labels)}: published numbers only ({reason}).")
    for metrics in parts(spec):
        head, *lines = grid(built, metrics, lambda title: [title], lambda c: [both(c, built)])
        text.append(tabulate(lines, head, "github", disable_numparse=True))
    compared = [_compared(c) for c in built.cells.values() if c.difference is not None]
    if compared:
        text += [
            "## Comparison",
            "Measured minus published, with the 95% interval for the draw of test images.",
        ]
        columns = ["row", "category", "metric", "measured", "published", "difference"]
        columns += ["95% interval", "verdict"]
        text.append(tabulate(compared, columns, "github", disable_numparse=True))
    if spec.notes:
        text += ["## Known of the printed table", "\n".join(f"- {note}" for note in spec.notes)]
    return "\n\n".join(text) + "\n"


def to_latex(built: Table) -> str:
    """The table of measured / published, for the booktabs package; below it what its stars mean."""
    text = [f"% {built.spec.title}: measured / published"]
    marks = grouped(built.marks).items()
    stars = [f"* {listed(labels)}: measured with {mark}" for mark, labels in marks]
    notes = [re.sub(r"[_%&#$]", r"\\\g<0>", star) for star in stars]
    for metrics in parts(built.spec):
        head, *lines = grid(built, metrics, lambda title: [title], lambda c: [both(c, built)])
        body = tabulate(lines, head, "latex_booktabs", disable_numparse=True)
        below = "".join(
            f"\\multicolumn{{{len(head)}}}{{p{{0.9\\linewidth}}}}{{{note}}} \\\\\n"
            for note in notes
        )
        body = body.replace("±", "$\\pm$")
        text.append(body.replace("\\bottomrule\n", f"\\bottomrule\n{below}"))
    return "\n".join(text) + "\n"


def _summary(built: Table) -> str:
    """How much was measured, and how to read a cell."""
    text = (
        f"{built.present} of {built.possible} cells (setting x category) have records. Each cell: "
        "measured / published, or the measured number alone where none is printed."
    )
    if any(c.measured and c.measured.n > 1 for c in built.cells.values()):
        text += " ± is the standard deviation over seeds, their number in brackets."
    if built.present < built.possible:
        text += f" {_means(built.spec)}"
    return text


def _means(spec: Spec) -> str:
    """What the means are over while categories lack."""
    return (
        "A mean is over the categories measured, on both sides of the slash; where nothing was "
        "measured or the report prints the mean alone, the published one is over all "
        f"{len(spec.categories)}."
    )


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
        c.verdict,
    ]


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
