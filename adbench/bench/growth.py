"""How seconds grow: numbers with a range, and what they are at other numbers of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BEYOND = 0.25
"""What the exponent may be off by beyond the numbers of images that were measured."""


@dataclass(frozen=True)
class Estimate:
    """A number with the range in which the measurements leave it."""

    about: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def exactly(cls, value: float) -> "Estimate":
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def between(cls, low: float, high: float) -> "Estimate":
        """A number of which two bounds above 0 are known: about their geometric mean."""
        return cls(math.sqrt(low * high), low, high)

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.about + other.about, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.about * factor, self.low * factor, self.high * factor)

    def times(self, other: "Estimate") -> "Estimate":
        """The product of two numbers, each of which has a range."""
        return Estimate(self.about * other.about, self.low * other.low, self.high * other.high)


NOTHING = Estimate()


def by_images(points: Sequence[tuple[int, float]], images: int, steepest: float = 2.0) -> Estimate:
    """Seconds at a number of images, from those at others, by a power law.

    With two different numbers or more, the exponent is fitted, and the range is that of the points
    about it. With one, the exponent may be anything from 0 to ``steepest``.

    Args:
        points: Images and seconds, at least one pair.
        images: In question.
        steepest: The largest exponent.
    """
    counts = sorted({n for n, _ in points})
    logs = [(math.log(n), math.log(max(s, 1e-9))) for n, s in points]
    if len(counts) == 1:
        ratio = images / counts[0]
        grown = Estimate.between(*sorted((1.0, ratio**steepest)))
        return _around(logs, 0.0, 0.0).times(grown)
    x, y = (sum(axis) / len(logs) for axis in zip(*logs, strict=True))
    spread = sum((a - x) ** 2 for a, _ in logs)
    slope = sum((a - x) * (b - y) for a, b in logs) / spread
    slope = min(max(slope, 0.0), steepest)
    seconds = _around(logs, slope, math.log(images))
    outside = max(images / counts[-1], counts[0] / images, 1.0)
    beyond: float = outside**BEYOND
    return seconds.times(Estimate(1.0, 1 / beyond, beyond))


def by_line(points: Sequence[tuple[int, float]], images: int) -> Estimate:
    """Seconds at a number of images, from those at others, by a start and a time for each image.

    With one number of images nothing tells the start apart, and it is taken for none: the seconds
    are then rather too high for more images.

    Args:
        points: Images and seconds, at least one pair.
        images: In question.
    """
    x, y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((n - x) ** 2 for n, _ in points)
    slope = sum((n - x) * (s - y) for n, s in points) / spread if spread else 0.0
    start = y - slope * x
    if slope <= 0 or start < 0:
        slope, start = y / x, 0.0
    about = start + slope * images
    shares = [s / (start + slope * n) for n, s in points]
    return Estimate(about, about * min(shares), about * max(shares))


def _around(logs: Sequence[tuple[float, float]], slope: float, at: float) -> Estimate:
    """The mean of the points along a slope, and the lowest and highest of them."""
    moved = [b + slope * (at - a) for a, b in logs]
    ends = (sum(moved) / len(moved), min(moved), max(moved))
    return Estimate(*(math.exp(value) for value in ends))
