"""Thresholds that need no anomalous image, what they promise, and the rates that they give.

The threshold for a false alarm rate alpha is the split-conformal quantile of scores of normal
images that the detector has not seen (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, 2005; Lei et al., JASA 113, 2018). With n such scores it is the r-th smallest of them, where
r = ceil((1 - alpha)(n + 1)). A new normal image exceeds it with a probability that depends on which
n images were drawn: it is distributed as Beta(n + 1 - r, r), whose mean is at most alpha.

Where the scores come from folds, each was given by a detector that was fitted on fewer images than
the last one. Such detectors tend to give higher scores, so that the last one raises fewer false
alarms than is said here (Barber et al., Annals of Statistics 49, 2021, give the bounds).
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from adbench.errors import AdbenchError
from adbench.evaluation.checks import check_finite, check_images

TAIL = 0.025
"""Probability beyond either end of an interval."""


class Rate(NamedTuple):
    """A share of images, with its exact 95% interval (Clopper and Pearson, Biometrika 26, 1934)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Promise:
    """What a threshold for a false alarm rate ``alpha`` promises.

    Attributes:
        alpha: The false alarm rate that is to be kept.
        n: Scores of normal images that the detector had not seen.
        rank: Which of them is the threshold, 1 for the smallest; None where no score can be.
        mean: The false alarm rate on new normal images, on average over the n images drawn.
        low: Lower end of its 95% interval over the n images drawn.
        high: Upper end.
    """

    alpha: float
    n: int
    rank: int | None
    mean: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def reason(self) -> str | None:
        """Why there is no threshold, with the smallest alpha that has one; None where there is."""
        if self.rank is not None:
            return None
        least = math.ceil(1e4 / (self.n + 1)) / 1e4  # rounded up, so that it works as it is printed
        if least >= 1:
            return "no normal image was scored by a detector that had not seen it"
        return (
            f"{self.n} normal images cannot promise a false alarm rate of {self.alpha:g}; "
            f"the smallest that they can is alpha={least:g} (1/{self.n + 1})"
        )

    def facts(self) -> dict[str, float | int | None]:
        """What records and saved detectors keep of it: n, mean, low and high."""
        return {"n": self.n, "mean": self.mean, "low": self.low, "high": self.high}

    def threshold(self, scores: np.ndarray) -> float | None:
        """The threshold among the (n,) scores of which this is the promise; None without one.

        Raises:
            AdbenchError: Another number of scores, or scores that are not finite.
        """
        scores = _checked(scores)
        if len(scores) != self.n:
            raise AdbenchError(f"the promise is made for {self.n} scores; got {len(scores)}")
        return None if self.rank is None else float(np.sort(scores)[self.rank - 1])


def promise(n: int, alpha: float) -> Promise:
    """What the threshold for a false alarm rate ``alpha`` from ``n`` normal images promises.

    Raises:
        AdbenchError: ``alpha`` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise AdbenchError(f"alpha is a false alarm rate between 0 and 1; got {alpha:g}")
    # In fractions of the number as it is written: 0.29 * 100 is below 29 in floating point.
    above = math.floor(Fraction(str(alpha)) * (n + 1))  # n + 1 - r
    if above == 0:
        return Promise(alpha, n, None)
    rank = n + 1 - above
    low, high = (float(betaincinv(above, rank, p)) for p in (TAIL, 1 - TAIL))
    return Promise(alpha, n, rank, above / (n + 1), low, high)


def largest(scores: np.ndarray) -> float:
    """The largest of (m,) scores of normal training images, m >= 1.

    It is CRD's threshold (Han & Yan, arXiv 2401.09443, its inference step). For a method that keeps
    the training patches, or has seen them, it promises nothing: such a method gives its training
    images lower scores than any new image.

    Raises:
        AdbenchError: There is no score, or one that is not finite.
    """
    scores = _checked(scores)
    if not scores.size:
        raise AdbenchError("a threshold needs the score of at least one normal image; got none")
    return float(scores.max())


def p_values(normal: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How unusual scores are among those of normal images: (1 + #{normal >= score}) / (n + 1).

    A score exceeds the threshold for a false alarm rate alpha exactly where its p is at most alpha.

    Args:
        normal: (n,) scores of normal images that the detector had not seen.
        scores: (m,) scores of the images in question.

    Returns:
        (m,) float64, from 1 / (n + 1) to 1.

    Raises:
        AdbenchError: Scores that are not finite.
    """
    normal, scores = np.sort(_checked(normal)), _checked(scores)
    at_least = len(normal) - np.searchsorted(normal, scores, side="left")
    values: np.ndarray = (1 + at_least) / (len(normal) + 1)
    return values


def rate(count: int, of: int) -> Rate | None:
    """The share ``count / of`` with its exact 95% interval; None of none."""
    if of == 0:
        return None
    low = 0.0 if count == 0 else float(betaincinv(count, of - count + 1, TAIL))
    high = 1.0 if count == of else float(betaincinv(count + 1, of - count, 1 - TAIL))
    return Rate(count / of, low, high)


def rates(
    threshold: float, labels: np.ndarray, scores: np.ndarray
) -> tuple[Rate | None, Rate | None]:
    """The false and the true positive rate of a threshold; None where there is no such image.

    Args:
        threshold: An image is called anomalous where its score exceeds it.
        labels: (n,) true or 1 for anomalous test images.
        scores: (n,) their scores.

    Raises:
        AdbenchError: What ``check_images`` refuses.
    """
    labels, scores = check_images(labels, scores)
    called = scores > threshold
    normal, anomalous = called[~labels], called[labels]
    return rate(int(normal.sum()), len(normal)), rate(int(anomalous.sum()), len(anomalous))


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    check_finite(scores, "scores of normal images")
    return scores
