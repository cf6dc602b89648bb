"""Coordinates of patches on the axes of a Gram matrix, and what few of these axes leave.

A ridge regression weighs the squared coordinate of a patch on each axis (Han & Yan, arXiv
2401.09443). The weight is next to 1 on axes that hold next to nothing of the data. Such axes need
not be computed one by one: together they hold the squared length of what the others leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adbench.kernels import patches, stacked


@dataclass(frozen=True)
class Axes:
    """Orthonormal axes, and what is done to a patch before it meets them.

    Attributes:
        axes: (d, d) float32 as columns, the most important last.
        mean: (d,) float32.
        offset: (d,) float32, the coordinates of ``mean``.
        unit: Whether a patch is first scaled to length 1.
        center: Whether ``mean`` is subtracted from it then.
        rule: How deeper layers reach the finest size.
    """

    axes: Tensor
    mean: Tensor
    offset: Tensor
    unit: bool
    center: bool
    rule: patches.Rule

    def on(self, device: torch.device | None) -> "Axes":
        """Itself on a device; None leaves it where it is."""
        moved = {n: getattr(self, n).to(device) for n in ("axes", "mean", "offset")}
        return replace(self, **moved)

    def squares(self, layers: list[Tensor], rank: int) -> tuple[Tensor, Tensor]:
        """The squared coordinates of the patches of one image on the last ``rank`` axes.

        Args:
            layers: (1, c, p, q) each, finest first.
            rank: 0 to d.

        Returns:
            (h w, rank) float32 squares, and (h w,) the squared lengths of what these axes leave.
        """
        if rank == len(self.axes):
            y = self._standardised(stacked.project(layers, self.axes, self.rule), self.offset)
            return y.square_(), y.new_zeros(len(y))
        axes = self.axes[:, len(self.axes) - rank :]
        y = self._standardised(patches.rows(patches.stack(layers, self.rule)), self.mean)
        coordinates = stacked.product(y, axes)
        # a difference of squared lengths instead of this difference would cancel
        rest = y - stacked.product(coordinates, axes.T)
        return coordinates.square_(), rest.square_().sum(dim=1)

    def _standardised(self, y: Tensor, mean: Tensor) -> Tensor:
        """For patches, or for their coordinates on all axes, whose lengths are the same."""
        if self.unit:
            y = stacked.unit(y)
        return y - mean if self.center else y


def cheapest_rank(
    weights: Tensor, shapes: Sequence[Sequence[int]], tolerance: float
) -> tuple[int, int]:
    """How many axes, the last ones, to compute for a sum of weighted squares.

    An axis that is left out counts with weight 1. It is left out where its weight is at least
    1 - tolerance. So a sum is never too low, nor too high by more than a factor
    1 / (1 - tolerance), whatever the patch. All axes are computed where that is less work.

    Args:
        weights: (d,) descending, from at most 1.
        shapes: (c, p, q) of each layer, finest first.
        tolerance: 0 to 1.

    Returns:
        The number of axes, and the multiply-adds per image.
    """
    (_, height, width), d = shapes[0], len(weights)
    rank = int((weights < 1 - tolerance).sum())
    every, few = d * sum(c * p * q for c, p, q in shapes), 2 * rank * d * height * width
    return (rank, few) if few < every else (d, every)
