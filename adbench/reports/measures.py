"""The columns that a published table, a claim or a figure can have, read from records."""

from collections.abc import Callable
from dataclasses import dataclass

from adbench.evaluation.metrics import METRICS
from adbench.results.records import Record


@dataclass(frozen=True)
class Measure:
    """A column: how its number is read from a record."""

    title: str
    digits: int
    of: Callable[[Record], float | None]
    reason: str
    """Where a record says why it has no such number."""
    accuracy: bool = False
    """In percent, with a band; it depends on the values of the weights, unlike times and sizes."""
    versus: Callable[[float, float], float] | None = None
    """Makes of the row's and its rival's ``of`` the number that is shown."""
    higher: bool = True
    """Whether a larger number is the better one."""


def _percent(metric: str) -> Callable[[Record], float | None]:
    def read(record: Record) -> float | None:
        value = record.metrics.get(metric)
        return None if value is None else 100 * value

    return read


def _seconds(stage: str) -> Callable[[Record], float | None]:
    return lambda record: record.time.get(stage, {}).get("p50")


def _state(record: Record) -> float | None:
    size = record.memory.get("state")
    return None if size is None else size / 1e6


MEASURES = {
    **{
        m.name: Measure(f"{m.title}, %", 2, _percent(m.name), m.name, accuracy=True)
        for m in METRICS
    },
    "inference_time_s": Measure("s/image", 4, _seconds("total"), "time", higher=False),
    "score_time_s": Measure("score, s/image", 4, _seconds("score"), "time", higher=False),
    "distance_time_s": Measure("distance, s/image", 5, _seconds("distance"), "time", higher=False),
    "state_mb": Measure("state, MB", 1, _state, "memory.state", higher=False),
    "distance_speedup_x": Measure(
        "distance, times faster",
        2,
        _seconds("distance"),
        "time",
        versus=lambda own, other: other / own,
    ),
    "memory_saved_percent": Measure(
        "memory saved, %",
        1,
        _state,
        "memory.state",
        versus=lambda own, other: 100 * (1 - own / other),
    ),
}
"""Every column by name; times are medians of one image at a time."""
