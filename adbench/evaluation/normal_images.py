"""False positive rates on normal images alone, the horizontal axis of AUPIMO (arXiv 2401.01984)."""

from collections.abc import Sequence

import numpy as np

from adbench.system import parallel

HIGHEST_RATE = 1e-4
"""Above this false positive rate nothing is told apart: AUPIMO ends here."""


def false_positive_rates(values: np.ndarray, maps: Sequence[np.ndarray]) -> np.ndarray:
    """For each value, the mean over normal images of their share of pixels at or above it.

    Only the highest pixels of each image are sorted, which are few.

    Args:
        values: (k,) thresholds, ascending.
        maps: Anomaly maps (h, w) of at least one normal image.

    Returns:
        (k,) float64 rates; those above ``HIGHEST_RATE`` are only known to be at least that.
    """

    def highest(anomaly: np.ndarray) -> np.ndarray:
        # so many that a rate which they all belong to is HIGHEST_RATE or more by this image alone
        count = min(anomaly.size, int(HIGHEST_RATE * len(maps) * anomaly.size) + 1)
        first = anomaly.size - count
        return np.partition(anomaly, first, axis=None)[first:]

    with parallel.workers() as each:
        tops = each(highest, maps)
    shares = np.repeat([1 / (len(maps) * m.size) for m in maps], [len(top) for top in tops])
    scores = np.concatenate(tops)
    order = np.argsort(scores)
    above = np.append(np.cumsum(shares[order][::-1])[::-1], 0.0)  # from each place on
    scores = scores[order]
    rates, first = np.full(len(values), above[0]), int(np.searchsorted(values, scores[0]))
    rates[first:] = above[np.searchsorted(scores, values[first:])]
    return rates
