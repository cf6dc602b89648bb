"""CRD as a graph (Han & Yan, arXiv 2401.09443, equations 3.7 and 3.8)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from adbench.kernels.stacked import SHORTEST
from adbench.methods.graph.parts import Embedding, Resampling, squares


class CRDGraph(nn.Module):
    """A fitted CRD.

    Args:
        embedding: From feature maps to patches.
        anomaly_maps: From the scores of patches to maps.
        axes: (d, r) float32, the axes of the Gram matrix that are computed.
        weights: (r,) float64, what the squared coordinate on each of them counts. Those on all the
            others count 1.
        mean: (d,) float32, subtracted from every patch; None for nothing.
        normalize: Whether every patch is first scaled to length 1.
        power: Whether patch scores are square roots.
    """

    axes: Tensor
    weights: Tensor
    mean: Tensor | None

    def __init__(
        self,
        embedding: Embedding,
        anomaly_maps: Resampling,
        axes: Tensor,
        weights: Tensor,
        mean: Tensor | None,
        normalize: Literal["none", "l2"],
        power: Literal["squared", "root"],
    ) -> None:
        super().__init__()
        self.embedding, self.anomaly_maps = embedding, anomaly_maps
        self.normalize, self.power = normalize, power
        self.complete = axes.shape[0] == axes.shape[1]
        self.register_buffer("axes", axes[:, :, None, None].contiguous())
        self.register_buffer("weights", weights.float()[:, None, None])
        self.register_buffer("mean", None if mean is None else mean[:, None, None])

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) of each layer to (n,) image scores and (n, H, W) anomaly maps."""
        y = self.embedding(maps)  # (n, d, h, w)
        if self.normalize == "l2":
            y = y / squares(y).sum(dim=1, keepdim=True).sqrt().clamp_min(SHORTEST)
        if self.mean is not None:
            y = y - self.mean
        coordinates = F.conv2d(y, self.axes.transpose(0, 1))  # (n, r, h, w)
        scores = (squares(coordinates) * self.weights).sum(dim=1)
        if not self.complete:
            # a difference of squared lengths instead of this difference would cancel
            rest = y - F.conv2d(coordinates, self.axes)
            scores = scores + squares(rest).sum(dim=1)
        if self.power == "root":
            scores = scores.sqrt()
        return scores.amax(dim=(1, 2)), self.anomaly_maps(scores)
