"""Bars that the numbers of a run must reach, such as ``bars.image_auroc=0.95``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from adbench.errors import AdbenchError
from adbench.results.notes import reason_of
from adbench.results.record import Record
from adbench.results.summary import COLUMNS, NAMES, has_mean, lines, row

PREFIX = "bars."
BARRED = tuple(
    name for name in COLUMNS if has_mean(name) and name not in ("train", "test", "anomalous")
)
"""The columns of a run's CSV that can have a bar, in their units there."""
HIGHER = frozenset((*NAMES, "threshold_tpr"))
"""Those that must reach their bar; the others, such as seconds and bytes, must not exceed it."""

FRACTIONS = frozenset((*NAMES, "threshold_promised", "threshold_fpr", "threshold_tpr"))
"""Those that are at least 0 and at most 1. The others are at least 0."""


@dataclass(frozen=True)
class Bar:
    """What the mean of a column over the categories must reach, or must not exceed."""

    column: str
    limit: float

    def missed(self, records: Sequence[Record]) -> str | None:
        """Why the records of a job do not pass; None where they do.

        A number that was not measured does not pass.
        """
        if not records:
            return f"{self.column}: nothing was measured, so that its bar {self.limit:g} is missed"
        for record in records:
            if row(record)[self.column] is None:
                return (
                    f"{self.column} of {record.category} has no number "
                    f"({reason_of(record, self.column)}), so that its bar {self.limit:g} is missed"
                )
        value = float(lines(records)[-1][self.column])
        higher = self.column in HIGHER
        if value >= self.limit if higher else value <= self.limit:
            return None
        side = "below" if higher else "above"
        over = ", ".join(record.category for record in records)
        return f"{self.column} {value:.6g} is {side} its bar {self.limit:g} (mean over {over})"


def parse(words: Sequence[str]) -> list[Bar]:
    """The bars that words such as ``bars.image_auroc=0.95`` set.

    Raises:
        AdbenchError: There is no such column, no finite number, or one that the column cannot have,
            such as a metric in percent.
    """
    return [_bar(word) for word in words]


def _bar(word: str) -> Bar:
    column, _, text = word.removeprefix(PREFIX).partition("=")
    if column not in BARRED:
        near = get_close_matches(column, BARRED, n=3) or NAMES
        raise AdbenchError(
            f"{word}: there is no number {column!r} that can have a bar; did you mean "
            f"{', '.join(near)}? A run's CSV has these columns: {', '.join(BARRED)}"
        )
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise AdbenchError(f"{word}: a bar is one number, got {text!r}")
    if column in FRACTIONS and not 0 <= limit <= 1:
        such = "0.95" if column in HIGHER else "0.05"
        raise AdbenchError(f"{word}: {column} is a fraction between 0 and 1, such as {such}")
    if limit < 0:
        raise AdbenchError(f"{word}: {column} is never below 0, so that nothing could pass")
    return Bar(column, limit)
