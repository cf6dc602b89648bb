"""Patch vectors of feature maps (Roth et al., CVPR 2022, section 3.1), for several methods."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import ImpossibleError
from adbench.features.features import Features
from adbench.kernels import patches
from adbench.kernels.finite import require_finite
from adbench.system.precision import whole_floats
from adbench.system.settings import STRICT, When

BLOCK = 80 * 10**6
"""Bytes of patches that exist at a time, so that a whole set is never held: 16 images of
WideResNet50."""


@dataclass(frozen=True, config=STRICT)
class PatchEmbedding:
    """How features become patch vectors: each layer is averaged locally, then layers are stacked.

    An image has h w patches, one for each position of its finest layer. Rows of patches go image by
    image, then row by row.
    """

    kind: Literal["concat", "official"] = "concat"
    """concat: averaged layers stacked along the channels. official: the 1024 values that
    patchcore-inspection pools out of its unfolded patches; see ``official_embedding``."""
    patch: Annotated[int, Field(ge=1, le=9999)] = 3
    """Edge of the neighbourhood that is averaged; odd, 1 for none."""
    pool_padding: Annotated[patches.Border, When("pools")] = True
    """Whether zeros beyond the border of the map count into the average, as they do in anomalib and
    in the average pooling of torch. ``shrink`` averages neighbourhoods inside the map alone, and
    brings what is left, smaller by patch - 1, to the size of the finest map (ind_knn_ad)."""
    upsample: Literal["bilinear", "nearest", "adaptive"] = "bilinear"
    """How deeper layers reach the size of the finest; the PatchCore-CLIP report averages
    adaptively."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patch % 2 == 0:
            raise ValueError(f"patch must be odd, got {self.patch}")
        return self

    @property
    def pools(self) -> bool:
        """The kind is concat and the patch is larger than 1."""
        return self.kind == "concat" and self.patch > 1

    def layers(self, features: Features) -> list[Tensor]:
        """(n, c, h, w) averaged layers, finest first, each at its own resolution or the finest.

        Raises:
            ImpossibleError: Features for which the kind or the patch is not defined.
        """
        if self.kind == "official":
            return official_embedding(features.maps, self.patch)
        if self.pool_padding == "shrink":
            return self._shrunk(features)
        return [patches.pool(m, self.patch, self.pool_padding) for m in features.maps]

    def channels(self, features: Features) -> list[int]:
        """Channels of each of ``layers``; their sum is the dimension d of a patch."""
        return [512, 512] if self.kind == "official" else features.channels

    def count(self, features: Features) -> int:
        """The number of patches of all images, n h w."""
        height, width = features.grid
        return len(features) * height * width

    def __call__(self, features: Features) -> Tensor:
        """(n h w, d) float32 patches of all images.

        Raises:
            AdbenchError: Features that are not finite, or as ``layers``.
        """
        embedded = patches.rows(patches.stack(self.layers(features), self.upsample))
        require_finite(embedded, "patch features")
        return embedded

    def blocks(self, features: Features) -> Iterator[Features]:
        """The images in order, in blocks whose patches take about ``BLOCK`` bytes."""
        height, width = features.grid
        return features.blocks(BLOCK, 4 * height * width * sum(self.channels(features)))

    def rows(self, features: Features, picked: np.ndarray) -> Tensor:
        """(m, d) float32 patches of the (m,) picked rows, in the order of the picks, on the CPU."""
        places = np.argsort(picked, kind="stable")  # where the patches go, by ascending row
        ordered = picked[places]
        chosen = torch.empty(len(picked), sum(self.channels(features)))
        first = 0
        for block in self.blocks(features):
            embedded = self(block)
            here = slice(*np.searchsorted(ordered, [first, first + len(embedded)]))
            rows = torch.from_numpy(ordered[here] - first).to(embedded.device)
            chosen[torch.from_numpy(places[here])] = embedded[rows].cpu()
            first += len(embedded)
        return chosen

    def _shrunk(self, features: Features) -> list[Tensor]:
        smallest = min(edge for m in features.maps for edge in m.shape[-2:])
        if smallest < self.patch:
            raise ImpossibleError(
                f"embedding.pool_padding=shrink: a map has only {smallest} positions along a side, "
                f"and a neighbourhood has {self.patch}; set it to true or false"
            )
        pooled = [patches.pool(m, self.patch, "shrink") for m in features.maps]
        return [patches.resize(m, features.grid, self.upsample) for m in pooled]


def official_embedding(maps: list[Tensor], patch: int = 3) -> list[Tensor]:
    """The embedding of patchcore-inspection in its exact, cheap form.

    That code (its ``PreprocessingModule`` and ``Aggregator``) unfolds c * 9 values per patch, pools
    them adaptively to 1024 per layer, stacks the two layers and pools the 2048 values to 1024. For
    512 and 1024 channels and 3 x 3 patches that is: values 0 to 511 are the finer layer under the
    filter [[.1 .1 .1] [.1 .2 .1] [.1 .1 .1]] with zeros beyond the border, values 512 to 1023 are
    the means of adjacent pairs of channels of the 3 x 3 averaged deeper layer.

    Args:
        maps: (n, 512, h, w) and (n, 1024, h', w').
        patch: Must be 3.

    Returns:
        (n, 512, h, w) and (n, 512, h', w').

    Raises:
        ImpossibleError: Other channels or another patch.
    """
    channels = tuple(int(m.shape[1]) for m in maps)
    if channels != (512, 1024) or patch != 3:
        raise ImpossibleError(
            "embedding.kind=official is defined for layers of (512, 1024) channels and patch 3, "
            f"got {channels} and {patch}; use embedding.kind=concat"
        )
    fine, deep = maps
    kernel = torch.full((512, 1, 3, 3), 0.1, dtype=fine.dtype, device=fine.device)
    kernel[:, :, 1, 1] = 0.2
    pooled = F.avg_pool2d(deep, 3, stride=1, padding=1)
    with whole_floats(fine.device):
        filtered = F.conv2d(fine, kernel, padding=1, groups=512)
    return [
        filtered,
        (pooled[:, 0::2] + pooled[:, 1::2]) / 2,
    ]
