"""Checks of labels, scores, masks and anomaly maps before anything is computed from them."""

from collections.abc import Sequence

import numpy as np

from adbench.errors import AdbenchError


class UndefinedError(AdbenchError):
    """A metric is not defined for what was measured; the message is the reason for the record."""


class OneClassError(UndefinedError):
    """Normal or anomalous ones are missing, so that no metric is defined."""


def check_images(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as (n,) bool and scores as (n,) float.

    Raises:
        AdbenchError: Shapes that differ, labels other than 0 and 1, scores that are NaN or
            infinite.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise AdbenchError(
            "one label and one score per image needed; got shapes "
            f"{labels.shape} and {scores.shape}"
        )
    if not np.isin(labels, (0, 1)).all():
        found = np.unique(labels)[:5].tolist()
        raise AdbenchError(f"labels are 0 (normal) or 1 (anomalous); got {found}")
    check_finite(scores, "scores")
    return labels.astype(bool), scores.astype(np.result_type(scores, np.float32), copy=False)


def check_two_classes(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as ``check_images``; raises OneClassError too where a class is missing."""
    labels, scores = check_images(labels, scores)
    require_both(int(labels.sum()), len(labels), "images")
    return labels, scores


def check_pixels(
    masks: Sequence[np.ndarray] | np.ndarray, maps: Sequence[np.ndarray] | np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks as bool and maps as float of one type, without a copy where they are so already.

    Args:
        masks: One (h, w) mask per image, true for anomalous pixels; or (n, h, w).
        maps: Anomaly maps of the same shapes.

    Raises:
        AdbenchError: No image, counts or shapes that differ, maps with NaN or infinity.
    """
    if len(masks) != len(maps) or not len(maps):
        raise AdbenchError(
            f"one mask per anomaly map is needed; got {len(masks)} masks and {len(maps)} maps"
        )
    for i, (mask, scores) in enumerate(zip(masks, maps, strict=True)):
        if mask.ndim != 2 or mask.shape != scores.shape:
            raise AdbenchError(
                f"mask {i} is {mask.shape} and its map {scores.shape}; both must be the same (h, w)"
            )
        check_finite(scores, f"anomaly map {i}")
    kind = np.result_type(np.float32, *{m.dtype for m in maps})
    return [m.astype(bool, copy=False) for m in masks], [m.astype(kind, copy=False) for m in maps]


def require_both(positives: int, total: int, what: str) -> None:
    """Raise OneClassError unless some, but not all, of ``total`` images or pixels are anomalous."""
    if not 0 < positives < total:
        raise OneClassError(
            f"normal and anomalous {what} are needed; got {total - positives} normal and "
            f"{positives} anomalous"
        )


def check_finite(scores: np.ndarray, what: str) -> None:
    """Raise AdbenchError where ``scores`` hold NaN or infinity; the message counts them."""
    bad = scores.size - np.count_nonzero(np.isfinite(scores))
    if bad:
        raise AdbenchError(
            f"{what}: {bad} of {scores.size} values are NaN or infinite; "
            "check weights and precision"
        )
