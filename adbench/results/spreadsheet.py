"""Text in CSV files that spreadsheets open (OWASP, "CSV Injection")."""

import csv
import re
from collections.abc import Iterable

_BREAK = re.compile("[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
"""Where ``str.splitlines`` ends a line."""
_FORMULA = ("=", "+", "-", "@", "\t")


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula; numbers stay as they are.

    Where it begins with ``=``, ``+``, ``-``, ``@`` or a tab and is no number, an apostrophe stands
    before it. Line breaks of all kinds, such as U+2028, become spaces.
    """
    text = _BREAK.sub(" ", text)
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV whose lines end in a line feed.

    Cells with a carriage return are quoted, which ``csv`` alone does only where lines end in one.
    """
    lines = _Lines()
    csv.writer(lines, lineterminator=_Lines.END).writerows(rows)
    return "".join(line.removesuffix(_Lines.END) + "\n" for line in lines.written)


class _Lines:
    """Takes what ``csv`` writes, line by line."""

    END = "\r\n"

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line)
