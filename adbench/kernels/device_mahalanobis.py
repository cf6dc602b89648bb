"""Covariances, factors and distances of many positions by batched products on a device.

See ``adbench.kernels.mahalanobis`` for the equations.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from adbench.kernels.cholesky import RESOLVED, too_small
from adbench.kernels.device import block_size, in_blocks
from adbench.kernels.device_reduction import Reduced


def covariances(chunks: Iterator[list[Tensor]], reduced: Reduced, n: int) -> np.ndarray:
    """(positions, d (d + 1) / 2) float64 lower triangles, without a ridge."""
    d, positions, device = reduced.reduction.dims, reduced.reduction.positions, reduced.device
    triangle = torch.from_numpy(triangle_of(d)).to(device)
    total = torch.zeros(positions, len(triangle), dtype=torch.float64, device=device)

    def add(parts: Sequence[Tensor], block: slice) -> None:
        x = reduced.at(parts, block).double()  # (positions, images, d)
        total[block].add_((x.transpose(1, 2) @ x).flatten(1)[:, triangle])

    for parts in chunks:
        size = block_size(24 * d * (d + parts[0].shape[1]))
        in_blocks(partial(add, parts), positions, size, "positions of a map")
    covariances: np.ndarray = (total.div_(n - 1)).cpu().numpy()
    return covariances


def dual(x: Tensor, y: Tensor, factors: Tensor, ridge: float, refine: bool) -> Tensor:
    """|y - X'a|^2 / ridge + (n - 1) |a|^2, where a solves the n x n system.

    Args:
        x: (positions, n, d) float32 training rows.
        y: (positions, d, m) float32 rows of m images.
        factors: (positions, n, n) float32 L^-1 of X X' + (n - 1) ridge I.
        ridge: Of the covariances.
        refine: Whether the solution is refined once.

    Returns:
        (positions, m) float32.
    """
    weight = x.shape[1] - 1

    def solve(right: Tensor) -> Tensor:
        return factors.transpose(1, 2) @ (factors @ right)

    a = solve(x @ y)  # (positions, n, m)
    rest = y - x.transpose(1, 2) @ a  # (positions, d, m)
    if refine:
        a = a + solve(x @ rest - weight * ridge * a)
        rest = y - x.transpose(1, 2) @ a
    return weight * a.square_().sum(dim=1) + rest.square_().sum(dim=1) / ridge


def triangle_of(d: int) -> np.ndarray:
    """The places of the lower triangle in a flattened (d, d) matrix, ascending."""
    return np.flatnonzero(np.tri(d))


def inverse_factors(matrices: Tensor) -> Tensor:
    """(b, order, order) float32 L^-1, where L L' are the float64 matrices.

    Raises:
        AdbenchError: A matrix is so close to singular that rounding would decide its inverse.
    """
    lower, failed = torch.linalg.cholesky_ex(matrices)
    trace = matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
    least = lower.diagonal(dim1=1, dim2=2).amin(dim=1)
    bad = (failed > 0) | ~(least.square() > RESOLVED * trace)
    if bool(bad.any()):
        raise too_small(float(trace[bad][0]) / matrices.shape[1])
    one = torch.eye(matrices.shape[1], dtype=matrices.dtype, device=matrices.device)
    inverse: Tensor = torch.linalg.solve_triangular(lower, one.expand_as(lower), upper=False)
    return inverse.float()
