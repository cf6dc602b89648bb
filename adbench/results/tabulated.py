"""Tables of text in which a row stays one row and a cell one cell, whatever names hold."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from adbench.system.printable import in_line


def screen_table(
    rows: Iterable[Iterable[object]], heads: Sequence[str], align: Sequence[str] | None = None
) -> str:
    """A table for a terminal.

    Args:
        rows: The cells of each line.
        heads: Of the columns.
        align: ``left`` or ``right`` for the first columns; the others are aligned right.
    """
    return tabulate(
        _cells(rows),
        [in_line(head) for head in heads],
        stralign="right",
        colalign=align,
        disable_numparse=True,
    )


def markdown_table(rows: Iterable[Iterable[object]], heads: Sequence[str]) -> str:
    """A table in Markdown, as GitHub reads it; a bar in a name divides no cell."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in _cells([heads, *rows])]
    return tabulate(cells[1:], cells[0], "github", disable_numparse=True)


def _cells(rows: Iterable[Iterable[object]]) -> list[list[str]]:
    return [[in_line(str(cell)) for cell in row] for row in rows]
