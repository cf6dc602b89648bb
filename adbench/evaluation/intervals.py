"""How far an image AUROC can be trusted, whether two differ on the same images, and their means.

DeLong's variance (DeLong, DeLong & Clarke-Pearson, Biometrics 1988), from ranks as in Sun & Xu
(IEEE Signal Processing Letters 2014), and Newcombe's score interval (Statistics in Medicine 2006).
Pixel AUROC has its own file, ``jackknife``.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.checks import check_two_classes

MODEL_SHARE = 0.8
"""Least variance of an image AUROC, in that of exponential scores (results/intervals.md)."""


class Interval(NamedTuple):
    """Where the true value lies with the confidence that was chosen."""

    low: float
    high: float


class Difference(NamedTuple):
    """First setting minus second on the same images, its interval, and the two-sided p value."""

    difference: float
    low: float
    high: float
    p: float


class Spread(NamedTuple):
    """Mean of repeats, their standard deviation (n - 1; None for one repeat) and their count."""

    mean: float
    std: float | None
    n: int


def delong(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUROC and DeLong's estimate of its variance, which is NaN where a class has one image only.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.

    Raises:
        AdbenchError: Fewer than two classes, shapes that differ, scores that are NaN or infinite.
    """
    positives, negatives = _placements(labels, scores)
    return _mean(positives, negatives), _variance(positives, negatives)


def auroc_interval(labels: np.ndarray, scores: np.ndarray, level: float = 0.95) -> Interval:
    """Confidence interval of the image AUROC: the values that the measured one is not far from.

    A value is far where the measured one lies more than z standard errors from it. Its variance is
    that of exponential scores with this AUROC (Newcombe 2006, method 5), times a factor. The factor
    takes it to DeLong's at the measured AUROC, but not below ``MODEL_SHARE``, since few misplaced
    images say little about their number. How often the rule holds the true value is in
    results/intervals.md. For a single image in a class see ``without_variance``.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.
        level: Confidence of the interval.

    Raises:
        AdbenchError: What ``delong`` refuses.
    """
    positives, negatives = _placements(labels, scores)
    m, n, auc = len(positives), len(negatives), _mean(positives, negatives)
    if min(m, n) < 2:
        return without_variance(auc, 1, level)
    variance, factor = _variance(positives, negatives), MODEL_SHARE
    if variance > 0:
        factor = max(factor, variance / _exponential_variance(auc, m, n))

    def far(value: float) -> bool:
        error = math.sqrt(factor * _exponential_variance(value, m, n))
        return abs(auc - value) > _z(level) * error

    return Interval(_edge(far, auc, 0.0), _edge(far, auc, 1.0))


def paired_auroc(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, level: float = 0.95
) -> Difference:
    """DeLong's test of the image AUROC of ``a`` minus that of ``b`` on the same images.

    Equal scores differ by 0 exactly, p = 1. Where the difference has no variance otherwise (two
    perfect detectors), the interval and p are those of ``difference_without_variance``.

    Args:
        labels: (n,) true or 1 for anomalous images.
        a: (n,) scores of the first setting.
        b: (n,) scores of the second, of the same images in the same order.
        level: Confidence of the interval.

    Raises:
        AdbenchError: What ``delong`` refuses.
    """
    first, second = _placements(labels, a), _placements(labels, b)
    positives, negatives = first[0] - second[0], first[1] - second[1]
    difference, variance = _mean(positives, negatives), _variance(positives, negatives)
    if np.array_equal(a, b):
        return Difference(0.0, 0.0, 0.0, 1.0)
    if not variance > 0:
        return difference_without_variance(difference, min(len(positives), len(negatives)), level)
    error = math.sqrt(variance)
    low, high = difference - _z(level) * error, difference + _z(level) * error
    return Difference(difference, max(low, -1.0), min(high, 1.0), _two_sided(difference / error))


