"""SubspaceAD as a graph (Lendering et al., arXiv 2602.23013, section 3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from adbench.methods.embedding import PatchEmbedding
from adbench.methods.graph.parts import Embedding, Resampling, Shape, squares


class SubspaceGraph(nn.Module):
    """A fitted SubspaceAD.

    Args:
        embedding: Settings of the patches.
        shapes: Of the layers, finest first.
        merged: How many layers of one shape are averaged to a patch; 1 where they are stacked.
        anomaly_maps: From the scores of patches to maps.
        axes: (d, r) float32, the axes that are kept.
        mean: (d,) float32, the mean patch.
        top: How many of the highest patch scores the score of an image averages.
    """

    axes: Tensor
    mean: Tensor

    def __init__(
        self,
        embedding: PatchEmbedding,
        shapes: Sequence[Shape],
        merged: int,
        anomaly_maps: Resampling,
        axes: Tensor,
        mean: Tensor,
        top: int,
    ) -> None:
        super().__init__()
        self.embedding, self.anomaly_maps = Embedding(embedding, shapes), anomaly_maps
        self.merged, self.top = merged, top
        self.register_buffer("axes", axes[:, :, None, None].contiguous())
        self.register_buffer("mean", mean[:, None, None])

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) of each layer to (n,) image scores and (n, H, W) anomaly maps."""
        x = self.embedding(maps)  # (n, d, h, w)
        if self.merged > 1:
            x = x.unflatten(1, (self.merged, -1)).mean(dim=1)
        x = x - self.mean
        coordinates = F.conv2d(x, self.axes.transpose(0, 1))  # (n, r, h, w)
        # a difference of squared lengths instead of this difference would cancel
        scores = squares(x - F.conv2d(coordinates, self.axes)).sum(dim=1)
        highest = scores.flatten(1).topk(self.top, dim=1).values
        return highest.mean(dim=1), self.anomaly_maps(scores)
