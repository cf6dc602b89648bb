"""The verdict on a measured number beside a printed one: one rule for categories and for means.

Two numbers of the same setting differ for reasons that all categories share, such as the release of
the weights or of a library, and for reasons of each category's own, such as how its images are
decoded and which patches a coreset draws. Only the latter average out, so that the band of a mean
over n categories is the square root of s² + (r₁² + ... + rₙ²) / n².
"""

import math
from collections.abc import Sequence
from typing import Literal

from adbench.evaluation.intervals import Interval

CATEGORY_BAND = 1.0
"""Points that a reproduction may differ by in one category: printed numbers are rounded to one
decimal or none, and reruns of the public codes differ from their papers by up to this much."""
HARD_BAND = 3.0
"""The same for a category in which public codes and papers differ from each other by that much."""
HARD = frozenset({"pill", "screw", "grid", "toothbrush", "zipper"})
"""These categories of MVTec AD."""
MEAN_BAND, MEAN_OF = 0.4, 15
"""Points that a mean may differ by, over so many categories of which none is hard."""

SHARED = (MEAN_OF * MEAN_BAND**2 - CATEGORY_BAND**2) / (MEAN_OF - 1)
"""s², what all categories share: 0.1, from the bands of one category and of the mean."""

Kind = Literal["within", "inconclusive", "outside"]


def band(categories: Sequence[str]) -> float:
    """Points that the mean over these categories may differ by.

    It is 1 for one category, 3 for a hard one, and 0.4 for 15 of which none is hard.
    """
    own = [(HARD_BAND if c in HARD else CATEGORY_BAND) ** 2 - SHARED for c in categories]
    return math.sqrt(SHARED + sum(own) / len(own) ** 2)


def judged(
    measured: float, published: float, interval: Interval | None, categories: Sequence[str]
) -> Kind:
    """Whether a measured number is a reproduction of the printed one.

    Args:
        measured: In points.
        published: The printed number, in points.
        interval: The 95% interval of the measured one for the draw of test images, where known.
        categories: Those that the number is the mean over.

    Returns:
        ``within`` the band; ``inconclusive`` outside the band, but with the printed number in the
        interval, so that this many images cannot tell; or ``outside``.
    """
    if abs(measured - published) <= band(categories) + 1e-9:
        return "within"
    known = interval is not None and interval.low - 1e-9 <= published <= interval.high + 1e-9
    return "inconclusive" if known else "outside"
