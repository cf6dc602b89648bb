"""PaDiM as a graph (Defard et al., arXiv 2011.08785, equations 1 and 2).

Let v_1, v_2, ... be orthonormal axes of the training values of a position and s_1, s_2, ... their
variances. With covariance sum over i of s_i v_i v_i' + ridge I the squared distance of a centred y
is

    sum over i of (v_i'y)^2 / (s_i + ridge) + |y - sum over i of (v_i'y) v_i|^2 / ridge,

where every term is positive, so that nothing cancels. The axes are computed in float64.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from adbench.kernels.blockwise import Block, Part, Referred
from adbench.kernels.device_field import DeviceField
from adbench.kernels.gaussian_field import GaussianField
from adbench.kernels.reduction import Reduction
from adbench.methods.graph.parts import Resampling, squares
from adbench.system.parallel import workers

Field = GaussianField | DeviceField


class PaDiMGraph(nn.Module):
    """A fitted PaDiM.

    Args:
        anomaly_maps: From the distances of patches to maps.
        field: Its Gaussians.
        ridge: Added to the diagonal of every covariance.
        image_score: Whether the score of an image is the largest value of its map, or the largest
            distance.
    """

    axes: Tensor
    weights: Tensor

    def __init__(
        self,
        anomaly_maps: Resampling,
        field: Field,
        ridge: float,
        image_score: Literal["blurred", "raw"],
    ) -> None:
        super().__init__()
        _, h, w = field.reduction.shapes[0]
        self.grid, self.ridge, self.image_score = (h, w), ridge, image_score
        self.anomaly_maps = anomaly_maps
        self.reduced = _Reduced(field.reduction, field.mean)
        axes, variances = _principal_axes(field)
        self.complete = axes.shape[1] == axes.shape[2]
        self.register_buffer("axes", torch.from_numpy(axes))  # (positions, r, d)
        weights = (1 / (variances + ridge)).astype(np.float32)
        self.register_buffer("weights", torch.from_numpy(weights)[:, None])

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) of each layer to (n,) image scores and (n, H, W) anomaly maps."""
        y = self.reduced(maps)  # (positions, d, n)
        coordinates = (self.axes @ y).transpose(1, 2)  # (positions, n, r)
        squared = (squares(coordinates) * self.weights).sum(dim=2)
        if not self.complete:
            rest = y.transpose(1, 2) - coordinates @ self.axes  # (positions, n, d)
            squared = squared + squares(rest).sum(dim=2) / self.ridge
        distances = squared.sqrt().T.unflatten(1, self.grid)  # (n, h, w)
        made = self.anomaly_maps(distances)
        scored = made if self.image_score == "blurred" else distances
        return scored.amax(dim=(1, 2)), made


class _Reduced(nn.Module):
    """The reduced values of all positions, less those of the mean, as ``Reduction.centred``."""

    def __init__(self, reduction: Reduction, mean: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.projects = reduction.projects
        layers = zip(reduction.layers, mean, reduction.cells, strict=True)
        self.layers = nn.ModuleList(_Layer(*layer) for layer in layers)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(n, c, h, w) of each layer to (positions, d, n)."""
        parts = [layer(m) for layer, m in zip(self.layers, maps, strict=True)]
        return torch.stack(parts).sum(dim=0) if self.projects else torch.cat(parts, dim=1)


class _Layer(nn.Module):
    """One layer's part of the reduced values; see ``Reduction`` for the arguments."""

    reduction: Tensor
    mean: Tensor
    cell: Tensor

    def __init__(self, reduction: np.ndarray, mean: np.ndarray, cell: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("reduction", torch.from_numpy(reduction.T.copy()))
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("cell", torch.from_numpy(cell))

    def forward(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) to (positions, dims, n)."""
        values = maps.flatten(2)  # (n, c, cells)
        if self.reduction.ndim == 2:
            reduced = self.reduction @ (values - self.mean)
        else:
            reduced = values.index_select(1, self.reduction) - self.mean
        return reduced.permute(2, 1, 0).index_select(0, self.cell)


def _principal_axes(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """Axes and variances of the training values of every position, without a ridge.

    Returns:
        (positions, r, d) float32 and (positions, r) float64. There are d axes, or as many as images
        where the field keeps the values of fewer images.
    """
    positions, r = field.reduction.positions, field.reduction.dims
    if field.form != "covariances":
        r = min(r, field.values[0].shape[0 if field.form == "maps" else 1])
    axes = np.empty((positions, r, field.reduction.dims), np.float32)
    variances = np.empty((positions, r))

    def decompose(block: Block) -> None:
        numbers = range(positions)[block.positions]
        for position, found in zip(numbers, _decomposed(field, block), strict=True):
            variances[position], axes[position] = found

    with workers() as each:
        each(decompose, field.reduction.blocks())
    return axes, variances.clip(min=0)


def _decomposed(field: Field, block: Block) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The (r,) variances and (r, d) axes of each position of a block, in float64."""
    if field.form == "covariances":
        d = field.reduction.dims
        for triangle in field.values[0][block.positions]:
            covariance = np.zeros((d, d))
            covariance[np.tril_indices(d)] = triangle  # eigh reads no more
            variances, columns = np.linalg.eigh(covariance)
            yield variances, columns.T
        return
    layers = [
        part.rows(view.cells)[view.local]
        for part, view in zip(_parts(field), block.views, strict=True)
    ]
    for x in np.concatenate(layers, axis=2):  # (n, d)
        _, lengths, axes = np.linalg.svd(x.astype(np.float64), full_matrices=False)
        yield lengths**2 / (len(x) - 1), axes


def _parts(field: Field) -> Sequence[Part]:
    """The centred training values that the field keeps."""
    if field.form == "rows":
        return field.reduction.stored(field.values)
    layers = zip(field.values, field.mean, field.reduction.cells, strict=True)
    return [Referred(m.reshape(*m.shape[:2], -1), mu, cell, lambda: None) for m, mu, cell in layers]
