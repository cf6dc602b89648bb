"""Intervals of records computed anew from the raw files beside them, after a rule has changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from adbench.evaluation.metrics import METRICS
from adbench.results import raw
from adbench.results.record import Record
from adbench.results.records import load_all, load_pixels, load_scores, update


def renew_intervals(folder: Path, say: Callable[[str], None]) -> int:
    """Give every record of a folder the intervals that this version computes.

    A record whose intervals stay the same to 6 places is not written.

    Args:
        folder: The folder of records.
        say: Is told the name of each record that changes.

    Returns:
        How many changed.

    Raises:
        AdbenchError: There is no record, one of them or of their raw files cannot be trusted, or
            the folder cannot be written.
    """
    count = 0
    for record in load_all(folder):
        intervals = record.intervals | _intervals(folder, record)
        if intervals != record.intervals:
            update(folder, record, replace(record, intervals=intervals))
            say(f"{record.name}.json")
            count += 1
    return count


def _intervals(folder: Path, record: Record) -> dict[str, list[float] | None]:
    """Those that the record has, with the 6 places that a record keeps."""
    found: dict[str, list[float] | None] = {}
    for metric in METRICS:
        if metric.noise is None or record.intervals.get(metric.name) is None:
            continue
        if metric.level == "image":
            ends = metric.noise.interval(*raw.arrays(load_scores(folder, record)))
        else:
            ends = metric.noise.interval(load_pixels(folder, record))
        found[metric.name] = [round(end, 6) for end in ends]
    return found
