"""How far a pixel AUROC can be trusted: a jackknife over images.

The pixels of one image depend on each other, so that images are left out, not pixels (as in
Obuchowski, Biometrics 1997). How the rule was chosen, and how often it holds the true value, is in
results/intervals.md.
"""

import math

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.intervals import (
    Difference,
    Interval,
    difference_without_variance,
    expit,
    student_quantile,
    student_tails,
    without_variance,
)
from adbench.evaluation.pairs import PixelPairs


def pixel_auroc_interval(pairs: PixelPairs, level: float = 0.95) -> Interval:
    """Confidence interval of the pixel AUROC for the draw of test images.

    The jackknife leaves out one image at a time, anomalous and normal images apart, and works on
    the logit of the AUROC. A few large defects weigh more than many small ones, so the defects
    count as m' = (sum of sizes)^2 / (sum of squared sizes) images, at most as many as there are
    (Kish, Survey Sampling, 1965). Student's t has m' degrees of freedom. The relative error of
    1 - AUROC is taken to be at least that of m' exponential losses, 1 / sqrt(m'): a sample without
    a badly missed defect does not show that there are none.

    For one anomalous image, and for maps that order every pair alike, see ``without_variance``.

    Args:
        pairs: The counts of the test set.
        level: Confidence of the interval.
    """
    auc, anomalous = pairs.auroc(), pairs.positives > 0
    left = pairs.without_each()
    if anomalous.sum() < 2 or auc in (0, 1) or np.isnan(left[anomalous]).any():
        return without_variance(auc, int(anomalous.sum()), level)
    half_a_pair = 0.5 / (pairs.positives.sum() * pairs.negatives.sum())
    left = np.clip(left, half_a_pair, 1 - half_a_pair)
    effective = _effective(pairs.positives)
    variance = max(_variance(np.log(left / (1 - left)), anomalous), 1 / effective)
    centre = math.log(auc / (1 - auc))
    reach = student_quantile((1 + level) / 2, effective) * math.sqrt(variance)
    return Interval(expit(centre - reach), expit(centre + reach))


def paired_pixel_auroc(a: PixelPairs, b: PixelPairs, level: float = 0.95) -> Difference:
    """Pixel AUROC of ``a`` minus that of ``b`` on the same images, by the same jackknife.

    Every image is left out of both. The interval is symmetric, and p is of the same Student's t.
    Equal maps differ by 0 exactly, p = 1.

    Args:
        a: The counts of the first setting.
        b: The counts of the second on the same images in the same order.
        level: Confidence of the interval.

    Raises:
        AdbenchError: The two do not have the same anomalous images in the same order.
    """
    anomalous = a.positives > 0
    if not np.array_equal(anomalous, b.positives > 0):
        raise AdbenchError(
            "a paired comparison needs the same images in the same order; got "
            f"{len(a.positives)} images, {anomalous.sum()} anomalous, and "
            f"{len(b.positives)}, {(b.positives > 0).sum()} anomalous"
        )
    difference = a.auroc() - b.auroc()
    if np.array_equal(a.concordant, b.concordant):
        return Difference(difference, 0.0, 0.0, 1.0)
    left = a.without_each() - b.without_each()
    variance = math.nan
    if anomalous.sum() > 1 and not np.isnan(left[anomalous]).any():
        variance = _variance(left, anomalous)
    if not variance > 0:
        return difference_without_variance(difference, int(anomalous.sum()), level)
    effective, error = _effective(a.positives), math.sqrt(variance)
    reach = student_quantile((1 + level) / 2, effective) * error
    low, high = max(difference - reach, -1.0), min(difference + reach, 1.0)
    return Difference(difference, low, high, student_tails(difference / error, effective))


def _variance(left: np.ndarray, anomalous: np.ndarray) -> float:
    """The jackknife's variance of a statistic from its values without each image."""
    classes = (left[anomalous], left[~anomalous])
    return sum(float((len(c) - 1) * c.var()) for c in classes if len(c) > 1)


def _effective(positives: np.ndarray) -> float:
    return float(positives.sum() ** 2 / (positives**2).sum())
