"""The axes of the normal patches and scores as weighted squares on them, for CRD and SubspaceAD.

Both decompose the Gram matrix of all normal patches. CRD (Han & Yan, arXiv 2401.09443) weighs the
squared coordinate of a patch on each axis by a soft threshold on the eigenvalue, SubspaceAD
(Lendering et al., arXiv 2602.23013) by a hard one.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from adbench.features.features import Features
from adbench.kernels import patches, stacked
from adbench.kernels.finite import require_finite
from adbench.kernels.residual import Axes
from adbench.methods.on_device import bytes_beside, in_double
from adbench.system.parallel import workers
from adbench.system.stages import stage

GRAM_BLOCK = 32 * 2**20
"""Bytes of training patches in float64 at a time."""

Layers = Callable[[Features], list[Tensor]]
"""From the features of some images to the (n, c, p, q) layers that a patch stacks, finest first."""


def moments(
    normal: Features, layers: Layers, rule: patches.Rule, unit: bool = False
) -> tuple[np.ndarray, np.ndarray, int]:
    """Gram matrix (d, d), sum (d,) and number n of all patches.

    In float64, because eigenvalues differ by many powers of ten: products in float32 put scores off
    by up to 2e-3.

    Args:
        normal: Features of normal images.
        layers: Makes the layers of a patch.
        rule: How deeper layers reach the finest size.
        unit: Whether every patch is first scaled to length 1.
    """
    normal = in_double(normal)
    d = sum(int(layer.shape[1]) for layer in layers(normal[:1]))
    height, width = normal.grid
    blocks = normal.blocks(GRAM_BLOCK, 8 * height * width * d)
    sums = stacked.moments if normal.torch_device is None else stacked.plain_moments
    found = sums((layers(block) for block in blocks), rule, unit)
    return *found, len(normal) * height * width


def decompose(
    gram: np.ndarray, total: np.ndarray, count: int, center: bool, normal: Features
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Eigenvalues and axes of the Gram matrix of patches, or of their deviations from the mean.

    Args:
        gram: (d, d), the sum of the outer products of the patches.
        total: (d,), their sum.
        count: Their number.
        center: Whether their mean is subtracted first.
        normal: Features, on whose device it is done.

    Returns:
        (d,) float64 eigenvalues, ascending; (d, d) float32 axes as columns; (d,) float32 mean, and
        its (d,) float32 coordinates on the axes. The mean is zero without ``center``.

    Raises:
        AdbenchError: The products are not finite.
    """
    require_finite(gram, "the products of training features")
    mean = total / count if center else np.zeros_like(total)
    eigenvalues, axes = _eigh(gram - count * np.outer(mean, mean), in_double(normal).torch_device)
    single = [torch.from_numpy(part.astype(np.float32)) for part in (axes, mean, mean @ axes)]
    return torch.from_numpy(eigenvalues.clip(min=0)), single[0], single[1], single[2]


def _eigh(matrix: np.ndarray, device: torch.device | None) -> tuple[np.ndarray, np.ndarray]:
    if device is None:
        found = np.linalg.eigh(matrix)
        return found.eigenvalues, found.eigenvectors
    eigenvalues, axes = torch.linalg.eigh(torch.from_numpy(matrix).to(device))
    return eigenvalues.cpu().numpy(), axes.cpu().numpy()


def weighted_squares(
    test: Features,
    layers: Layers,
    axes: Axes,
    weights: Sequence[Tensor],
    ranks: Sequence[int],
) -> Tensor:
    """For several settings, the sum of weighted squared coordinates of each patch on all axes.

    The images go one by one, so that none depends on the others.

    Args:
        test: Features of n images.
        layers: Makes the layers of a patch.
        axes: The d axes, on the device where the patches meet them.
        weights: (d,) for each setting, in the order of the axes.
        ranks: How many axes, the last ones, are computed for it. All others count 1.

    Returns:
        (settings, n, h, w) float32 on that device.
    """
    h, w = test.grid
    device = axes.axes.device
    scores = torch.empty(len(weights), len(test), h * w, device=device)
    computed = [
        weight[len(weight) - rank :].float().to(device)
        for weight, rank in zip(weights, ranks, strict=True)
    ]
    with workers(1):
        for i in range(len(test)):
            with stage("embed"):
                stack = layers(test[i : i + 1].on_device())
            with stage("distance"):
                found = {rank: axes.squares(stack, rank) for rank in set(ranks)}
                for j, (weight, rank) in enumerate(zip(computed, ranks, strict=True)):
                    squares, rest = found[rank]  # (h w, rank), (h w,)
                    scores[j, i] = stacked.product(squares, weight) + rest
    scores = scores.reshape(len(weights), len(test), h, w)
    require_finite(scores, "patch scores")
    return scores


def peak_bytes(d: int, normal: Features, test: int, kept: int = 0) -> int:
    """Bytes at the peak of a fit on ``normal`` or of a score of ``test`` images, where it is done.

    Args:
        d: Values of a patch.
        normal: Features of normal images.
        test: How many images are scored.
        kept: Bytes of patches that are kept during the fit.
    """
    h, w = normal.grid
    gram = _gram_bytes(d)
    block = 4 * max(GRAM_BLOCK, 8 * h * w * d)
    scores = 4 * 2 * max(test, len(normal)) * h * w
    maps = 4 * test * normal.size[0] * normal.size[1]
    return max(gram + kept + block, 4 * d * d + block + 3 * (scores + maps))


def peak_bytes_beside(d: int, normal: Features, test: int) -> int:
    """Bytes of the CPU's memory then, where a device does it: the Gram matrix passes through."""
    return _gram_bytes(d) + bytes_beside(normal, test)


def _gram_bytes(d: int) -> int:
    return 8 * 6 * d * d  # with its copies and the workspace of the decomposition
