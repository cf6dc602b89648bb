"""Which normal patches a memory bank keeps (Roth et al., CVPR 2022, section 3.2, algorithm 1)."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import ImpossibleError
from adbench.features.features import Features
from adbench.kernels import patches, projection
from adbench.kernels.coreset import greedy, greedy_bytes, official_start, random_order
from adbench.kernels.finite import require_finite
from adbench.methods.embedding import PatchEmbedding
from adbench.system.precision import whole_floats
from adbench.system.settings import STRICT, When, settings_of


@dataclass(frozen=True, config=STRICT)
class Coreset:
    """An order of the normal patches; a coreset of m patches is the first m of them."""

    sampler: Literal["greedy", "random"] = "greedy"
    """greedy: pick the patch farthest from all picks so far (algorithm 1); random: a uniform
    draw."""
    projection: Annotated[Literal["none", "gaussian", "jl_sparse"], When("is_greedy")] = "gaussian"
    """The random linear map into the space in which greedy selection measures distances. The bank
    itself is never projected."""
    dim: Annotated[int, Field(ge=1), When("is_gaussian")] = 128
    """Dimensions of the gaussian projection; 128 in patchcore-inspection. Patches with fewer keep
    their number."""
    eps: Annotated[float, Field(gt=0, lt=1), When("is_sparse")] = 0.9
    """Distortion of distances that jl_sparse may make; it gives the number of dimensions by the
    lemma of Johnson and Lindenstrauss. 0.9 in anomalib and the paper."""
    start: Annotated[Literal["first", "random", "official10"], When("is_greedy")] = "first"
    """The first pick: patch 0, a random one, or the patch with the largest mean distance to 10
    random ones, as in patchcore-inspection."""
    seed: Annotated[int, Field(ge=0), When("draws")] = 0
    """Seed of the random sampler, of the projection and of the start."""

    @property
    def is_greedy(self) -> bool:
        """The sampler is greedy."""
        return self.sampler == "greedy"

    @property
    def is_gaussian(self) -> bool:
        """The sampler is greedy and its projection is gaussian."""
        return self.is_greedy and self.projection == "gaussian"

    @property
    def is_sparse(self) -> bool:
        """The sampler is greedy and its projection is jl_sparse."""
        return self.is_greedy and self.projection == "jl_sparse"

    @property
    def draws(self) -> bool:
        """The sampler, the projection or the start is random."""
        return not self.is_greedy or self.projection != "none" or self.start != "first"

    def order(
        self,
        embedding: PatchEmbedding,
        normal: Features,
        size: int,
        known: np.ndarray | None = None,
    ) -> np.ndarray:
        """The first ``size`` patches of the order; a longer order begins with a shorter one.

        Args:
            embedding: Makes the patches.
            normal: Features of the normal images.
            size: How many, 1 to the number of patches.
            known: First picks of the same order, from an earlier call.

        Returns:
            (size,) int64 rows, first pick first.

        Raises:
            ImpossibleError: ``eps`` needs more dimensions than a patch has.
            AdbenchError: Features are not finite.
        """
        count = embedding.count(normal)
        if self.sampler == "random":
            return random_order(count, size, self.seed)
        if known is not None and len(known) >= size:
            return known[:size].astype(np.int64)
        points = self._points(embedding, normal)  # (n, dims)
        first, initial = 0, None
        if self.start == "official10":
            initial = official_start(points, self.seed)
        elif self.start == "random":
            first = int(np.random.default_rng(self.seed).integers(count))
        # Algorithm 1: m_i <- argmax over the patches of the distance to the nearest of m_1 .. m_i-1
        plain = normal.torch_device is not None
        return greedy(points, size, first, initial, known, plain)

    def rows(
        self,
        embedding: PatchEmbedding,
        normal: Features,
        ratio: float,
        known: np.ndarray | None = None,
    ) -> np.ndarray:
        """(m,) int64 rows that a bank keeps: int(n * ratio) of the order, or all n in theirs.

        Raises:
            ImpossibleError: The ratio keeps no patch; and as ``order``.
        """
        count = embedding.count(normal)
        size = bank_size(ratio, count)
        return np.arange(count) if ratio == 1 else self.order(embedding, normal, size, known)

    def selection(self, embedding: PatchEmbedding) -> dict[str, Any] | None:
        """What ``order`` follows from beside the features; None where it costs next to nothing."""
        if not self.is_greedy:
            return None
        return {"embedding": settings_of(embedding), "coreset": settings_of(self)}

    def memory(self, embedding: PatchEmbedding, normal: Features, size: int) -> int:
        """Bytes that ``order`` holds at its peak, apart from one block of patches."""
        if not self.is_greedy:
            return 0
        count, d = embedding.count(normal), sum(embedding.channels(normal))
        return greedy_bytes(count, self._dims(count, d), size)

    def device_memory(self, embedding: PatchEmbedding, normal: Features) -> int:
        """Bytes of a device that ``order`` holds at its peak, apart from one block of patches."""
        if not self.is_greedy:
            return 0
        count, d = embedding.count(normal), sum(embedding.channels(normal))
        return 4 * count * (self._dims(count, d) + 4)  # the points, and a few numbers of each

    def _points(self, embedding: PatchEmbedding, normal: Features) -> Tensor:
        """(n, dims) float32 patches in the space of the selection, on the device of the features.

        Upsampling and projecting are linear, so each layer is projected at its own resolution and
        the patches themselves are never made.
        """
        count, channels = embedding.count(normal), embedding.channels(normal)
        d = sum(channels)
        dims = self._dims(count, d)
        parts: list[Tensor] = []
        if self.projection != "none":
            draw = projection.gaussian if self.projection == "gaussian" else projection.sparse
            parts = list(torch.split(draw(d, dims, self.seed).to(normal.device), channels))
        points = torch.empty(count, dims, device=normal.device)
        done = 0
        for block in embedding.blocks(normal):
            made = _projected(embedding, block, parts) if parts else embedding(block)
            points[done : done + len(made)] = made
            done += len(made)
        require_finite(points, "patch features")
        return points

    def _dims(self, count: int, d: int) -> int:
        if self.projection == "none":
            return d
        if self.projection == "gaussian":
            return min(self.dim, d)
        return projection.jl_dimension(count, self.eps, d)


def _projected(embedding: PatchEmbedding, block: Features, parts: list[Tensor]) -> Tensor:
    """(n h w, dims) from the rows of the projection that belong to each layer."""
    with whole_floats(parts[0].device):
        layers = [
            F.conv2d(layer, part.T[:, :, None, None])
            for layer, part in zip(embedding.layers(block), parts, strict=True)
        ]
    total = layers[0]
    for deeper in layers[1:]:
        total = total + patches.resize(deeper, block.grid, embedding.upsample)
    return patches.rows(total)


def smaller_banks(ratio: float) -> Iterator[dict[str, Any]]:
    """Settings of smaller banks than one of this ratio, the largest first."""
    yield from ({"ratio": r} for r in (0.5, 0.25, 0.1, 0.05, 0.01, 0.001) if r < ratio)


def bank_size(ratio: float, count: int) -> int:
    """How many of ``count`` patches a bank keeps: int(count * ratio).

    Raises:
        ImpossibleError: The bank would keep no patch.
    """
    size = int(count * ratio)
    if size == 0:
        least = math.ceil(1e6 / count) / 1e6
        raise ImpossibleError(f"ratio {ratio:g} keeps 0 of {count} patches; use at least {least:g}")
    return size
