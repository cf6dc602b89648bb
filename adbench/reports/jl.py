"""The accuracy over projected dimensions that the PaDiM-JL report predicts."""

from collections.abc import Sequence

import numpy as np

from adbench.errors import AdbenchError

FEWEST = 4
"""Points that a curve of three constants is fitted to."""


def jl_curve(x: np.ndarray, p: float, q: float, k: float) -> np.ndarray:
    """Accuracy that the PaDiM-JL report predicts for x dimensions (equation 15, figure 2).

    It is defined for x in (q, q / k^2).
    """
    return np.asarray(2 * p * k / (np.sqrt(q / x) + k) + 1 - p)


def fit_jl_curve(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """The constants p, q, k of ``jl_curve`` nearest to the accuracies y by least squares.

    Args:
        x: Dimensions.
        y: Accuracies at these dimensions, as fractions.

    Raises:
        AdbenchError: Fewer than 4 points.
    """
    from scipy.optimize import least_squares

    if len(x) < FEWEST:
        raise AdbenchError(
            f"the predicted curve has 3 constants and needs at least {FEWEST} points, got {len(x)}"
        )
    dims, accuracies = np.asarray(x, float), np.asarray(y, float)
    first = float(dims.min())

    def errors(constants: np.ndarray) -> np.ndarray:
        return np.asarray(jl_curve(dims, *constants) - accuracies)

    fits = [
        least_squares(errors, (0.5, first * share, k), bounds=((1e-9,) * 3, (1, first, 1)))
        for share in (0.01, 0.1, 0.9)  # the valley is long and flat: the best of a few starts
        for k in (0.001, 0.01, 0.1)
    ]
    p, q, k = min(fits, key=lambda fit: float(fit.cost)).x
    return float(p), float(q), float(k)
