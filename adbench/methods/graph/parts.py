"""What the graphs of all methods share: from feature maps to patches, from scores to maps.

Averages, upsampling and blurs are linear, and they treat rows and columns of a map apart. So each
chain of them is two constant matrices, which every runtime multiplies alike. Operators for pooling
and resizing differ between runtimes in what they support and in how they round.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from adbench.kernels import patches
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.embedding import PatchEmbedding, official_embedding

Shape = tuple[int, int, int]
"""Channels, height and width of a layer."""


def constant(values: np.ndarray) -> Tensor:
    """An array that was computed in float64, as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def squares(values: Tensor) -> Tensor:
    """The square of every value, as a product: runtimes take powers by a slow general function."""
    return values * values


class Resampling(nn.Module):
    """A linear map of the rows, and one of the columns, of (..., h, w) maps.

    Args:
        vertical: (H, h), the share of each row in each new row.
        horizontal: (W, w), the same for columns.
    """

    vertical: Tensor
    horizontal: Tensor

    def __init__(self, vertical: np.ndarray, horizontal: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("vertical", constant(vertical))
        self.register_buffer("horizontal", constant(horizontal.T))

    def forward(self, maps: Tensor) -> Tensor:
        """(..., h, w) to (..., H, W)."""
        return self.vertical @ (maps @ self.horizontal)


class Embedding(nn.Module):
    """Patches of feature maps, as ``PatchEmbedding`` makes them.

    Args:
        embedding: Its settings.
        shapes: Of the layers, finest first.

    Attributes:
        grid: (h, w) of the patches.
    """

    def __init__(self, embedding: PatchEmbedding, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.embedding = embedding
        _, height, width = shapes[0]
        self.grid = (height, width)
        self.resampled = nn.ModuleList(
            Resampling(_embedded(embedding, h, height), _embedded(embedding, w, width))
            for _, h, w in shapes
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(n, c, h, w) of each layer to (n, d, h, w), a patch at each position."""
        if self.embedding.kind == "official":
            maps = official_embedding(list(maps), self.embedding.patch)
        layers = zip(self.resampled, maps, strict=True)
        return torch.cat([resampled(layer) for resampled, layer in layers], dim=1)


def anomaly_maps(rule: AnomalyMap, shapes: Sequence[Shape], size: tuple[int, int]) -> Resampling:
    """From (n, h, w) patch scores to (n, H, W) anomaly maps, as ``AnomalyMap`` makes them.

    Args:
        rule: Its settings.
        shapes: Of the layers; the first has the (h, w) of the patches.
        size: (H, W).
    """
    _, h, w = shapes[0]
    return Resampling(_upsampled(rule, h, size[0]), _upsampled(rule, w, size[1]))


def _embedded(embedding: PatchEmbedding, own: int, fine: int) -> np.ndarray:
    """(fine, own): the averages along an axis of a layer, brought to the finest size."""
    averaged = torch.eye(own)  # a column for each position
    if embedding.pools:
        shrinks = embedding.pool_padding == "shrink"
        averaged = F.avg_pool1d(
            averaged,
            embedding.patch,
            stride=1,
            padding=0 if shrinks else embedding.patch // 2,
            count_include_pad=embedding.pool_padding is True,
        )
    lines = averaged[:, None, :, None]  # (own, 1, positions, 1)
    resized: np.ndarray = patches.resize(lines, (fine, 1), embedding.upsample).numpy()
    return resized[:, 0, :, 0].T


def _upsampled(rule: AnomalyMap, own: int, fine: int) -> np.ndarray:
    """(fine, own): upsampling along an axis, then the blur."""
    align = None if rule.upsample == "nearest" else False
    lines = torch.eye(own)[:, None, :, None]
    # float32, as in the maps: in float64 a position between two neighbours may go to the other one
    upsampled = F.interpolate(lines, (fine, 1), mode=rule.upsample, align_corners=align)
    matrix: np.ndarray = upsampled[:, 0, :, 0].T.double().numpy()
    if rule.blurs:
        mode = "constant" if rule.edge == "zero" else rule.edge
        matrix = gaussian_filter1d(matrix, rule.sigma, axis=0, mode=mode, radius=rule.radius)
    return matrix
