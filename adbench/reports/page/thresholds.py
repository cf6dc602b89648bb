"""What the threshold of each record promises, and what it gives on the test images."""

from collections.abc import Sequence

from adbench.reports.page.subjects import Subject
from adbench.reports.repeats import seed
from adbench.results import thresholds
from adbench.results.notes import random_weights
from adbench.results.record import Record

HEAD = [
    *("category", "setting", "threshold from", "false alarms promised", "false alarms given"),
    "defects found",
]


def threshold_lines(settings: Sequence[Subject]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a table: a line for each record with a threshold.

    Args:
        settings: Of ``subjects``.
    """
    lines = [
        [f"{subject.dataset}: {category}", _name(subject, record), *thresholds.line(record)[2:]]
        for subject in settings
        for category, records in subject.found.items()
        for record in records
        if record.threshold.get("value") is not None and not random_weights(record)
    ]
    return HEAD, sorted(lines, key=lambda line: line[0])


def _name(subject: Subject, record: Record) -> str:
    several = len(subject.found[record.category]) > 1
    return f"{subject.name}, seed {seed(record)}" if several else subject.name
