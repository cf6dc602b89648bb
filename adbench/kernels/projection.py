"""Random linear maps that keep distances (Johnson & Lindenstrauss 1984), and how wide they must be.

The maps multiply rows from the right: ``points @ gaussian(d, dim, seed)``. The three dense ones
keep squared lengths in expectation, so a distance in the projected space estimates the original
one.
"""

import math

import numpy as np
import torch
from torch import Tensor

from adbench.errors import AdbenchError, ImpossibleError


def jl_dimension(n: int, eps: float, d: int | None = None) -> int:
    """Dimensions that keep all squared distances of ``n`` points within a factor 1 ± eps.

    4 ln n / (eps² / 2 - eps³ / 3), rounded down as scikit-learn does (Dasgupta & Gupta 2003,
    theorem 2.1).

    Args:
        n: Number of points.
        eps: Distortion, between 0 and 1.
        d: Dimensions that the points have; more cannot be had.

    Raises:
        AdbenchError: eps outside (0, 1).
        ImpossibleError: eps so small that it needs more than ``d`` dimensions.
    """
    if not 0 < eps < 1:
        raise AdbenchError(f"eps {eps} is no distortion; use a value between 0 and 1")
    dim = max(1, _dimension(n, eps))
    if d is not None and dim > d:
        least = next((e / 100 for e in range(1, 100) if _dimension(n, e / 100) <= d), None)
        advice = (
            f"use an eps of at least {least}"
            if least
            else "no eps asks for so few, use another projection"
        )
        raise ImpossibleError(
            f"eps {eps} asks for {dim} dimensions for {n} points, but the points have {d}; {advice}"
        )
    return dim


def gaussian(d: int, dim: int, seed: int) -> Tensor:
    """(d, dim) float32, independent normal entries of variance 1 / dim (Indyk & Motwani 1998)."""
    return torch.from_numpy(_normal(d, dim, seed) / np.float32(math.sqrt(dim)))


def orthonormal(d: int, dim: int, seed: int) -> Tensor:
    """(d, dim) float32 with orthogonal columns of length sqrt(d / dim), uniform over all such.

    Divide by sqrt(d / dim) for orthonormal columns, which keep the variance per dimension instead
    of the length.
    """
    q, r = np.linalg.qr(_normal(d, dim, seed).astype(np.float64))
    # LAPACKs differ in the signs; with a positive diagonal the factors are unique
    unique = q * np.sign(np.diagonal(r))
    return torch.from_numpy((unique * math.sqrt(d / dim)).astype(np.float32))


def sparse(d: int, dim: int, seed: int) -> Tensor:
    """(d, dim) float32 with entries ± sqrt(1 / (p dim)), each with probability p / 2, else 0.

    The density p is 1 / sqrt(d) (Li et al. 2006).
    """
    _require(d, dim)
    density = 1 / math.sqrt(d)
    draw = np.random.default_rng(seed).random((d, dim))
    signs = (draw < density / 2).astype(np.float32) - (draw >= 1 - density / 2)
    return torch.from_numpy((signs / math.sqrt(density * dim)).astype(np.float32))


def select(d: int, dim: int, seed: int) -> Tensor:
    """(dim,) int64 ascending: random coordinates, none twice (PaDiM, Defard et al. 2020)."""
    _require(d, dim)
    return torch.from_numpy(np.sort(np.random.default_rng(seed).choice(d, dim, replace=False)))


def _dimension(n: int, eps: float) -> int:
    return int(4 * math.log(n) / (eps**2 / 2 - eps**3 / 3))


def _normal(d: int, dim: int, seed: int) -> np.ndarray:
    _require(d, dim)
    return np.random.default_rng(seed).standard_normal((d, dim), dtype=np.float32)


def _require(d: int, dim: int) -> None:
    if not 1 <= dim <= d:
        raise AdbenchError(f"cannot reduce {d} dimensions to {dim}; ask for 1 to {d}")
