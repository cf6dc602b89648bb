"""Every metric of one set of scores, with intervals, and the reasons of those without a value."""

from collections.abc import Sequence

import numpy as np

from adbench.evaluation.checks import OneClassError
from adbench.evaluation.measured import Measured, measure_images
from adbench.evaluation.pixels import pixel_pairs
from adbench.evaluation.ranks import pixel_ranks


def measure(
    labels: np.ndarray,
    image_scores: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    maps: Sequence[np.ndarray] | np.ndarray | None = None,
    why_no_pixels: str | None = None,
    pixel_threshold: float | None = None,
) -> Measured:
    """Measure image scores and anomaly maps.

    Args:
        labels: (n,) true or 1 for anomalous images.
        image_scores: (n,) float, higher is more anomalous.
        masks: One (h, w) mask per image, true for anomalous pixels; None with a reason.
        maps: Anomaly maps of the same shapes; None with a reason.
        why_no_pixels: Why pixels cannot be compared, for the record.
        pixel_threshold: From normal images: a pixel above it is called anomalous; None without one.

    Raises:
        AdbenchError: Counts or shapes that differ, labels other than 0 and 1, NaN or infinity.
    """
    measured = measure_images(labels, image_scores)
    if why_no_pixels is not None or masks is None or maps is None:
        measured.undefined("pixel", why_no_pixels or "there are no masks or no anomaly maps")
        return measured
    try:
        ranks = pixel_ranks(masks, maps, pixel_threshold)
    except OneClassError as error:
        measured.undefined("pixel", str(error))
        return measured
    measured.pairs = pixel_pairs(masks, maps)
    measured.add("pixel", ranks, measured.pairs)
    return measured
