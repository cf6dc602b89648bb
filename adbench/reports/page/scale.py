"""The axes of a chart: from values to places, and the round values that are named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adbench.reports.marks import DECADES

TICKS = 5
"""About so many values are named."""
APART = 26
"""Units between two named values, at least, where those of the data are named."""


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and the values that it must hold."""

    title: str
    values: Sequence[float]
    ends: tuple[float, float] | None = None
    """Fixed ends; those of the values where None."""
    name_each: bool = False
    """Whether the values themselves are named, where they are few."""
    span: float = 0.0
    """The axis is at least this long, so that nothing looks larger than it is."""

    @property
    def is_log(self) -> bool:
        """Whether the values span decades."""
        low, high = min(self.values), max(self.values)
        return self.ends is None and low > 0 and high >= DECADES * low


class Scale:
    """From values to places along one side of a panel.

    Args:
        axis: What it shows.
        start: The place of its low end.
        end: That of its high end.
    """

    def __init__(self, axis: Axis, start: float, end: float) -> None:
        self.axis, self.start, self.end = axis, start, end
        low, high = axis.ends or (min(axis.values), max(axis.values))
        self._log = axis.is_log
        low, high = (math.log(low), math.log(high)) if self._log else (low, high)
        room = 0.0 if axis.ends else 0.06 * (high - low) or 0.5 * abs(high) or 1.0
        room = max(room, (axis.span - (high - low)) / 2)
        self.low, self.high = low - room, high + room

    def __call__(self, value: float) -> float:
        """The place of a value."""
        value = math.log(value) if self._log else value
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def _apart(self, values: Sequence[float]) -> list[float]:
        """The values without those that lie too near to the one before."""
        kept = list(values[:1])
        for value in values[1:]:
            if abs(self(value) - self(kept[-1])) >= APART:
                kept.append(value)
        return kept

    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside the axis, with their texts."""
        each = sorted(set(self.axis.values))
        if self.axis.name_each and len(each) <= TICKS + 2:
            return [(value, f"{value:g}") for value in self._apart(each)]
        if self._log:
            found = _round_logarithms(math.exp(self.low), math.exp(self.high))
        else:
            found = _round_values(self.low, self.high)
        return [(value, f"{value:g}") for value in found]


def _round_values(low: float, high: float) -> list[float]:
    """About ``TICKS`` multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _round_logarithms(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [s * 10.0**p for p in powers for s in (1, 2, 5)]
    found = [value for value in every if low <= value <= high]
    return found if len(found) <= TICKS + 3 else found[:: math.ceil(len(found) / TICKS)]
