"""The decision rule that needs no anomalous image, and the rates that it gives on test images."""

from typing import NamedTuple

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.checks import check_finite, check_images


class ThresholdRates(NamedTuple):
    """A threshold with the shares of normal and anomalous images above it, None without such."""

    threshold: float
    fpr: float | None
    tpr: float | None


def threshold_rates(
    normal_scores: np.ndarray, labels: np.ndarray, scores: np.ndarray
) -> ThresholdRates:
    """Call anomalous what scores above the largest score of the normal training images.

    It is CRD's inference step (Han & Yan, arXiv 2401.09443).

    Args:
        normal_scores: (m,) scores of normal images, m >= 1.
        labels: (n,) true or 1 for anomalous test images.
        scores: (n,) their scores; an image is called anomalous where its score exceeds the
            threshold.

    Raises:
        AdbenchError: No normal score, or what ``check_images`` refuses.
    """
    normal_scores = np.asarray(normal_scores)
    if not normal_scores.size:
        raise AdbenchError("a threshold needs the score of at least one normal image; got none")
    check_finite(normal_scores, "scores of normal images")
    labels, scores = check_images(labels, scores)
    called = scores > normal_scores.max()
    rates = [float(called[part].mean()) if part.any() else None for part in (~labels, labels)]
    return ThresholdRates(float(normal_scores.max()), rates[0], rates[1])
