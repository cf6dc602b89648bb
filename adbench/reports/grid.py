"""The lines and columns of a built table, and the words in its cells."""

from collections.abc import Callable, Sequence

from adbench.evaluation.intervals import Spread
from adbench.reports.cells import MEAN, UNTRAINED, Cell
from adbench.reports.matching import IMPOSSIBLE, NOT_RUN
from adbench.reports.measures import MEASURES
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
    spec, cells = built.spec, built.cells
    columns = [(row.label, m) for row in spec.rows for m in metrics]
    columns = [(label, m) for label, m in columns if (label, m, MEAN) in cells]
    several = len(metrics) > 1
    titles = [
        starred(built, label) + (f" {MEASURES[m].title}" if several else "") for label, m in columns
    ]
    lines = [
        [category, *(text for label, m in columns for text in texts(cells[label, m, category]))]
        for category in [*spec.categories, MEAN]
    ]
    rest = [""] * (len(heads("")) - 1)
    counts = [str(cells[label, m, MEAN].categories) for label, m in columns]
    corner = "category" if several else MEASURES[metrics[0]].title
    return [
        [corner, *(head for title in titles for head in heads(title))],
        *lines,
        ["categories measured", *(text for count in counts for text in [count, *rest])],
    ]


def parts(spec: Spec) -> list[tuple[str, ...]]:
    """The metrics that stand side by side in one table, table by table.

    All of them do, but where several rows have several metrics each there is a table per metric.
    """
    several = spec.lines == "categories" and len(spec.rows) > 1
    return [(metric,) for metric in spec.metrics] if several else [spec.metrics]


def starred(built: Table, label: str) -> str:
    """The label of a row, with a star where it was measured with something else."""
    return f"{label}*" if label in built.marks else label


def grouped(reasons: dict[str, str]) -> dict[str, list[str]]:
    """Reason -> the rows that share it."""
    rows: dict[str, list[str]] = {}
    for label, reason in reasons.items():
        rows.setdefault(reason, []).append(label)
    return rows


def listed(labels: list[str]) -> str:
    """Row labels in a sentence; semicolons tell apart those with a comma of their own."""
    return ("; " if any("," in label for label in labels) else ", ").join(labels)


def both(cell: Cell | None, built: Table) -> str:
    """Measured / published, or the one that there is."""
    if cell is None:
        return ""
    absent = "-" if cell.row not in built.sources else why(cell)
    measured = spread(cell.measured, cell.metric) if cell.measured else absent
    return (
        measured if cell.published is None else f"{measured} / {plain(cell.published, cell.metric)}"
    )


def why(cell: Cell) -> str:
    """A cell without a number in the fewest words; its verdict has the rest."""
    if cell.verdict == UNTRAINED:
        return "not shown"
    return "not possible" if cell.verdict.startswith(IMPOSSIBLE) else NOT_RUN


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
        count = max(c.categories for c in means if c)
        shown = [text for cell in means for text in texts(cell)]
        lines.append([starred(built, row.label), *shown, f"{count} of {len(spec.categories)}"])
    titles = [head for metric in metrics for head in heads(MEASURES[metric].title)]
    return [[spec.varies, *titles, "categories measured"], *lines]
