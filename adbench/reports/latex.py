"""A built table for a paper: LaTeX with the booktabs package, notes below, the best in bold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adbench.reports import remarks
from adbench.reports.cells import MEAN, Cell
from adbench.reports.grid import columns_of, dagger, parts, plain, spread, starred, title_of
from adbench.reports.measures import MEASURES
from adbench.reports.tables import Table
from adbench.system.printable import in_line

_SIGNS = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "≤": r"$\leq$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


@dataclass(frozen=True)
class _Column:
    """Measured and printed numbers under one title."""

    title: str
    cells: list[Cell | None]

    @property
    def parts(self) -> list[str]:
        """Which of the two it has."""
        present = [c for c in self.cells if c]
        kinds = {
            "measured": any(c.measured for c in present),
            "printed": any(c.published is not None for c in present),
        }
        return [kind for kind, there in kinds.items() if there] or ["measured"]


def to_latex(built: Table) -> str:
    """One tabular per part of the table; digits stand under each other in columns of their own."""
    text = [
        f"% {in_line(built.spec.title)}",
        r"% Needs \usepackage{booktabs}. In bold: the best measured number of those compared.",
    ]
    return "\n".join([*text, *(_tabular(built, metrics) for metrics in parts(built.spec))]) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX reads it, in one line."""
    return re.sub("[" + re.escape("".join(_SIGNS)) + "]", lambda m: _SIGNS[m[0]], in_line(text))


def _tabular(built: Table, metrics: Sequence[str]) -> str:
    corner, names, columns = _layout(built, metrics)
    best = _best(built, columns)
    sides = [side for column in columns for side in column.parts]
    shown = [
        _aligned([_text(cell, side, built, best) for cell in column.cells])
        for column in columns
        for side in column.parts
    ]
    heads, rules, at = [], [], 2
    for column in columns:
        width = len(column.parts)
        heads.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(column.title)}}}")
        rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    lines = [
        f"\\begin{{tabular}}{{l{'r' * len(sides)}}}",
        r"\toprule",
        f"{escaped(corner)} & {' & '.join(heads)} \\\\",
        " ".join(rules),
        f" & {' & '.join(sides)} \\\\",
        r"\midrule",
    ]
    for i, name in enumerate(names):
        if name == MEAN:
            lines.append(r"\midrule")
        lines.append(f"{escaped(name)} & {' & '.join(column[i] for column in shown)} \\\\")
    lines.append(r"\bottomrule")
    wide = f"\\multicolumn{{{1 + len(sides)}}}{{p{{0.9\\linewidth}}}}"
    lines += [f"{wide}{{\\footnotesize {escaped(note)}}} \\\\" for note in _notes(built)]
    return "\n".join([*lines, r"\end{tabular}"])


def _layout(built: Table, metrics: Sequence[str]) -> tuple[str, list[str], list[_Column]]:
    """The corner, the names of the lines, and the columns."""
    spec, cells = built.spec, built.cells
    if spec.lines == "settings":
        names = [starred(built, row.label) for row in spec.rows]
        return (
            spec.varies,
            names,
            [
                _Column(MEASURES[m].title, [cells.get((row.label, m, MEAN)) for row in spec.rows])
                for m in metrics
            ],
        )
    corner = "category" if len(metrics) > 1 else MEASURES[metrics[0]].title
    names = [*spec.categories, MEAN]
    return (
        corner,
        names,
        [
            _Column(title_of(built, metrics, label, m), [cells[label, m, c] for c in names])
            for label, m in columns_of(built, metrics)
        ],
    )


def _best(built: Table, columns: list[_Column]) -> set[tuple[str, str, str]]:
    """Row, metric and category of the best numbers among those that stand to be compared.

    Means over different categories do not: an easy category that a row lacks would decide.
    """
    rivals: dict[tuple[str, str], list[Cell]] = {}
    for column in columns:
        for cell in column.cells:
            if cell and cell.measured:
                rivals.setdefault((cell.metric, cell.category), []).append(cell)
    best = set()
    for (metric, _), cells in rivals.items():
        if len({frozenset(c.members) for c in cells}) > 1:
            continue
        shown = {c: round(c.measured.mean, MEASURES[metric].digits) for c in cells if c.measured}
        top = (max if MEASURES[metric].higher else min)(shown.values())
        winners = [c for c, value in shown.items() if value == top]
        if len(winners) < len(shown):
            best |= {(c.row, c.metric, c.category) for c in winners}
    return best


def _text(
    cell: Cell | None, side: str, built: Table, best: set[tuple[str, str, str]]
) -> tuple[str, bool]:
    """What stands in a cell, and whether it is bold."""
    if cell is None:
        return "", False
    if side == "printed":
        return plain(cell.published, cell.metric) or "-", False
    if cell.measured is None:
        return "-", False
    bold = (cell.row, cell.metric, cell.category) in best
    return spread(cell.measured, cell.metric) + dagger(cell, built), bold


def _aligned(texts: list[tuple[str, bool]]) -> list[str]:
    """Numbers padded to the same decimals, so that the digits of a column stand in line."""
    decimals = [len(re.sub(r"\D.*", "", text.partition(".")[2])) for text, _ in texts]
    most = max(decimals, default=0)
    found = []
    for (text, bold), own in zip(texts, decimals, strict=True):
        shown = escaped(text)
        shown = f"\\textbf{{{shown}}}" if bold else shown
        pad = "" if text in ("", "-") else f"\\phantom{{{'.' * (own == 0)}{'0' * (most - own)}}}"
        found.append(shown if most == own else shown + pad)
    return found


def _notes(built: Table) -> list[str]:
    """What its stars, dashes and daggers mean."""
    several = any(c.measured and c.measured.n > 1 for c in built.cells.values())
    spreads = ["± standard deviation over seeds, their number in brackets."] if several else []
    return [
        *(f"* {star}" for star in remarks.stars(built)),
        *remarks.incomplete(built),
        *(f"- {line}" for line in remarks.absences(built)),
        *remarks.means(built),
        *spreads,
    ]
