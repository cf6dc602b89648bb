"""The reduced values of images, less those of the mean, by plain torch on a device."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from adbench.kernels.reduction import Reduction

IMAGES = 64 * 1024**2
"""Bytes of maps that are brought to the device at a time."""


class Reduced:
    """Reduces maps on a device, as ``Reduction.centred`` does on the CPU.

    Args:
        reduction: Of the channels.
        mean: For each layer, the (c', cells) float32 mean of the channels that are kept.
        device: Where plain torch computes.
    """

    def __init__(
        self, reduction: Reduction, mean: Sequence[np.ndarray], device: torch.device
    ) -> None:
        self.reduction, self.device = reduction, device
        self.mean = [torch.from_numpy(mu).to(device) for mu in mean]
        self.cells = [torch.from_numpy(cell).to(device) for cell in reduction.cells]
        self._layers = [torch.from_numpy(layer).to(device) for layer in reduction.layers]

    def __call__(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(b, c, h, w) of each layer on the device to the (cells, b, dims) of each part."""
        values = []
        for m, layer, mu in zip(maps, self._layers, self.mean, strict=True):
            cells = m.flatten(2)
            kept = cells if self.reduction.projects else cells[:, layer]
            values.append((kept - mu).permute(2, 0, 1))  # (cells, b, c')
        if not self.reduction.projects:
            return values
        total, *deeper = [x @ matrix for x, matrix in zip(values, self._layers, strict=True)]
        for projected, cell in zip(deeper, self.cells[1:], strict=True):
            total += projected[cell]
        return [total]

    def at(self, parts: Sequence[Tensor], block: slice) -> Tensor:
        """(positions, n, d): all parts side by side, for some positions of the finest map."""
        pairs = zip(parts, self.cells, strict=not self.reduction.projects)
        return torch.cat([part[cell[block]] for part, cell in pairs], dim=2)


def some_at_a_time(
    maps: Sequence[Tensor], device: torch.device, evict: Callable[[], None]
) -> Iterator[list[Tensor]]:
    """The maps on the device, about ``IMAGES`` bytes at a time."""
    images = max(1, IMAGES // sum(m[0].nbytes for m in maps))
    for first in range(0, len(maps[0]), images):
        yield [m[first : first + images].to(device) for m in maps]
        evict()
