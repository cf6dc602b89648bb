"""The pixels above one threshold beside the ground truth, pooled over a test set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Called(NamedTuple):
    """How many pixels a threshold calls anomalous, and how many it misses."""

    true: int
    """Anomalous ones above it."""
    false: int
    """Normal ones above it."""
    missed: int
    """Anomalous ones that are not above it."""

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.true / (2 * self.true + self.false + self.missed)


def called_pixels(
    masks: Sequence[np.ndarray], maps: Sequence[np.ndarray], threshold: float
) -> Called:
    """Count the pixels above a threshold.

    Args:
        masks: One (h, w) mask per image, true for anomalous pixels.
        maps: Anomaly maps of the same shapes.
        threshold: A pixel above it is called anomalous.
    """
    true = sum(int((m[mask] > threshold).sum()) for mask, m in zip(masks, maps, strict=True))
    above = sum(int((m > threshold).sum()) for m in maps)
    return Called(true, above - true, sum(int(mask.sum()) for mask in masks) - true)
