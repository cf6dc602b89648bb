"""From patch scores to anomaly maps at the input size of the network: upsampling, then a blur."""

from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.ndimage import gaussian_filter
from torch import Tensor

from adbench.system.parallel import workers
from adbench.system.settings import STRICT, When


@dataclass(frozen=True, config=STRICT)
class AnomalyMap:
    """How patch scores become an anomaly map: they are upsampled, then blurred."""

    upsample: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    """bicubic in PaDiM's paper, nearest in anomalib's PatchCore, bilinear in nearly all others."""
    sigma: Annotated[float, Field(ge=0)] = 4.0
    """Standard deviation of the Gaussian in pixels of the map; 0 for no blur. All papers use 4."""
    radius: Annotated[Annotated[int, Field(ge=1)] | None, When("blurs")] = None
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
        align = None if self.upsample == "nearest" else False
        scores = patch_scores[:, None].float().cpu()
        maps = F.interpolate(scores, size, mode=self.upsample, align_corners=align)[:, 0]
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

    def _blur(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        image, out = pair
        mode = "constant" if self.edge == "zero" else self.edge
        gaussian_filter(image, self.sigma, mode=mode, radius=self.radius, output=out)
