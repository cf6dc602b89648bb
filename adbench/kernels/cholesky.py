"""Cholesky factors of many small matrices at once, in little memory and laid out for batched products."""

from collections.abc import Iterable

import numpy as np
from scipy.linalg.lapack import dtrtri

from adbench.core import AdbenchError

PANEL = 64
"""Rows of a factor that are stored and applied together."""


class Factors:
    """Cholesky factors L of a block's matrices, factored in float64, kept in float32, laid out for batched products.

    A factor is cut into panels of ``PANEL`` rows. A panel holds its rows up to the diagonal block and, in that block's
    place, its inverse: a solve is a handful of products, and few of the zeros above the diagonal are stored.

    Args:
        matrices: Positive definite (size, size) float64 matrices, of which the lower triangles are read.
        count: How many.

    Raises:
        AdbenchError: A matrix so close to singular that rounding would decide its inverse.
    """

    def __init__(self, matrices: Iterable[np.ndarray], count: int) -> None:
        self.panels: list[tuple[int, int, np.ndarray]] = []  # first row, end, (positions, rows, end)
        for i, matrix in enumerate(matrices):
            if not self.panels:
                edges = [(start, min(start + PANEL, len(matrix))) for start in range(0, len(matrix), PANEL)]
                self.panels = [(a, b, np.empty((count, b - a, b), np.float32)) for a, b in edges]
            lower = _cholesky(matrix)
            for start, stop, panel in self.panels:
                panel[i, :, :start] = lower[start:stop, :start]
                panel[i, :, start:] = dtrtri(lower[start:stop, start:stop], lower=1)[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all panels."""
        return sum(panel.nbytes for _, _, panel in self.panels)

    def forward(self, right: np.ndarray) -> np.ndarray:
        """L^-1 right: (positions, size, m) to the same."""
        out = np.empty_like(right)
        for start, stop, panel in self.panels:
            rest = right[:, start:stop] - panel[:, :, :start] @ out[:, :start]
            out[:, start:stop] = panel[:, :, start:] @ rest
        return out

    def solve(self, right: np.ndarray) -> np.ndarray:
        """(L L')^-1 right: (positions, size, m) to the same."""
        out = self.forward(right)
        for start, stop, panel in reversed(self.panels):
            out[:, start:stop] = panel[:, :, start:].swapaxes(1, 2) @ out[:, start:stop]
            out[:, :start] -= panel[:, :, :start].swapaxes(1, 2) @ out[:, start:stop]
        return out


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    try:
        lower = np.linalg.cholesky(matrix)
        resolved = np.diagonal(lower).min() ** 2 > 1e-11 * np.trace(matrix)
    except np.linalg.LinAlgError:
        resolved = False
    if not resolved:
        mean = np.diagonal(matrix).mean()
        raise AdbenchError(
            f"ridge is too small to invert a covariance with mean diagonal {mean:.3g}; raise method.ridge"
        )
    return lower
