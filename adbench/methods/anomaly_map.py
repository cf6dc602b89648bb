"""From patch scores to anomaly maps at the input size of the network: upsampling, then a blur."""

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from torch import Tensor

from adbench.kernels.device import block_size, in_blocks
from adbench.system.parallel import workers
from adbench.system.precision import whole_floats
from adbench.system.settings import STRICT, When

REACH = 10_000
"""Pixels on each side that a blur may reach: all of the largest images there are. The work of a
blur grows with its reach, and beyond the border of the map there is nothing new."""
_NUMPYS = {"reflect": "symmetric", "mirror": "reflect"}
"""What numpy calls the edges that scipy calls so."""


@dataclass(frozen=True, config=STRICT)
class AnomalyMap:
    """How patch scores become an anomaly map: they are upsampled, then blurred."""

    upsample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    """bicubic in PaDiM's paper, nearest in anomalib's PatchCore, bilinear in nearly all others."""
    sigma: Annotated[float, Field(ge=0, le=REACH / 4)] = 4.0
    """Standard deviation of the Gaussian in pixels of the map; 0 for no blur. All papers use 4."""
    radius: Annotated[Annotated[int, Field(ge=1, le=REACH)] | None, When("blurs")] = None
    """Pixels on each side that the Gaussian reaches. None: int(4 sigma + 0.5), as in scipy: 16 at
    sigma 4, which are the 33 taps of anomalib. ind_knn_ad uses 10 (21 x 21)."""
    edge: Annotated[Literal["reflect", "mirror", "zero"], When("blurs")] = "reflect"
    """Beyond the border: reflect repeats the pixel at the edge (the default of scipy), mirror does
    not (torchvision), zero is the choice of ind_knn_ad, which hides defects at the border."""

    @property
    def blurs(self) -> bool:
        """The sigma is above 0."""
        return self.sigma > 0

    def __call__(self, patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Make the maps.

        Args:
            patch_scores: (n, h, w).
            size: (H, W) of the maps in pixels.

        Returns:
            (n, H, W) float32 on the CPU.
        """
        if patch_scores.device.type != "cpu":
            return self._on_device(patch_scores, size)
        maps = self.upsampled(patch_scores, size)
        if not self.blurs:
            return maps
        blurred = np.empty(maps.shape, np.float32)
        pairs = list(zip(maps.numpy(), blurred, strict=True))
        if len(pairs) == 1:  # threads would cost one image more than its blur
            self._blur(pairs[0])
        else:
            with workers(limit=len(pairs)) as each:
                each(self._blur, pairs)
        return torch.from_numpy(blurred)

    @staticmethod
    def block(size: tuple[int, int]) -> int:
        """How many maps of (H, W) pixels are made at a time where not all have to be kept."""
        return block_size(4 * 6 * size[0] * size[1])

    def upsampled(self, patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
        """The (n, H, W) maps before the blur, on the device of the scores."""
        align = None if self.upsample == "nearest" else False
        scores = patch_scores[:, None].float()
        return F.interpolate(scores, size, mode=self.upsample, align_corners=align)[:, 0]

    def blurred(self, maps: Tensor) -> Tensor:
        """The blur of (n, H, W) maps by plain torch, along the columns and then along the rows.

        See ``_blur`` for what it equals.
        """
        taps = self._taps().to(maps.device)
        for axis in (1, 2):
            shape = (1, 1, -1, 1) if axis == 1 else (1, 1, 1, -1)
            padded = self._padded(maps, axis, len(taps) // 2)
            with whole_floats(maps.device):
                maps = F.conv2d(padded[:, None], taps.reshape(shape))[:, 0]
        return maps

    def _on_device(self, patch_scores: Tensor, size: tuple[int, int]) -> Tensor:
        """The maps by plain torch, some images at a time."""

        def make(images: slice) -> Tensor:
            maps = self.upsampled(patch_scores[images], size)
            return (self.blurred(maps) if self.blurs else maps).cpu()

        if not len(patch_scores):
            return torch.empty(0, *size)
        images = in_blocks(make, len(patch_scores), self.block(size), "anomaly maps")
        return torch.cat(images)

    def _taps(self) -> Tensor:
        """(2 r + 1,) float32 weights of the Gaussian of radius r: the blur of a single 1."""
        reach = int(4 * self.sigma + 0.5) if self.radius is None else self.radius
        single = np.zeros(2 * reach + 1)
        single[reach] = 1
        taps = gaussian_filter1d(single, self.sigma, mode="constant", radius=reach)
        return torch.from_numpy(taps.astype(np.float32))

    def _padded(self, maps: Tensor, axis: int, reach: int) -> Tensor:
        """The maps with so many pixels more on both sides of an axis."""
        if self.edge == "zero":
            return F.pad(maps, (0, 0, reach, reach) if axis == 1 else (reach, reach))
        pixels, mode = np.arange(maps.shape[axis]), _NUMPYS[self.edge]
        around = np.pad(pixels, reach, mode)  # type: ignore[call-overload]
        return maps.index_select(axis, torch.from_numpy(around).to(maps.device))

    def _blur(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        image, out = pair
        mode = "constant" if self.edge == "zero" else self.edge
        gaussian_filter(image, self.sigma, mode=mode, radius=self.radius, output=out)
