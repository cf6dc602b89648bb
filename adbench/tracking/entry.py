"""What a tracker of experiments is told of a record: names and values as plain data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbench.results.raw import sha256
from adbench.results.record import Record
from adbench.results.summary import TEXTS, row

_LONGEST = 500
"""Signs of a value; trackers refuse longer ones or cut them. The record's file holds the whole."""


@dataclass(frozen=True)
class Entry:
    """A record as one run of a tracker."""

    id: str
    """Of the record: the run of a tracker is found by it."""
    digest: str
    """Of all that is logged: another one tells that the run must be brought up to date."""
    name: str
    """That of the record's files."""
    parameters: dict[str, str]
    """What was measured: the identity, flattened, such as ``method.settings.k``."""
    metrics: dict[str, float]
    """The columns of the CSV that hold a number here: metrics are fractions, times are seconds."""
    tags: dict[str, str]
    """Presets, weights, versions and where it was measured."""
    file: Path
    """The record."""
    pictures: Sequence[Path]
    """Heat maps of the record, where they are wanted."""
    milliseconds: int
    """When the record was written, since 1970."""


def entry_of(record: Record, file: Path, pictures: Sequence[Path] = ()) -> Entry:
    """What is logged of a record.

    Args:
        record: The record.
        file: Its JSON file.
        pictures: The heat maps that are logged with it.

    Raises:
        OSError: The file cannot be read any more.
    """
    numbers = {n: v for n, v in row(record).items() if n not in TEXTS and v is not None}
    seen = sha256(file.read_bytes()) + "".join(f" {path.name}" for path in pictures)
    return Entry(
        id=record.id,
        digest=sha256(seen.encode()),
        name=record.name,
        parameters=dict(_flat(record.identity)),
        metrics={name: float(value) for name, value in numbers.items()},
        tags=_tags(record),
        file=file,
        pictures=pictures,
        milliseconds=file.stat().st_mtime_ns // 1_000_000,
    )


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings as texts, by dotted names; a list is one leaf."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{place}.{name}" if place else str(name))
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield place, text[:_LONGEST]


def _tags(record: Record) -> dict[str, str]:
    environment, backbone = record.environment, record.identity.get("backbone", {})
    found = {
        "dataset": record.identity["dataset"]["name"],
        "category": record.category,
        **{part: name for part, name in record.labels.items() if part != "dataset"},
        "weights": record.weights.get("setting"),
        "weights_sha256": backbone.get("sha256"),
        "adbench": environment.get("versions", {}).get("adbench"),
        "commit": environment.get("commit"),
        "device": environment.get("device"),
        "processor": environment.get("processor"),
        "date": record.date,
    }
    return {f"adbench.{n}": str(v)[:_LONGEST] for n, v in found.items() if v}