def mean_difference(differences: Sequence[Difference], level: float = 0.95) -> Difference:
    """Mean over categories, which share no image, from the differences and intervals of each alone.

    The squared distances to the lower limits add, and those to the upper ones, so that lopsided
    intervals stay lopsided (MOVER: Zou & Donner, Statistics in Medicine 2008). p belongs to the
    level at which the interval would end at zero.

    Args:
        differences: One per category, each with an interval of confidence ``level``.
        level: That confidence.

    Raises:
        AdbenchError: No difference given.
    """
    if not differences:
        raise AdbenchError("the mean over categories needs at least one difference; got none")
    n = len(differences)
    mean = fmean(d.difference for d in differences)
    below = math.hypot(*(d.difference - d.low for d in differences)) / n
    above = math.hypot(*(d.high - d.difference for d in differences)) / n
    toward_zero = below if mean > 0 else above
    z = 0.0 if mean == 0 else _z(level) * mean / toward_zero if toward_zero else math.inf
    return Difference(mean, max(mean - below, -1.0), min(mean + above, 1.0), _two_sided(z))


def mean_std(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and count of repeats, such as one value per seed.

    Raises:
        AdbenchError: No value given.
    """
    if not values:
        raise AdbenchError("a mean needs at least one value; got none")
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twice the negatives below each positive, and twice the positives above each negative.

    A tie counts one. Whole numbers, so that a variance of zero is exactly that.
    """
    labels, scores = check_two_classes(labels, scores)
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])
    return _twice_below(negatives, scores[labels]), 2 * len(positives) - _twice_below(
        positives, scores[~labels]
    )


def _twice_below(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(ascending, scores) + np.searchsorted(ascending, scores, "right")


def _mean(positives: np.ndarray, negatives: np.ndarray) -> float:
    return int(positives.sum()) / (2 * len(positives) * len(negatives))


def _variance(positives: np.ndarray, negatives: np.ndarray) -> float:
    m, n = len(positives), len(negatives)
    if min(m, n) < 2:
        return math.nan
    return float(positives.var(ddof=1) / (4 * n * n * m) + negatives.var(ddof=1) / (4 * m * m * n))


def without_variance(auc: float, pairs: int, level: float) -> Interval:
    """Interval from ``pairs`` disjoint pairs of images that all agree (rule of three, exact).

    With an outcome rarer than q = (1 - level)^(1 / pairs) that would happen less often than 1 -
    level: so a share q or more of all pairs comes out that way, and the others either way.
    """
    q = (1 - level) ** (1 / pairs)
    return Interval(auc * q, 1 - (1 - auc) * q)


def difference_without_variance(difference: float, pairs: int, level: float) -> Difference:
    """The same for two settings, with the sign test on the ``pairs``."""
    q = (1 - level) ** (1 / pairs)
    p = 1.0 if difference == 0 else 0.5 ** (pairs - 1)
    return Difference(difference, difference * q - (1 - q), difference * q + (1 - q), p)


def student_quantile(share: float, freedom: float) -> float:
    """Student's quantile: the t below which a share of the distribution lies.

    Args:
        share: In (0, 1).
        freedom: Degrees of freedom above 0, whole or not.
    """
    from scipy.special import stdtrit  # slow to import, and tables need none of it

    return float(stdtrit(freedom, share))


def student_tails(t: float, freedom: float) -> float:
    """The share of Student's distribution that lies at least as far from 0 as ``t``."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def _exponential_variance(auc: float, m: int, n: int) -> float:
    """The variance of the AUROC of m anomalous and n normal scores that are exponential.

    Hanley & McNeil (Radiology 1982), made symmetric in the two classes (Newcombe 2006, method 5).
    """
    spread = (1 - auc) / (2 - auc) + auc / (1 + auc)
    return auc * (1 - auc) * (1 + ((m + n) / 2 - 1) * spread) / (m * n)


def _edge(far: Callable[[float], bool], near: float, end: float) -> float:
    """Where between ``near`` and ``end`` the values begin to be far, by bisection."""
    for _ in range(50):
        middle = (near + end) / 2
        if far(middle):
            end = middle
        else:
            near = middle
    return end if end in (0, 1) else near


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def expit(x: float) -> float:
    """The logistic function, the inverse of the logit."""
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))
