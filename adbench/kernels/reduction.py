"""Reduce the channels of feature maps: keep some of them, or project all of them linearly.

Both commute with the blockwise copies that bring a deeper map to the finest resolution. So each
layer is reduced at its own resolution, and the map of all channels at the finest resolution is
never made.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

from adbench.kernels import patches, projection
from adbench.kernels.blockwise import Block, Part, Stored

Kind = Literal["select", "gaussian", "orthonormal", "sparse", "none"]


def draw(kind: Kind, channels: Sequence[int], dims: int, seed: int) -> list[np.ndarray]:
    """Draw a reduction of all channels of a position to ``dims`` dimensions.

    Args:
        kind: ``select`` chooses channels; ``gaussian``, ``orthonormal`` and ``sparse`` project
            (see ``adbench.kernels.projection``); ``none`` keeps all channels.
        channels: Of each layer.
        dims: Dimensions left; not read by ``none``.
        seed: Of the draw; not read by ``none``.

    Returns:
        For each layer, the (kept,) int64 channels that are kept, or a (c, dims) float32 matrix.
    """
    if kind == "none":
        return [np.arange(count) for count in channels]
    total, ends = sum(channels), np.cumsum(channels)
    if kind == "select":
        chosen = projection.select(total, dims, seed).numpy()
        bounds = [0, *ends.tolist()]
        return [chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(bounds)]
    matrix = {
        "gaussian": projection.gaussian,
        "orthonormal": projection.orthonormal,
        "sparse": projection.sparse,
    }[kind](total, dims, seed)
    return np.split(matrix.numpy(), ends[:-1])


class Reduction:
    """A reduction of maps of known shapes.

    Args:
        shapes: (c, h, w) of each layer, finest first.
        layers: What ``draw`` returned.

    Attributes:
        parts: (cells, dims) of each array of reduced values: one per layer where channels are kept,
            a single one where layers are projected.
        cells: For each layer, the (positions,) cells that the positions of the finest map copy.
        positions: Of the finest map.
        dims: Of a position.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], layers: Sequence[np.ndarray]) -> None:
        self.shapes, self.layers = list(shapes), list(layers)
        self.projects = layers[0].ndim == 2
        cells = [h * w for _, h, w in shapes]
        self.positions = cells[0]
        if self.projects:
            self.parts = [(self.positions, int(layers[0].shape[1]))]
        else:
            self.parts = [(n, len(kept)) for n, kept in zip(cells, layers, strict=True)]
        self.dims = sum(dims for _, dims in self.parts)
        self.cells = [_copied(h, w, (shapes[0][1], shapes[0][2])) for _, h, w in shapes]

    @property
    def nbytes(self) -> int:
        """Bytes of the reduced values of an image."""
        return 4 * sum(cells * dims for cells, dims in self.parts)

    def blocks(self, size: int | None = None) -> list[Block]:
        """All positions of the finest map, ``size`` at a time.

        None takes whole rows that share no cell with the next ones, or few positions where nothing
        is shared.
        """
        return Block.cut(self.cells[: len(self.parts)], size or self.block)

    @property
    def block(self) -> int:
        """Positions of a block where none are given."""
        _, h, w = self.shapes[0]
        shared = 1 if self.projects else h // min(shape[1] for shape in self.shapes)
        return w * shared if shared > 1 else 32

    def stored(self, values: Sequence[np.ndarray]) -> list[Part]:
        """The (cells, n, dims) reduced values of some images, with the cells that are copied."""
        return [Stored(x, cell) for x, cell in zip(values, self.cells, strict=not self.projects)]

    def keep(self, layer: int, maps: np.ndarray) -> np.ndarray:
        """(c, ...) of a layer to the channels that are kept; a projection keeps all."""
        return maps if self.projects else maps[self.layers[layer]]

    def centred(self, image: Sequence[np.ndarray], mean: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Reduced values of one image, less those of the mean.

        Args:
            image: (c, cells) of each layer.
            mean: (c', cells) of each layer, of what is kept.

        Returns:
            (cells, dims) of each part.
        """
        values = [(self.keep(i, x) - mean[i]).T for i, x in enumerate(image)]
        if not self.projects:
            return values
        total, *deeper = [x @ matrix for x, matrix in zip(values, self.layers, strict=True)]
        for projected, cell in zip(deeper, self.cells[1:], strict=True):
            total += np.take(projected, cell, axis=0)
        return [total]


def _copied(h: int, w: int, finest: tuple[int, int]) -> np.ndarray:
    """(positions,) the cell of an (h, w) map that each position of the finest map copies."""
    numbers = torch.arange(h * w, dtype=torch.float32).reshape(1, 1, h, w)
    cells: np.ndarray = patches.resize(numbers, finest, "nearest").flatten().long().numpy()
    return cells
