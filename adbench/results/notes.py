"""What must be said below a table of measured numbers: why some are missing or mean nothing."""

from collections.abc import Iterable, Mapping, Sequence

from adbench.evaluation.metrics import METRICS
from adbench.results.record import Record
from adbench.system.printable import in_line

RANDOM = (
    "* random weights: the backbone was never trained, so that the accuracies say nothing about "
    "the method"
)
_METRICS = frozenset(metric.name for metric in METRICS)


def random_weights(record: Record) -> bool:
    """Whether the backbone was never trained, so that times mean something and accuracies not."""
    return record.weights.get("setting") == "random"


def starred(record: Record, column: str, text: str) -> str:
    """The text of a number, with a star where it is an accuracy with random weights."""
    return f"{text}*" if text != "-" and column in _METRICS and random_weights(record) else text


def reason_of(record: Record, column: str) -> str:
    """Why a column of a run's CSV has no number in a record."""
    name, _, kind = column.rpartition("_")
    places = {"p50": "time", "p95": "time", "seconds": f"seconds.{name}", "bytes": f"memory.{name}"}
    place = "threshold" if column.startswith("threshold") else places.get(kind, column)
    if column == "folds_seconds":  # a record has them with its folds
        place = "folds.seconds"
    return record.reasons.get(place, "the record does not hold it")


def below(
    records: Sequence[Record], lines: Sequence[Mapping[str, object]], titles: Mapping[str, str]
) -> list[str]:
    """The notes of a table.

    Args:
        records: Those of the table.
        lines: Their columns, such as ``adbench.results.summary.row`` gives; as many.
        titles: Title by column, of those that are shown.

    Returns:
        A line for each reason why numbers are missing, for each note of a method or of the data,
        and about random weights.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for record, line in zip(records, lines, strict=True):
        for column, title in titles.items():
            if line[column] is None:
                why = reason_of(record, column)
                categories = found.setdefault(why, {}).setdefault(record.category, {})
                categories[title] = None
    notes = []
    for why, by_category in found.items():
        columns = list(dict.fromkeys(title for c in by_category.values() for title in c))
        notes.append(f"- {', '.join(columns)} of {_listed(by_category)}: {why}")
    said: dict[str, dict[str, None]] = {}
    for record in records:
        for note in record.notes:
            said.setdefault(note, {})[record.category] = None
    notes += [f"- {_listed(where)}: {note}" for note, where in said.items()]
    return notes + ([RANDOM] if any(map(random_weights, records)) else [])


def _listed(categories: Iterable[str]) -> str:
    return ", ".join(map(in_line, categories))
