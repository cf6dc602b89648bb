"""Rows of a bank that are near each other share a leaf (Friedman, Bentley & Finkel 1977)."""

from typing import NamedTuple

import numpy as np

LEAF = 64
"""Rows of a leaf. Compiled loops hold this number: after a change, delete ``__pycache__``."""
COARSE = 12
"""Axes of the coarse shadows; 8 to 16 were the fastest."""


class Leaves(NamedTuple):
    """Rows of a bank in leaves of up to ``LEAF`` rows that are near each other."""

    rows: np.ndarray
    """(leaves, LEAF) int32 rows of the bank, -1 for none."""
    low: np.ndarray
    """(c, leaves) float32 least coordinates of the coarse shadows in each leaf."""
    high: np.ndarray
    """(c, leaves) float32 largest coordinates of the coarse shadows in each leaf."""
    coarse: np.ndarray
    """(leaves, c, LEAF) float32 coarse shadows."""
    fine: np.ndarray
    """(leaves, LEAF, r + 1) float32 shadows."""


def grow(shadows: np.ndarray, first: int = 0) -> Leaves:
    """The leaves of some consecutive rows of a bank.

    Args:
        shadows: (n, r + 1) float32 of the screen.
        first: The row of the bank that the first shadow belongs to.
    """
    n, width = shadows.shape
    order = _order(coarse(shadows))
    count = -(-n // LEAF)
    rows = np.full(count * LEAF, -1, np.int32)
    rows[:n] = order + first
    fine = np.zeros((count * LEAF, width), np.float32)
    fine[:n] = shadows[order]
    few = coarse(fine)
    starts = np.arange(0, n, LEAF)
    return Leaves(
        rows=rows.reshape(count, LEAF),
        low=np.ascontiguousarray(np.minimum.reduceat(few[:n], starts).T),
        high=np.ascontiguousarray(np.maximum.reduceat(few[:n], starts).T),
        coarse=np.ascontiguousarray(few.reshape(count, LEAF, -1).transpose(0, 2, 1)),
        fine=fine.reshape(count, LEAF, width),
    )


def coarse(shadows: np.ndarray) -> np.ndarray:
    """(n, c) float32 shadows of (n, r + 1) shadows: ``COARSE`` axes and the length of the rest.

    Where the shadows have no more coordinates than that, they are the coarse ones too.
    """
    if shadows.shape[1] <= COARSE + 1:
        return shadows
    rest = shadows[:, COARSE:]
    lengths = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64))
    return np.column_stack([shadows[:, :COARSE], lengths.astype(np.float32)])


def _order(points: np.ndarray) -> np.ndarray:
    """(n,) rows of the points, leaf after leaf: halved again and again where they spread most."""
    order = np.arange(len(points))
    parts = [slice(0, len(points))]
    while parts:
        part = parts.pop()
        size = part.stop - part.start
        if size <= LEAF:
            continue
        inside = points[order[part]]
        values = inside[:, inside.var(axis=0).argmax()]
        half = -(-size // LEAF) // 2 * LEAF  # whole leaves, so that only the last one is not full
        order[part] = order[part][np.argpartition(values, half)]
        middle = part.start + half
        parts += [slice(part.start, middle), slice(middle, part.stop)]
    return order
