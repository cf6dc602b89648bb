"""The lines and columns of a built table, and the words in its cells."""

from collections.abc import Callable, Sequence

from adbench.evaluation.intervals import Spread
from adbench.reports.cells import MEAN, Cell
from adbench.reports.measures import MEASURES
from adbench.reports.remarks import INCOMPLETE
from adbench.reports.spec import Spec
from adbench.reports.tables import Table


def grid(
    built: Table,
    metrics: Sequence[str],
    heads: Callable[[str], list[str]],
    texts: Callable[[Cell | None], list[str]],
) -> list[list[str]]:
    """Head and lines of the table of these metrics.

    Args:
        built: The table.
        metrics: Those to show side by side.
        heads: Makes of a title the heads of the columns that one cell takes.
        texts: Makes of a cell the texts of these columns.
    """
    if built.spec.lines == "settings":
        return _line_per_setting(built, metrics, heads, texts)
    cells, columns = built.cells, columns_of(built, metrics)
    lines = [
        [category, *(text for label, m in columns for text in texts(cells[label, m, category]))]
        for category in [*built.spec.categories, MEAN]
    ]
    rest = [""] * (len(heads("")) - 1)
    counts = [str(cells[label, m, MEAN].categories) for label, m in columns]
    corner = "category" if len(metrics) > 1 else MEASURES[metrics[0]].title
    return [
        [corner, *(head for c in columns for head in heads(title_of(built, metrics, *c)))],
        *lines,
        ["categories measured", *(text for count in counts for text in [count, *rest])],
    ]


def columns_of(built: Table, metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Row and metric of each column, where a line is a category."""
    columns = [(row.label, m) for row in built.spec.rows for m in metrics]
    return [(label, m) for label, m in columns if (label, m, MEAN) in built.cells]


def title_of(built: Table, metrics: Sequence[str], label: str, metric: str) -> str:
    """The head of such a column."""
    return starred(built, label) + (f" {MEASURES[metric].title}" if len(metrics) > 1 else "")


def parts(spec: Spec) -> list[tuple[str, ...]]:
    """The metrics that stand side by side in one table, table by table.

    All of them do, but where several rows have several metrics each there is a table per metric.
    """
    several = spec.lines == "categories" and len(spec.rows) > 1
    return [(metric,) for metric in spec.metrics] if several else [spec.metrics]


def starred(built: Table, label: str) -> str:
    """The label of a row, with a star where it was measured with something else."""
    return f"{label}*" if label in built.marks else label


def both(cell: Cell | None, built: Table) -> str:
    """Measured / published, or the one that there is."""
    if cell is None:
        return ""
    shown = spread(cell.measured, cell.metric) if cell.measured else "-"
    shown += dagger(cell, built)
    return shown if cell.published is None else f"{shown} / {plain(cell.published, cell.metric)}"


def dagger(cell: Cell, built: Table) -> str:
    """A mark where some of the images are missing."""
    return INCOMPLETE if any(category in built.incomplete for category in cell.members) else ""


def spread(value: Spread, metric: str) -> str:
    """A measured number, with the standard deviation over seeds and their number."""
    digits = MEASURES[metric].digits
    mean = f"{value.mean:.{digits}f}"
    return mean if value.std is None else f"{mean} ± {value.std:.{digits}f} ({value.n})"


def plain(value: float | None, metric: str) -> str:
    """A printed number: percents with one decimal, or the two that a mean of them needs."""
    if value is None:
        return ""
    if not MEASURES[metric].accuracy:
        return f"{value:.6g}"
    return f"{value:.1f}" if round(value, 1) == round(value, 4) else f"{value:.2f}"


def _line_per_setting(
    built: Table,
    metrics: Sequence[str],
    heads: Callable[[str], list[str]],
    texts: Callable[[Cell | None], list[str]],
) -> list[list[str]]:
    spec, lines = built.spec, []
    for row in spec.rows:
        means = [built.cells.get((row.label, metric, MEAN)) for metric in metrics]
        count = max((c.categories for c in means if c), default=0)  # a row may have no cell
        shown = [text for cell in means for text in texts(cell)]
        lines.append([starred(built, row.label), *shown, f"{count} of {built.total}"])
    titles = [head for metric in metrics for head in heads(MEASURES[metric].title)]
    return [[spec.varies, *titles, "categories measured"], *lines]
