"""Whether the scores of new images still lie where those of normal images lay.

How many of the new images are anomalous is unknown, and may be most. So only those are compared
that are not called anomalous, with the normal scores that are not: both end at the threshold. Their
distance is the largest difference of their distribution functions (Kolmogorov, 1933; Smirnov,
1948). It must be larger than chance explains, and large.

Normal scores from folds come from detectors that were fitted on fewer images than the last one, so
that they lie higher: those of CRD with its absolute lambda by half, which alone gives a distance of
0.8. So the distance has to reach ``LOWER`` where the new scores are lower. Where they are higher,
``HIGHER`` is enough, which of normally distributed scores is a shift by 0.9 standard deviations: no
two days are quite alike.
"""

from dataclasses import dataclass

import numpy as np

from adbench.evaluation.checks import check_finite

LEAST = 20
"""Images on either side below which nothing is said."""
CHANCE = 1e-3
"""How often chance alone may give such a distance."""
HIGHER, LOWER = 0.35, 0.9
"""Distances from which on scores have drifted."""
MOST = 0.5
"""The part of all images that may be called anomalous before it is remarked on."""


@dataclass(frozen=True)
class Drift:
    """How scores that are not called anomalous differ from normal ones.

    Attributes:
        distance: The largest difference of the two distribution functions, 0 to 1.
        p: How often chance gives one as large.
        higher: Whether the new scores are higher there.
        at: The score at which they differ by the distance.
        normal: The part of the normal scores that exceed ``at``.
        new: The part of the new scores that exceed it.
        images: How many new scores were compared.
    """

    distance: float
    p: float
    higher: bool
    at: float
    normal: float
    new: float
    images: int

    @property
    def drifted(self) -> bool:
        """Whether that is more than chance explains, and far."""
        return self.p < CHANCE and self.distance >= (HIGHER if self.higher else LOWER)

    def in_words(self) -> str:
        """In which direction, how far, and what to do."""
        direction = "higher" if self.higher else "lower"
        advice = (
            "the camera, the light or the part may have changed; look at some of these images, and "
            "fit again with them if they are good"
            if self.higher
            else "the threshold is then too high, and defects may be missed; fit again, unless "
            "these images are those that the detector was fitted on"
        )
        return (
            f"scores have drifted: those of the {self.images} images that are called normal are "
            f"{direction} than the normal scores in the file: {self.new:.0%} of them exceed "
            f"{self.at:.4g}, and {self.normal:.0%} of the normal ones did; {advice}"
        )


def drift(normal: np.ndarray, scores: np.ndarray, threshold: float) -> Drift | None:
    """Compare scores with those of normal images.

    Args:
        normal: (n,) scores of normal images that the detector had not seen.
        scores: (m,) scores of new images, anomalous ones among them.
        threshold: Images whose score exceeds it are called anomalous.

    Returns:
        None where there are fewer than ``LEAST`` scores of either kind, or all new ones are called
        anomalous.

    Raises:
        AdbenchError: Scores that are not finite.
    """
    known, new = (_not_above(threshold, values) for values in (normal, scores))
    if min(len(normal), len(scores)) < LEAST or not len(known) or not len(new):
        return None
    from scipy.stats import ks_2samp  # slow to load

    found = ks_2samp(known, new, method="asymp")
    at = float(found.statistic_location)
    return Drift(
        distance=float(found.statistic),
        p=float(found.pvalue),
        higher=bool(found.statistic_sign > 0),  # fewer of the new scores lie at or below it
        at=at,
        normal=float((known > at).mean()),
        new=float((new > at).mean()),
        images=len(new),
    )


def mostly_anomalous(anomalous: int, images: int) -> str | None:
    """What is to be said where most images are called anomalous; None where they are not.

    Args:
        anomalous: How many are.
        images: Of how many.
    """
    if images < LEAST or anomalous <= MOST * images:
        return None
    return (
        f"{anomalous} of {images} images are called anomalous; if most of them are good, the "
        "camera, the light or the part has changed: fit again with images of today"
    )


def _not_above(threshold: float, scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    check_finite(scores, "scores")
    kept: np.ndarray = scores[scores <= threshold]
    return kept
