"""The teacher of EfficientAD: distilled from a backbone (Batzner et al., appendix A and B)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adbench.detectors.anomalib import training
from adbench.detectors.anomalib.extractor import Extractor, extractor
from adbench.system.progress import steps

CHANNELS = 384
"""Of the teacher's output."""
STRIDE = 4
"""Pixels per position of the teacher's output."""
BORDER = 4
"""Positions that it lacks on each side, since its convolutions have no padding."""
FIELD = 33
"""Pixels of a side of what a position of its output sees."""
STATISTICS = 8
"""Batches from which mean and standard deviation of the backbone's features are taken."""


@dataclass(frozen=True)
class Distillation:
    """How a teacher is trained to give the backbone's features.

    Attributes:
        backbone: Gives them, at twice the size of the images, as the paper's network.
        layers: Pyramid levels that are pooled and joined.
        steps: Of the training.
        draw: Gives a batch of (b, 3, H, W) uint8 images.
        device: Where it computes.
    """

    backbone: Any
    layers: list[int]
    steps: int
    draw: Callable[[], Tensor]
    device: str

    def train(self, teacher: nn.Module) -> None:
        """Train the teacher: the mean squared difference from standardised features.

        Raises:
            AdbenchError: The training diverges.
            ImpossibleError: The backbone lacks a layer, or takes no images of this size.
        """
        first = self.draw().to(self.device)
        height, width = first.shape[2:]
        network = extractor(self.backbone, self.layers, (2 * height, 2 * width)).to(self.device)
        mean, std = self._statistics(network)
        teacher.to(self.device).train()
        optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-4, weight_decay=1e-5)
        with steps(self.steps, "distillation of the teacher", "step") as done:
            for number in range(1, self.steps + 1):
                images = self.draw().to(self.device)
                wanted = (features(network, images) - mean) / std
                optimizer.zero_grad()
                loss = functional.mse_loss(teacher(images / 255), wanted)
                training.require_finite(loss, "the teacher of EfficientAD", number, self.steps)
                loss.backward()
                optimizer.step()
                done()
        teacher.eval()

    def _statistics(self, network: Extractor) -> tuple[Tensor, Tensor]:
        """(1, c, 1, 1) mean and standard deviation of the features, over some batches."""
        found = [features(network, self.draw().to(self.device)) for _ in range(STATISTICS)]
        values = torch.cat(found).transpose(0, 1).flatten(1)
        mean, std = values.mean(dim=1), values.std(dim=1).clamp(min=1e-6)
        return mean[None, :, None, None], std[None, :, None, None]


def features(network: Extractor, images: Tensor) -> Tensor:
    """(b, 384, h, w) what the teacher is to give for (b, 3, H, W) images in [0, 255].

    The maps are pooled over 3 x 3 positions, joined, brought to 384 channels by adaptive averages,
    as PatchCore does, and to the positions of the teacher's output.
    """
    size = (int(images.shape[2]), int(images.shape[3]))
    large = functional.interpolate(
        images.float(), size=(2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False
    )
    grid = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
    maps = [
        functional.interpolate(
            functional.avg_pool2d(found, 3, 1, 1), size=grid, mode="bilinear", align_corners=False
        )
        for found in network(large).values()
    ]
    joined = torch.cat(maps, dim=1).permute(0, 2, 3, 1)  # (b, h, w, c)
    reduced = functional.adaptive_avg_pool1d(joined.flatten(1, 2), CHANNELS)
    whole = reduced.unflatten(1, grid).permute(0, 3, 1, 2)
    inner: Tensor = whole[:, :, BORDER:-BORDER, BORDER:-BORDER]
    return inner
