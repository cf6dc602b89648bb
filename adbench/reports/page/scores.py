"""The raw scores of all records of a page, each read once; what cannot be read is told once."""

from collections.abc import Sequence
from pathlib import Path

from adbench.reports.page.subjects import Subject
from adbench.results.raw import ImageScore
from adbench.results.records import RecordError, load_scores

Scores = dict[str, list[ImageScore]]
"""Id of a record -> its scores; a record is missing where its scores cannot be trusted."""


def scores_of(settings: Sequence[Subject], folder: Path) -> tuple[Scores, list[str]]:
    """The scores of every record, and why some are missing.

    Args:
        settings: Of ``subjects``.
        folder: Where the records lie with their raw scores.
    """
    found: Scores = {}
    why = []
    for record in (r for s in settings for records in s.found.values() for r in records):
        try:
            found[record.id] = load_scores(folder, record)
        except RecordError as error:
            why.append(str(error))
    return found, why
