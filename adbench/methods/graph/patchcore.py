"""PatchCore as a graph (Roth et al., CVPR 2022, equations 6 and 7).

The nearest items are found by matrix products, and their distances are then summed from direct
differences: |x|^2 + |m|^2 - 2 x'm would leave nothing but rounding where a patch lies in the bank.
"""

import math
from functools import partial
from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adbench.kernels.stacked import SHORTEST, unit
from adbench.methods.graph.parts import Embedding, Resampling, squares

BLOCK = 2048
"""Items of the bank in one product: for the 784 patches of an image it takes 6 MB."""


class PatchCoreGraph(nn.Module):
    """A fitted PatchCore.

    Args:
        embedding: From feature maps to patches.
        anomaly_maps: From the scores of patches to maps.
        bank: (m, d) float32.
        around: (m, b) int64, the items of N_b(m*) for each item m*; None without re-weighting.
        map_k: Neighbours whose distances are averaged, at most m.
        scaled: Whether the exponents of equation 7 are divided by sqrt(d).
        distance: Whether scores are squared before they become maps, or are 1 - cosine.
        top: How many of the highest patch scores the score of an image averages, where there is no
            re-weighting.
    """

    mean: Tensor
    around: Tensor | None

    def __init__(
        self,
        embedding: Embedding,
        anomaly_maps: Resampling,
        bank: Tensor,
        around: Tensor | None,
        map_k: int,
        scaled: bool,
        distance: Literal["root", "squared", "cosine"],
        top: int = 1,
    ) -> None:
        super().__init__()
        self.embedding, self.anomaly_maps = embedding, anomaly_maps
        self.map_k, self.distance, self.top = map_k, distance, top
        self.scale = math.sqrt(bank.shape[1]) if scaled else 1.0
        bank = unit(bank.cpu()) if distance == "cosine" else bank.cpu()
        mean = bank.mean(dim=0, dtype=torch.float64).float()
        parts = (bank - mean).tensor_split(math.ceil(len(bank) / BLOCK))
        starts = accumulate((len(part) for part in parts[:-1]), initial=0)
        self.blocks = nn.ModuleList(map(partial(_Block, k=map_k), parts, starts))
        self.register_buffer("mean", mean)
        self.register_buffer("around", around)

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) of each layer to (n,) image scores and (n, H, W) anomaly maps."""
        embedded = self.embedding(maps).flatten(2).transpose(1, 2)  # (n, h w, d)
        if self.distance == "cosine":
            length = squares(embedded).sum(dim=2, keepdim=True).sqrt()
            embedded = embedded / length.clamp_min(SHORTEST)
        embedded = embedded - self.mean[None, None]
        distances, items = self._nearest(embedded.flatten(0, 1))  # (n h w, map_k)
        positions = math.prod(self.embedding.grid)
        if self.distance == "cosine":
            distances = squares(distances) / 2
        scores = distances.mean(dim=1).unflatten(0, (-1, positions))  # (n, h w)
        images, place = scores.max(dim=1)  # s* and the place of m_test
        if self.around is not None:
            nearest = (found[:, 0].unflatten(0, (-1, positions)) for found in (distances, items))
            star, item = (found.gather(1, place[:, None])[:, 0] for found in nearest)  # (n,)
            everywhere = place[:, None, None].expand(-1, 1, embedded.shape[2])
            m_test = embedded.gather(1, everywhere)  # (n, 1, d)
            images = images * self._weight(m_test, star, F.embedding(item, self.around))
        if self.distance == "squared":
            scores, images = squares(scores), squares(images)
        if self.top > 1:
            images = scores.topk(self.top, dim=1).values.mean(dim=1)
        return images, self.anomaly_maps(scores.unflatten(1, self.embedding.grid))

    def _nearest(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(q, map_k) distances to the nearest items of the bank, ascending, and these items."""
        found = [block(patches) for block in self.blocks]
        squared, items = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        nearest = squared.topk(self.map_k, dim=1, largest=False)
        return nearest.values.sqrt(), items.gather(1, nearest.indices)

    def _weight(self, m_test: Tensor, star: Tensor, around: Tensor) -> Tensor:
        """(n,) the factor of s* in equation 7.

        Args:
            m_test: (n, 1, d).
            star: (n,) |m_test - m*|.
            around: (n, b) the items of N_b(m*).
        """
        bank = torch.cat([block.get_buffer("items") for block in self.blocks])
        apart = squares(F.embedding(around, bank) - m_test).sum(dim=2).sqrt()  # (n, b)
        # the difference inside: exp |m_test - m| alone overflows float32 above 88
        return 1 - 1 / torch.exp((apart - star[:, None]) / self.scale).sum(dim=1)


class _Block(nn.Module):
    """Some consecutive items of the bank, less its mean."""

    items: Tensor
    offsets: Tensor

    def __init__(self, items: Tensor, first: int, k: int) -> None:
        super().__init__()
        self.first, self.k = first, min(k, len(items))
        self.register_buffer("items", items)
        self.register_buffer("offsets", -items.double().square().sum(dim=1).float() / 2)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(q, d) patches to (q, k) squared distances to the nearest items, and rows of the bank."""
        similar = F.linear(patches, self.items, self.offsets)  # (|x|^2 - |x - m|^2) / 2
        rows = similar.argmax(1, keepdim=True) if self.k == 1 else similar.topk(self.k).indices
        apart = patches[:, None] - F.embedding(rows, self.items)  # (q, k, d)
        return squares(apart).sum(dim=2), rows + self.first
