"""ROC and precision-recall curves of image scores, at every threshold."""

import numpy as np

from adbench.evaluation.checks import check_two_classes


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at the k distinct scores from the highest down.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.

    Returns:
        (k + 1,) each; the first point is (0, 0).

    Raises:
        OneClassError: Normal or anomalous images are missing.
        AdbenchError: What ``check_images`` refuses.
    """
    positives, negatives = _counts(labels, scores)
    return negatives / negatives[-1], positives / positives[-1]


def pr_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at the k distinct scores from the highest down.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.

    Returns:
        (k + 1,) each; the first point is recall 0 at precision 1.

    Raises:
        OneClassError: Normal or anomalous images are missing.
        AdbenchError: What ``check_images`` refuses.
    """
    positives, negatives = _counts(labels, scores)
    precision = np.ones(len(positives))
    precision[1:] = positives[1:] / (positives[1:] + negatives[1:])
    return positives / positives[-1], precision


def _counts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anomalous and normal images at or above each distinct score, after a first zero."""
    labels, scores = check_two_classes(labels, scores)
    steps = np.unique(-scores, return_inverse=True)[1]
    counts = [np.bincount(steps[part], minlength=steps.max() + 1) for part in (labels, ~labels)]
    positives, negatives = (np.concatenate([[0], np.cumsum(c)]) for c in counts)
    return positives, negatives
