"""Cholesky factors of many small matrices at once, in little memory and laid out for products."""

from collections.abc import Iterable

import numpy as np
from scipy.linalg.lapack import dtrtri

from adbench.errors import AdbenchError

PANEL = 64
"""Rows of a factor that are stored and applied together."""
RESOLVED = 1e-11
"""Smallest squared pivot, as a share of the trace, that float64 still separates from rounding."""


class Factors:
    """Cholesky factors L of several matrices, factored in float64 and kept in float32.

    A factor is cut into panels of ``PANEL`` rows. A panel holds its rows up to the diagonal block,
    and the inverse of that block in its place. So a solve is a handful of batched products, and few
    of the zeros above the diagonal are stored.

    Args:
        matrices: Positive definite (size, size) float64 matrices; only lower triangles are read.
        count: The number of matrices.

    Raises:
        AdbenchError: A matrix is so close to singular that rounding would decide its inverse.
    """

    def __init__(self, matrices: Iterable[np.ndarray], count: int) -> None:
        self.panels: list[tuple[int, int, np.ndarray]] = []  # first row, end, (count, rows, end)
        for i, matrix in enumerate(matrices):
            if not self.panels:
                size = len(matrix)
                edges = [(row, min(row + PANEL, size)) for row in range(0, size, PANEL)]
                self.panels = [(a, b, np.empty((count, b - a, b), np.float32)) for a, b in edges]
            lower = _cholesky(matrix)
            for start, stop, panel in self.panels:
                panel[i, :, :start] = lower[start:stop, :start]
                panel[i, :, start:] = dtrtri(lower[start:stop, start:stop], lower=1)[0]

    @staticmethod
    def bytes(size: int, count: int) -> int:
        """An upper bound of ``nbytes`` for ``count`` matrices of (size, size)."""
        return 4 * count * size * (size + PANEL) // 2

    @property
    def nbytes(self) -> int:
        """Bytes of all panels."""
        return sum(panel.nbytes for _, _, panel in self.panels)

    def forward(self, right: np.ndarray) -> np.ndarray:
        """L^-1 right: (count, size, m) to the same."""
        out = np.empty_like(right)
        for start, stop, panel in self.panels:
            rest = right[:, start:stop] - panel[:, :, :start] @ out[:, :start]
            out[:, start:stop] = panel[:, :, start:] @ rest
        return out

    def solve(self, right: np.ndarray) -> np.ndarray:
        """(L L')^-1 right: (count, size, m) to the same."""
        out = self.forward(right)
        for start, stop, panel in reversed(self.panels):
            out[:, start:stop] = panel[:, :, start:].swapaxes(1, 2) @ out[:, start:stop]
            out[:, :start] -= panel[:, :, :start].swapaxes(1, 2) @ out[:, start:stop]
        return out


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    try:
        lower = np.linalg.cholesky(matrix)
        resolved = np.diagonal(lower).min() ** 2 > RESOLVED * np.trace(matrix)
    except np.linalg.LinAlgError:
        resolved = False
    if not resolved:
        raise too_small(float(np.diagonal(matrix).mean()))
    return lower


def too_small(mean: float) -> AdbenchError:
    """The error where a ridge does not make a matrix with this mean diagonal invertible."""
    return AdbenchError(
        f"ridge is too small to invert a covariance with mean diagonal {mean:.3g}; "
        "raise method.ridge"
    )
