"""A built table as text: CSV in plain numbers, Markdown and LaTeX with measured / published in each cell."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from adbench.files import write_whole
from adbench.matching import NOT_RUN
from adbench.statistics import Spread
from adbench.tables import MEAN, MEASURES, Cell, Table

COLUMNS = [
    *("row", "category", "metric", "measured", "sd", "seeds", "categories", "published"),
    *("difference", "low", "high", "verdict"),
]
"""Of the comparison: ``low`` and ``high`` are the 95% interval of the difference for the draw of test images."""


def write(built: Table, folder: Path) -> list[Path]:
    """Write NAME.csv, NAME.comparison.csv, NAME.md and NAME.tex to ``folder``; all are made before one is written."""
    makers = {".csv": to_csv, ".comparison.csv": comparison_csv, ".md": to_markdown, ".tex": to_latex}
    texts = {folder / f"{built.name}{suffix}": make(built) for suffix, make in makers.items()}
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


def to_csv(built: Table) -> str:
    """The table in plain numbers, measured and published; ``comparison_csv`` has what else is known of each cell."""

    def texts(cell: Cell | None) -> list[str]:
        if cell is None:
            return ["", ""]
        absent = "" if cell.row not in built.sources else _why(cell)
        measured = f"{cell.measured.mean:.{MEASURES[cell.metric].digits}f}" if cell.measured else absent
        return [measured, _plain(cell.published, cell.metric)]

    return _csv(_grid(built, lambda title: [title, f"{title} published"], texts))


def comparison_csv(built: Table) -> str:
    """One line per cell, with the columns of ``COLUMNS``."""
    lines = [COLUMNS]
    for c in built.cells.values():
        digits = MEASURES[c.metric].digits + 2
        measured = c.measured or Spread(float("nan"), None, 0)
        ends = [end - c.published for end in c.interval] if c.interval and c.published is not None else [None, None]
        numbers = [c.measured and measured.mean, measured.std, c.difference, *ends]
        mean, sd, difference, low, high = ("" if v is None else f"{v:.{digits}f}" for v in numbers)
        counts = [str(measured.n), str(c.categories)]
        lines.append(
            [
                c.row,
                c.category,
                c.metric,
                mean,
                sd,
                *counts,
                _plain(c.published, c.metric),
                difference,
                low,
                high,
                c.verdict,
            ]
        )
    return _csv(lines)


def to_markdown(built: Table) -> str:
    """The table, the comparison of each cell that has both numbers, and what is known of the printed table."""
    spec = built.spec
    text = [
        f"# {spec.title}",
        f"{built.present} of {built.possible} cells have records. Each cell: measured / published.",
    ]
    if any(c.measured and c.measured.n > 1 for c in built.cells.values()):
        text[-1] += " ± is the standard deviation over seeds, their number in brackets."
    for mark, labels in _grouped(built.marks).items():
        text.append(f"\\* **{', '.join(labels)}: measured with {mark}; not comparable with the printed numbers.**")
    for why, labels in _grouped({n: s.absent for n, s in built.sources.items() if not s.found}).items():
        text.append(f"{', '.join(labels)}: {why}.")
    for why, labels in _grouped({row.label: row.quoted for row in spec.rows if not row.run}).items():
        text.append(f"{', '.join(labels)}: published numbers only ({why}).")
    head, *lines = _grid(built, lambda title: [title], lambda cell: [_both(cell, built)])
    text.append(tabulate(lines, head, "github", disable_numparse=True))
    compared = [_compared(c) for c in built.cells.values() if c.difference is not None]
    if compared:
        text += ["## Comparison", "Measured minus published, with the 95% interval for the draw of test images."]
        columns = ["row", "category", "metric", "measured", "published", "difference", "95% interval", "verdict"]
        text.append(tabulate(compared, columns, "github", disable_numparse=True))
    if spec.notes:
        text += ["## Known of the printed table", "\n".join(f"- {note}" for note in spec.notes)]
    return "\n\n".join(text) + "\n"


def to_latex(built: Table) -> str:
    """The table of measured / published, for the booktabs package."""
    head, *lines = _grid(built, lambda title: [title], lambda cell: [_both(cell, built)])
    body = tabulate(lines, head, "latex_booktabs", disable_numparse=True).replace("±", "$\\pm$")
    marks = [f"% * {label}: measured with {mark}" for label, mark in built.marks.items()]
    return "\n".join([f"% {built.spec.title}: measured / published", *marks, body]) + "\n"


def _grid(
    built: Table, heads: Callable[[str], list[str]], texts: Callable[[Cell | None], list[str]]
) -> list[list[str]]:
    """Head and lines of the table; ``heads`` and ``texts`` make the columns that one cell takes."""
    spec, cells = built.spec, built.cells
    if spec.lines == "settings":
        lines = []
        for row in spec.rows:
            means = [cells.get((row.label, metric, MEAN)) for metric in spec.metrics]
            count = max(c.categories for c in means if c)
            shown = [text for cell in means for text in texts(cell)]
            lines.append([_starred(built, row.label), *shown, f"{count} of {len(spec.categories)}"])
        titles = [head for metric in spec.metrics for head in heads(MEASURES[metric].title)]
        return [[spec.varies, *titles, "categories measured"], *lines]
    columns = [(row.label, m) for row in spec.rows for m in spec.metrics if (row.label, m, MEAN) in cells]
    several = len(spec.metrics) > 1
    titles = [_starred(built, label) + (f" {MEASURES[m].title}" if several else "") for label, m in columns]
    lines = [
        [category, *(text for label, m in columns for text in texts(cells[label, m, category]))]
        for category in [*spec.categories, MEAN]
    ]
    rest = [""] * (len(heads("")) - 1)
    counts = [text for label, m in columns for text in [str(cells[label, m, MEAN].categories), *rest]]
    corner = "category" if several else MEASURES[spec.metrics[0]].title
    return [[corner, *(head for title in titles for head in heads(title))], *lines, ["categories measured", *counts]]


def _grouped(reasons: dict[str, str]) -> dict[str, list[str]]:
    """Reason -> the rows that share it."""
    rows: dict[str, list[str]] = {}
    for label, reason in reasons.items():
        rows.setdefault(reason, []).append(label)
    return rows


def _starred(built: Table, label: str) -> str:
    return f"{label}*" if label in built.marks else label


def _both(cell: Cell | None, built: Table) -> str:
    if cell is None:
        return ""
    published = _plain(cell.published, cell.metric) or "-"
    if cell.row not in built.sources:
        return f"- / {published}"
    return f"{_spread(cell.measured, cell.metric) if cell.measured else _why(cell)} / {published}"


def _why(cell: Cell) -> str:
    return "not possible" if cell.verdict.startswith("not possible") else NOT_RUN


def _compared(c: Cell) -> list[str]:
    digits, published = MEASURES[c.metric].digits, c.published or 0.0
    interval = " to ".join(f"{end - published:+.{digits}f}" for end in c.interval) if c.interval else ""
    measured = _spread(c.measured, c.metric) if c.measured else ""
    title = MEASURES[c.metric].title
    return [
        c.row,
        c.category,
        title,
        measured,
        _plain(published, c.metric),
        f"{c.difference:+.{digits}f}",
        interval,
        c.verdict,
    ]


def _spread(value: Spread, metric: str) -> str:
    digits = MEASURES[metric].digits
    return f"{value.mean:.{digits}f}" + (f" ± {value.std:.{digits}f} ({value.n})" if value.std is not None else "")


def _plain(value: float | None, metric: str) -> str:
    """A printed number, with the one decimal that printed percents have at least."""
    if value is None:
        return ""
    return f"{value:.1f}" if MEASURES[metric].accuracy and round(value, 1) == round(value, 4) else f"{value:.6g}"


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
