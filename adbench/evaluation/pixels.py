"""Counting how the pixels of every two images are ordered, exactly, in compiled loops."""

from collections.abc import Sequence

import numpy as np

from adbench.evaluation.checks import check_pixels, require_both
from adbench.evaluation.pairs import PixelPairs
from adbench.kernels import loops
from adbench.system.parallel import workers


def pixel_pairs(
    masks: Sequence[np.ndarray] | np.ndarray, maps: Sequence[np.ndarray] | np.ndarray
) -> PixelPairs:
    """Count the concordant pixel pairs of every two images, exactly.

    Args:
        masks: One (h, w) mask per image, true for anomalous pixels; or (n, h, w).
        maps: Anomaly maps of the same shapes, higher is more anomalous.

    Raises:
        OneClassError: Normal or anomalous pixels are missing.
        AdbenchError: Counts or shapes that differ, maps with NaN or infinity.
    """
    masks, maps = check_pixels(masks, maps)
    positives = np.array([mask.sum() for mask in masks])
    negatives = np.array([mask.size for mask in masks]) - positives
    require_both(int(positives.sum()), sum(mask.size for mask in masks), "pixels")
    scores = np.concatenate([m[mask] for mask, m in zip(masks, maps, strict=True)])
    order = np.argsort(scores)
    values, owner = scores[order], np.repeat(np.arange(len(maps)), positives)[order]
    twice = np.zeros((len(maps), len(maps)), np.int64)

    def count(j: int) -> None:
        loops.add_twice_below(values, owner, np.sort(maps[j][~masks[j]]), twice[j])

    with workers() as each:
        each(count, range(len(maps)))
    return PixelPairs(twice.T / 2, positives.astype(float), negatives.astype(float))
