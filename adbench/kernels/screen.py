"""A cheap lower bound of Euclidean distances: exact ones are computed only where they can matter.

A point x has the shadow (V'(x - mean), length of the rest): its coordinates along r orthonormal
axes V and the length of what they leave. By the triangle inequality in the space of the rest, the
shadows are at most as far apart as the points. Along the axes in which the points spread most
(Jolliffe 2002), few shadows are near whose points are far. A matrix product over r + 2 columns, or
the distance of two shadows, tells which pairs may be closer than a given distance. A bound in the
manner of Higham (2002, section 3.1) covers all roundings, so what is excluded is excluded for
certain.
"""

import math

import numpy as np

from adbench.kernels.finite import require_finite

SAMPLE = 2048
"""Points that the axes are learned from."""
RANKS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of axes to choose from; the alternative is all coordinates as they are."""
DIRECT = 3000.0, 8.0
"""What a direct distance costs, and each of its coordinates, in coordinates of the product."""
LARGEST = 2**30
"""Bytes that the shadows of all coordinates may take. Where they would take more, the largest of
``RANKS`` is used: more pairs stay unsure, and the results are the same."""
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53  # unit roundoffs
_UNDERFLOW = 2.0**-120  # more than float32 products of tiny numbers lose


class Screen:
    """Shadows of points, on axes learned from a sample of them.

    There are two ways to exclude a pair whose squared distance is more than m:

    - ``row @ column <= floor - m * gain``, where row is the shadow of one point with a last entry
      1, column that of the other with -squares / 2 as its last entry, and floor that of the row.
    - ``-|a - b|^2 <= floor - m * distance_gain``, where a and b are the shadows without the last
      entries and floor is the distance floor of either.

    Args:
        points: (n, d) float32.
        rank: Number of axes, d for all coordinates; None for as many as make searches by products
            among the points cheapest.
        count: How many points will have shadows, if not just these; see ``LARGEST``.

    Raises:
        AdbenchError: The points are not finite.

    Attributes:
        gain: Weight of a squared distance against a product.
        distance_gain: Weight of a squared distance against that of shadows.
    """

    def __init__(
        self, points: np.ndarray, rank: int | None = None, count: int | None = None
    ) -> None:
        n, d = points.shape
        peak = max(float(points.max()), -float(points.min()))
        if not math.isfinite(peak):
            require_finite(points, "points")
        # A power of two is exact, and with it neither tiny nor huge values get lost.
        self._scale = 2.0 ** -math.frexp(peak)[1]
        self.gain = self._scale**2 / 2
        sample = points[np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)].astype(np.float64)
        self._mean = sample.mean(axis=0)
        sample = ((sample - self._mean) * self._scale).astype(np.float32)
        self._axes = _axes(sample, rank)  # (d, r), None for all coordinates
        if self._axes is None and d > RANKS[-1] and 4 * d * (count or n) > LARGEST:
            self._axes = _axes(sample, RANKS[-1])
        used = d if self._axes is None else self._axes.shape[1]
        # The error of a shadow, relative to the lengths of it and its partner; the length of the
        # rest is a difference of squares, and is rounded once more in a coarse shadow.
        self._shadow = 3 * _SINGLE + math.sqrt(4 * math.sqrt(used) * d * _DOUBLE)
        self._error = (used + 6) * _SINGLE + 2 * self._shadow
        # |a - b| <= scale |x - y| + e, so by Young's inequality its square is at most
        # (1 + t) scale^2 |x - y|^2 + (1 + 1 / t) e^2. With t = 2^-10, the rest of 2^-9 and of 1100
        # is for the roundings of a sum of up to 10,000 squares.
        self.distance_gain = self._scale**2 * (1 + 2.0**-9)

    def shadows(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, r + 2) float32 shadows as rows, and (n,) float64 squares of their lengths."""
        n, d = points.shape
        rank = d if self._axes is None else self._axes.shape[1]
        rows, squares = np.empty((n, rank + 2), np.float32), np.empty(n)
        block = max(1, 2**17 // d)  # 1 MB in float64
        for first in range(0, n, block):
            centred = points[first : first + block] - self._mean
            row = rows[first : first + block]
            with np.errstate(over="ignore"):
                if self._axes is None:
                    row[:, :rank], row[:, rank] = centred * self._scale, 0
                else:
                    along = centred @ self._axes
                    rest = np.sqrt(np.maximum(_squares(centred) - _squares(along), 0))
                    row[:, :rank], row[:, rank] = along * self._scale, rest * self._scale
            squares[first : first + block] = _squares(row[:, : rank + 1].astype(np.float64))
        far = ~(
            squares < 2.0**120
        )  # of all the points, so far that float32 products would overflow
        rows[far], squares[far] = 0, np.nan  # what is not a number excludes nothing
        rows[:, rank + 1] = 1
        return rows, squares

    def floors(self, squares: np.ndarray, largest: float) -> np.ndarray:
        """(n,) float64 floors of products of rows with these ``squares``.

        Args:
            squares: (n,) of the rows.
            largest: Square of a column, at most.
        """
        reach = (np.sqrt(squares) + math.sqrt(largest)) ** 2
        floors: np.ndarray = squares / 2 - self._error * reach - _UNDERFLOW
        return floors

    def distance_floors(self, squares: np.ndarray, largest: float) -> np.ndarray:
        """(n,) float64 floors of distances to shadows with these ``squares``; see ``floors``."""
        reach = (np.sqrt(squares) + math.sqrt(largest)) ** 2
        floors: np.ndarray = -1100 * self._shadow**2 * reach - _UNDERFLOW
        return floors


def _axes(sample: np.ndarray, rank: int | None) -> np.ndarray | None:
    """The ``rank`` leading axes of a centred sample; None for all coordinates.

    Without a ``rank``, as many as make searches cheapest.
    """
    m, d = sample.shape
    ranks = (
        [r for r in RANKS if 2 * r <= d and 4 * m >= SAMPLE]
        if rank is None
        else [rank] * (rank < d)
    )
    if not ranks:
        return None
    axes = np.random.default_rng(0).standard_normal((d, ranks[-1]), np.float32)
    for _ in range(2):  # subspace iteration; the bound holds for any orthonormal axes
        axes = np.linalg.qr(sample.T @ (sample @ axes))[0]
    _, turn = np.linalg.eigh((sample @ axes).T @ (sample @ axes))
    # By falling variance, and orthonormal in float64.
    axes = np.linalg.qr((axes @ turn)[:, ::-1].astype(np.float64))[0]
    best = ranks[0] if rank is not None else _cheapest(sample, axes, ranks)
    return np.ascontiguousarray(axes[:, :best]) if best else None


def _cheapest(sample: np.ndarray, axes: np.ndarray, ranks: list[int]) -> int | None:
    """The rank with the least work to find neighbours in the sample; None for no axes."""
    m, d = sample.shape
    along, lengths = sample @ axes.astype(np.float32), _squares(sample)
    few = np.arange(0, m, max(1, m // 512))

    def distances(rows: np.ndarray) -> np.ndarray:
        squares = _squares(rows)
        pairs: np.ndarray = squares[few, None] + squares - 2 * rows[few] @ rows.T
        pairs[np.arange(len(few)), few] = np.inf
        return pairs

    def unsure(rank: int) -> float:
        rest = np.sqrt(np.maximum(lengths - _squares(along[:, :rank]), 0))
        return float((distances(np.column_stack([along[:, :rank], rest])) < nearest).mean())

    nearest = distances(sample).min(axis=1, keepdims=True)
    costs = {rank: rank + (DIRECT[0] + DIRECT[1] * d) * unsure(rank) for rank in ranks}
    best = min(ranks, key=costs.__getitem__)
    return best if costs[best] < d else None


def _squares(rows: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("ij,ij->i", rows, rows)
    return squares
