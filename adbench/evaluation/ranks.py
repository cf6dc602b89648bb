"""How anomalous scores lie among normal ones: one sort, from which every metric follows.

Each metric depends only on how many normal scores lie above, at and below each distinct anomalous
score. Equal scores cross a threshold together: a tied group is one straight segment of the ROC and
PRO curves (the trapezoid) and one step of average precision.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.checks import (
    UndefinedError,
    check_pixels,
    check_two_classes,
    require_both,
)
from adbench.evaluation.normal_images import HIGHEST_RATE, false_positive_rates
from adbench.evaluation.segmentation import Called, called_pixels
from adbench.system import parallel

LOWEST_RATE = 1e-5
"""Where AUPIMO begins to average over the false positive rate."""
NO_THRESHOLD = "no pixel threshold from normal images; threshold=folds makes one"
"""Why there is no F1 at one."""
SERIAL = 2**18
"""Scores up to which one thread sorts them all."""


@dataclass(frozen=True)
class Ranks:
    """The k distinct scores of p anomalous images or pixels among the scores of n normal ones."""

    values: np.ndarray
    """(k,) the distinct anomalous scores, ascending."""
    counts: np.ndarray
    """(k,) how many anomalous ones have each of these scores."""
    below: np.ndarray
    """(k,) normal ones with a lower score."""
    level: np.ndarray
    """(k,) normal ones with the same score."""
    index: np.ndarray
    """(p,) the place of each anomalous one in ``values``."""
    n: int
    """How many normal ones there are."""
    regions: np.ndarray | None = None
    """(p,) the number of the anomalous region of each pixel, from 0; None for images."""
    images: np.ndarray | None = None
    """(r,) the image that each region belongs to; None for images."""
    rates: np.ndarray | None = None
    """(k,) the false positive rate of each value on normal images alone, as
    ``adbench.evaluation.normal_images`` gives it; None without normal images."""
    called: Called | None = None
    """Pixels above a threshold from normal images; None without one."""

    @property
    def p(self) -> int:
        """How many anomalous ones there are."""
        return len(self.index)

    @property
    def true(self) -> np.ndarray:
        """(k,) anomalous ones at or above each value: the true positives of that threshold."""
        return np.cumsum(self.counts[::-1])[::-1]

    @property
    def false(self) -> np.ndarray:
        """(k,) normal ones at or above each value: the false positives of that threshold."""
        return self.n - self.below

    def auroc(self) -> float:
        """The chance that an anomalous score exceeds a normal one; a tie counts half."""
        twice = int((self.counts * (2 * self.below + self.level)).sum())
        return twice / (2 * self.p * self.n)

    def average_precision(self) -> float:
        """Precision at every threshold, weighted by the recall gained there, as in scikit-learn."""
        return float((self.counts * (self.true / (self.true + self.false))).sum() / self.p)

    def f1_max(self) -> tuple[float, float]:
        """The largest F1, and the highest threshold that reaches it (score >= threshold)."""
        # Between two anomalous scores F1 only falls, so those alone are candidates.
        f1 = 2 * self.true / (self.true + self.false + self.p)
        best = len(f1) - 1 - int(f1[::-1].argmax())
        return float(f1[best]), float(self.values[best])

    def region_overlap(self, limit: float = 0.3) -> float:
        """AUPRO (Bergmann et al., CVPR 2020, section 4.1).

        The area under the mean overlap of the 8-connected anomalous regions over the false positive
        rate of the normal pixels of all images, up to ``limit`` and divided by it. The last segment
        is interpolated at ``limit``; the value lies in [0, 1].

        Args:
            limit: False positive rate at which the area ends, in (0, 1].

        Raises:
            AdbenchError: A limit outside (0, 1], or ranks without regions.
        """
        if not 0 < limit <= 1:
            raise AdbenchError(f"limit is a false positive rate in (0, 1]; got {limit}")
        regions, _ = self._regions()
        # A pixel joins its region's overlap while the false positives grow from those above its
        # score to those at or above it: a ramp, or a step where no normal pixel is tied. The area
        # under the mean is the mean of the areas.
        last = limit * self.n  # false positives at the limit
        before = self.false - self.level
        climb = np.maximum(np.minimum(self.false, last) - before, 0) ** 2
        ramp = climb / (2 * np.maximum(self.level, 1))
        area = (ramp + np.maximum(last - self.false, 0)) / last  # (k,)
        return _mean_of_means(area[self.index], regions)

    def image_overlap(self, low: float = LOWEST_RATE, high: float = HIGHEST_RATE) -> float:
        """AUPIMO (Bertoldo et al., BMVC 2024, arXiv 2401.01984, section 3).

        The share of the anomalous pixels of an image at or above a threshold, averaged over the
        logarithm of the threshold's false positive rate from ``low`` to ``high``, and then over the
        images that have such pixels. That rate is the mean over the normal images of their share of
        pixels at or above the threshold. A pixel tied with normal ones is found from the rate on
        that counts all of these.

        Args:
            low: Where the average begins, above 0.
            high: Where it ends, above ``low`` and at most ``HIGHEST_RATE``.

        Raises:
            UndefinedError: No image is normal.
            AdbenchError: Other bounds, or ranks without regions.
        """
        if not 0 < low < high <= HIGHEST_RATE:
            raise AdbenchError(f"rates ascend from above 0 to {HIGHEST_RATE}; got {low} to {high}")
        regions, images = self._regions()
        if self.rates is None:
            raise UndefinedError("normal test images are needed; every image has a marked pixel")
        # A pixel is found at all rates from that of its own score on.
        begins = np.log(np.clip(self.rates, low, high))
        found = (math.log(high) - begins) / (math.log(high) - math.log(low))  # (k,)
        return _mean_of_means(found[self.index], images[regions])

    def f1_at_threshold(self) -> float:
        """F1 of the pixels at a threshold that came from normal images (score > threshold).

        SegF1 of MVTec AD 2 (Heckler-Kram et al., arXiv 2503.21622): all pixels of the test set
        count together. There the threshold is free as long as normal images alone give it.

        Raises:
            UndefinedError: There is no threshold.
        """
        if self.called is None:
            raise UndefinedError(NO_THRESHOLD)
        return self.called.f1

    def _regions(self) -> tuple[np.ndarray, np.ndarray]:
        """The region of each pixel and the image of each region."""
        if self.regions is None or self.images is None:
            raise AdbenchError("the overlap of regions is defined for pixels, not for images")
        return self.regions, self.images


def image_ranks(labels: np.ndarray, scores: np.ndarray) -> Ranks:
    """Ranks of one score per image.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.

    Raises:
        OneClassError: Normal or anomalous images are missing.
        AdbenchError: Shapes that differ, labels other than 0 and 1, scores that are NaN or
            infinite.
    """
    labels, scores = check_two_classes(labels, scores)
    return _ranks(scores[labels], scores.copy(), None)


def pixel_ranks(
    masks: Sequence[np.ndarray] | np.ndarray,
    maps: Sequence[np.ndarray] | np.ndarray,
    threshold: float | None = None,
) -> Ranks:
    """Ranks of the pooled pixels of a test set, from one sort of one copy of the maps.

    Args:
        masks: One (h, w) mask per image, true for anomalous pixels; or (n, h, w).
        maps: Anomaly maps of the same shapes, higher is more anomalous.
        threshold: From normal images: a pixel above it is called anomalous.

    Raises:
        OneClassError: Normal or anomalous pixels are missing.
        AdbenchError: Counts or shapes that differ, maps with NaN or infinity.
    """
    masks, maps = check_pixels(masks, maps)
    everything = np.concatenate([m.ravel() for m in maps])
    scores, regions, images = _anomalous(masks, maps)
    require_both(len(scores), len(everything), "pixels")
    marked = set(images.tolist())
    normal = [m for place, m in enumerate(maps) if place not in marked]
    called = None if threshold is None else called_pixels(masks, maps, threshold)
    ranks = _ranks(scores, everything, regions)
    rates = false_positive_rates(ranks.values, normal) if normal else None
    return replace(ranks, images=images, rates=rates, called=called)


def _mean_of_means(values: np.ndarray, groups: np.ndarray) -> float:
    """The mean over the groups, numbered from 0, of the means of their values; no group is empty.

    Numbers that do not occur are no groups.
    """
    sizes = np.bincount(groups)
    present = sizes > 0
    return float((np.bincount(groups, weights=values)[present] / sizes[present]).mean())


def _ranks(positives: np.ndarray, everything: np.ndarray, regions: np.ndarray | None) -> Ranks:
    """From the scores of the positives and those of all; sorts ``everything`` in place.

    All scores are sorted, not the negatives alone: gathering those costs more than sorting the few
    others too.
    """
    values, index, counts = np.unique(positives, return_inverse=True, return_counts=True)

    def bounds(part: np.ndarray) -> np.ndarray:
        part.sort()
        return _bounds(part, values)

    # Places among all are sums of places in parts, so that no thread waits for a merge.
    if len(everything) > SERIAL:
        with parallel.workers() as each:
            start, end = sum(each(bounds, np.array_split(everything, parallel.threads())))
    else:
        start, end = bounds(everything)
    below = start - (np.cumsum(counts) - counts)
    level = end - start - counts
    return Ranks(values, counts, below, level, index, len(everything) - len(positives), regions)


def _bounds(everything: np.ndarray, values: np.ndarray, strip: int = 4096) -> np.ndarray:
    """(2, k) where each of the ascending ``values`` starts and ends in the sorted ``everything``.

    Strip by strip: two searches through the part that can hold a strip's values stay in the
    processor's cache, 2.3 times faster.
    """
    edges = np.append(np.searchsorted(everything, values[::strip]), len(everything))
    places = np.empty((2, len(values)), np.int64)
    start, end = places
    for i, (low, high) in enumerate(pairwise(edges)):
        part = slice(i * strip, (i + 1) * strip)
        start[part] = low + everything[low:high].searchsorted(values[part])
        end[part] = low + everything[low:high].searchsorted(values[part], "right")
    return places


def _anomalous(
    masks: list[np.ndarray], maps: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of all anomalous pixels, the region of each, and the image of each region."""
    from scipy.ndimage import label  # slow to import, and not needed where images alone are ranked

    eight_connected = np.ones((3, 3), int)
    scores, regions, count = [maps[0].ravel()[:0]], [np.zeros(0, np.int32)], 0
    images = []
    for place, (mask, anomaly) in enumerate(zip(masks, maps, strict=True)):
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            continue
        columns = np.flatnonzero(mask.any(axis=0))
        # Labelling is the slow part, so only the box around the defects is labelled.
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        numbers, found = label(mask[box], eight_connected)
        scores.append(anomaly[box][mask[box]])
        regions.append(numbers[mask[box]] + (count - 1))
        images += [place] * found
        count += found
    return np.concatenate(scores), np.concatenate(regions), np.array(images, np.int64)
