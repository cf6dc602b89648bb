"""How far a pixel AUROC can be trusted: a bootstrap over images.

The pixels of one image depend on each other, so that images are drawn, not pixels.
"""

from dataclasses import dataclass

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.intervals import (
    Difference,
    Interval,
    difference_without_variance,
    without_variance,
)


@dataclass(frozen=True)
class PixelPairs:
    """How the pixels of a test set are ordered, image by image.

    The AUROC of pooled pixels is a ratio of sums over pairs of images. So these counts are enough
    for the AUROC of any reweighting of the images, and a bootstrap needs no maps.
    """

    concordant: np.ndarray
    """(n, n) float64: of the pairs of an anomalous pixel of image i and a normal one of image j,
    those in the right order; a tie is half a pair."""
    positives: np.ndarray
    """(n,) float64 anomalous pixels of each image."""
    negatives: np.ndarray
    """(n,) float64 normal pixels of each image."""

    def auroc(self, weights: np.ndarray | None = None) -> float:
        """Pixel AUROC with each image counted ``weights`` (n,) times; once where None."""
        return float(
            self.aurocs(np.ones((1, len(self.positives))) if weights is None else weights[None])[0]
        )

    def aurocs(self, weights: np.ndarray) -> np.ndarray:
        """Pixel AUROCs (r,) of the rows of ``weights`` (r, n)."""
        concordant = ((weights @ self.concordant) * weights).sum(axis=1)
        return np.asarray(concordant / ((weights @ self.positives) * (weights @ self.negatives)))


def bootstrap_interval(
    pairs: PixelPairs, replicates: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile interval of the pixel AUROC from images drawn again and again.

    Anomalous and normal images are drawn apart. With one anomalous image, or where no replicate
    differs, see ``without_variance``.
    """
    values = pairs.aurocs(_draws(pairs.positives > 0, replicates, seed))
    anomalous = int((pairs.positives > 0).sum())
    if anomalous < 2 or np.ptp(values) == 0:
        return without_variance(pairs.auroc(), anomalous, level)
    return _percentiles(values, level)


def paired_bootstrap(
    a: PixelPairs, b: PixelPairs, replicates: int = 2000, seed: int = 0, level: float = 0.95
) -> Difference:
    """Pixel AUROC of ``a`` minus that of ``b`` on the same images.

    Both are measured on the same draws. p is twice the share of replicates on the other side of
    zero, one of them always the measured set itself, so it is never below 2 / (replicates + 1).
    Equal maps differ by 0 exactly, p = 1.

    Raises:
        AdbenchError: The two do not have the same anomalous images in the same order.
    """
    if not np.array_equal(a.positives > 0, b.positives > 0):
        raise AdbenchError(
            "a paired comparison needs the same images in the same order; got "
            f"{len(a.positives)} images, {(a.positives > 0).sum()} anomalous, and "
            f"{len(b.positives)}, {(b.positives > 0).sum()} anomalous"
        )
    difference = a.auroc() - b.auroc()
    if np.array_equal(a.concordant, b.concordant):
        return Difference(difference, 0.0, 0.0, 1.0)
    anomalous = int((a.positives > 0).sum())
    draws = _draws(a.positives > 0, replicates, seed)
    values = a.aurocs(draws) - b.aurocs(draws)
    if anomalous < 2 or np.ptp(values) == 0:
        return difference_without_variance(difference, anomalous, level)
    tail = 1 + min(int((values <= 0).sum()), int((values >= 0).sum()))
    return Difference(
        difference, *_percentiles(values, level), min(1.0, 2 * tail / (replicates + 1))
    )


def _draws(anomalous: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """(replicates, n) how often each image is drawn; the size of each class is kept."""
    random = np.random.default_rng(seed)
    weights = np.zeros((replicates, len(anomalous)))
    for stratum in (np.flatnonzero(anomalous), np.flatnonzero(~anomalous)):
        if len(stratum):
            weights[:, stratum] = random.multinomial(
                len(stratum), np.full(len(stratum), 1 / len(stratum)), replicates
            )
    return weights


def _percentiles(values: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
