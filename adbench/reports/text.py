"""A built table as text: CSV in plain numbers, Markdown and LaTeX with measured / published in each cell."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from adbench.files import write_whole
from adbench.reports.matching import IMPOSSIBLE, NOT_RUN
from adbench.reports.tables import MEAN, MEASURES, UNTRAINED, Cell, Spec, Table
from adbench.statistics import Spread

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

    return _csv(_grid(built, built.spec.metrics, lambda title: [title, f"{title} published"], texts))


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
        f"{built.present} of {built.possible} cells (setting x category) have records. Each cell: measured / published, "
        "or the measured number alone where none is printed.",
    ]
    if any(c.measured and c.measured.n > 1 for c in built.cells.values()):
        text[-1] += " ± is the standard deviation over seeds, their number in brackets."
    if built.present < built.possible:
        text[-1] += f" {_means(spec)}"
    for mark, labels in _grouped(built.marks).items():
        text.append(f"\\* **{_listed(labels)}: measured with {mark}; not comparable with the printed numbers.**")
    for why, labels in _grouped({n: s.absent for n, s in built.sources.items() if not s.found}).items():
        text.append(f"{_listed(labels)}: {why}.")
    for why, labels in _grouped({row.label: row.quoted for row in spec.rows if not row.run}).items():
        text.append(f"{_listed(labels)}: published numbers only ({why}).")
    for metrics in _parts(spec):
        head, *lines = _grid(built, metrics, lambda title: [title], lambda cell: [_both(cell, built)])
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
    """The table of measured / published, for the booktabs package; below it what its stars mean."""
    text = [f"% {built.spec.title}: measured / published"]
    stars = [f"* {_listed(labels)}: measured with {mark}" for mark, labels in _grouped(built.marks).items()]
    notes = [re.sub(r"[_%&#$]", r"\\\g<0>", star) for star in stars]
    for metrics in _parts(built.spec):
        head, *lines = _grid(built, metrics, lambda title: [title], lambda cell: [_both(cell, built)])
        body = tabulate(lines, head, "latex_booktabs", disable_numparse=True).replace("±", "$\\pm$")
        below = "".join(f"\\multicolumn{{{len(head)}}}{{p{{0.9\\linewidth}}}}{{{note}}} \\\\\n" for note in notes)
        text.append(body.replace("\\bottomrule\n", f"\\bottomrule\n{below}"))
    return "\n".join(text) + "\n"


def _parts(spec: Spec) -> list[tuple[str, ...]]:
    """The metrics that a table shows side by side: all, or one after the other where several rows have several each."""
    several = spec.lines == "categories" and len(spec.rows) > 1
    return [(metric,) for metric in spec.metrics] if several else [spec.metrics]


def _means(spec: Spec) -> str:
    """What the means are over while categories lack."""
    return (
        "A mean is over the categories measured, on both sides of the slash; where nothing was measured or the report "
        f"prints the mean alone, the published one is over all {len(spec.categories)}."
    )


def _listed(labels: list[str]) -> str:
    """Row labels in a sentence; those with a comma of their own are told apart by semicolons."""
    return ("; " if any("," in label for label in labels) else ", ").join(labels)


def _grid(
    built: Table,
    metrics: Sequence[str],
    heads: Callable[[str], list[str]],
    texts: Callable[[Cell | None], list[str]],
) -> list[list[str]]:
    """Head and lines of the table of these metrics; ``heads`` and ``texts`` make the columns that one cell takes."""
    spec, cells = built.spec, built.cells
    if spec.lines == "settings":
        lines = []
        for row in spec.rows:
            means = [cells.get((row.label, metric, MEAN)) for metric in metrics]
            count = max(c.categories for c in means if c)
            shown = [text for cell in means for text in texts(cell)]
            lines.append([_starred(built, row.label), *shown, f"{count} of {len(spec.categories)}"])
        titles = [head for metric in metrics for head in heads(MEASURES[metric].title)]
        return [[spec.varies, *titles, "categories measured"], *lines]
    columns = [(row.label, m) for row in spec.rows for m in metrics if (row.label, m, MEAN) in cells]
    several = len(metrics) > 1
    titles = [_starred(built, label) + (f" {MEASURES[m].title}" if several else "") for label, m in columns]
    lines = [
        [category, *(text for label, m in columns for text in texts(cells[label, m, category]))]
        for category in [*spec.categories, MEAN]
    ]
    rest = [""] * (len(heads("")) - 1)
    counts = [text for label, m in columns for text in [str(cells[label, m, MEAN].categories), *rest]]
    corner = "category" if several else MEASURES[metrics[0]].title
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
    quoted = "-" if cell.row not in built.sources else _why(cell)
    measured = _spread(cell.measured, cell.metric) if cell.measured else quoted
    return measured if cell.published is None else f"{measured} / {_plain(cell.published, cell.metric)}"


def _why(cell: Cell) -> str:
    """A cell without a number in the fewest words; its verdict has the rest."""
    if cell.verdict == UNTRAINED:
        return "not shown"
    return "not possible" if cell.verdict.startswith(IMPOSSIBLE) else NOT_RUN


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
    """A printed number; percents with the one decimal that they have at least and the two that a mean of them needs."""
    if value is None:
        return ""
    if not MEASURES[metric].accuracy:
        return f"{value:.6g}"
    return f"{value:.1f}" if round(value, 1) == round(value, 4) else f"{value:.2f}"


def _csv(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
