"""CFLOW-AD: conditional normalizing flows (Gudovskiy et al., arXiv 2107.12571), by anomalib."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from adbench.backbones.backbone import Backbone
from adbench.backbones.network import Seed
from adbench.data.geometry import Geometry
from adbench.data.images import Size
from adbench.detectors.anomalib import library, training
from adbench.detectors.anomalib.detector import AnomalibDetector, Normal, Trained, detector
from adbench.detectors.anomalib.extractor import Extractor, extractor, name_of
from adbench.errors import AdbenchError
from adbench.methods.method import LayerNumbers
from adbench.system.progress import steps
from adbench.system.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class CFlow:
    """A flow per pyramid level gives the likelihood of a patch, given its position."""

    at_once: ClassVar[int] = 16

    layers: LayerNumbers
    """Pyramid levels with a flow each, finest first; 2, 3, 4 in anomalib."""
    epochs: Annotated[int, Field(ge=1)] = 50
    """Passes over the normal images; all of them are made."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images whose patches are shuffled together."""
    fibers: Annotated[int, Field(ge=1)] = 64
    """Patches in a step."""
    lr: Annotated[float, Field(gt=0)] = 0.0001
    """Learning rate of Adam."""
    coupling_blocks: Annotated[int, Field(ge=1)] = 8
    """Of each flow."""
    condition: Annotated[int, Field(ge=4, multiple_of=4)] = 128
    """Length of the vector that encodes a position."""
    clamp_alpha: Annotated[float, Field(gt=0)] = 1.9
    """Bound of the scales in a coupling block."""
    seed: Seed = 0
    """Of the flows' weights and permutations, and of the order of images and patches."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """It takes every backbone and size that the network takes."""

    def files(self) -> Mapping[str, Path]:
        """It reads none."""
        return {}

    def train(self, normal: Normal) -> Trained:
        """Train the flows; then the likelihoods get a scale that no test image bears on."""
        layers = sorted(self.layers)
        frozen = extractor(normal.backbone, layers, normal.size)
        model = self._model(frozen).to(normal.device)
        optimizer = torch.optim.Adam(model.decoders.parameters(), lr=self.lr)
        model.decoders.train()
        total = training.steps_of(len(normal.images), self.batch, self.epochs)
        drawn = training.batches(normal.images, self.batch, self.epochs, self.seed)
        with steps(total, f"training of {type(self).__name__}", "step") as done:
            for number, images in enumerate(drawn, start=1):
                found = model.encoder(images.to(normal.device, torch.float32))
                for maps, flow in zip(found.values(), model.decoders, strict=True):
                    self._pass(maps, flow, optimizer, number, total)
                done()
        model.anomaly_map_generator = Scaled(self._highest(model, normal))
        notes = [
            training.budget(self.epochs, total, self.batch),
            "likelihoods are scaled by the highest on the normal images; anomalib takes the "
            "highest in each batch of test images, so that its scores depend on the batch",
        ]
        return Trained(model, notes, frozen.channels(layers))

    def _pass(
        self, maps: Tensor, flow: nn.Module, optimizer: torch.optim.Optimizer, at: int, total: int
    ) -> None:
        """A pass of a flow over the patches of (b, c, h, w) maps, ``fibers`` at a time."""
        code = library.module("models.image.cflow.utils")
        images, channels, height, width = maps.shape
        position = code.positional_encoding_2d(self.condition, height, width).to(maps.device)
        conditions = position.flatten(1).T.repeat(images, 1)  # (b h w, p)
        patches = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # (b h w, c)
        order = torch.randperm(len(patches)).to(maps.device)
        whole = len(patches) // self.fibers
        if not whole:
            raise AdbenchError(
                f"CFlow: a batch has {len(patches)} patches of a level and method.fibers is "
                f"{self.fibers}; set method.fibers={len(patches)} or a larger method.batch"
            )
        for number in range(whole):  # the last step takes the rest too, as anomalib's does
            stop = (number + 1) * self.fibers if number < whole - 1 else len(patches)
            rows = order[number * self.fibers : stop]
            optimizer.zero_grad()
            latent, jacobian = flow(patches[rows], [conditions[rows]])
            likelihood = code.get_logp(channels, latent, jacobian) / channels
            loss = -functional.logsigmoid(likelihood).mean()
            training.require_finite(loss, type(self).__name__, at, total)
            loss.backward()
            optimizer.step()

    def _highest(self, model: Any, normal: Normal) -> Tensor:
        """(l,) the highest log-likelihood of each level on the normal images."""
        model.anomaly_map_generator = seen = _Highest()
        with torch.no_grad():
            for images in normal.images.split(self.at_once):
                model(images.to(normal.device, torch.float32))
        return torch.stack(seen.found).amax(dim=0)

    def _model(self, frozen: Extractor) -> Any:
        """Anomalib's model with this network."""
        code = library.module("models.image.cflow.torch_model")
        with library.replaced(code, TimmFeatureExtractor=lambda **_: frozen):
            return code.CflowModel(
                backbone="",
                layers=[name_of(layer) for layer in sorted(self.layers)],
                pre_trained=False,
                fiber_batch_size=self.fibers,
                condition_vector=self.condition,
                coupling_blocks=self.coupling_blocks,
                clamp_alpha=self.clamp_alpha,
            )


class Scaled(nn.Module):
    """From log-likelihoods of patches to anomaly maps, as anomalib's but for the scale.

    A level gives exp(likelihood - highest); the levels are enlarged and added, and what is missing
    to 1 for each level is the score.

    Args:
        highest: (l,) subtracted from the log-likelihoods of each level.
    """

    def __init__(self, highest: Tensor) -> None:
        super().__init__()
        self.highest: Tensor
        self.register_buffer("highest", highest)

    def forward(
        self, distribution: list[Tensor], height: list[int], width: list[int], image_size: Size
    ) -> Tensor:
        """(b, H, W) maps; ``distribution`` has (b h w,) log-likelihoods of each level."""
        maps = [
            functional.interpolate(
                torch.exp(values - highest).reshape(-1, 1, h, w),
                size=image_size,
                mode="bilinear",
                align_corners=True,
            ).squeeze(1)
            for values, highest, h, w in zip(distribution, self.highest, height, width, strict=True)
        ]
        return len(maps) - torch.stack(maps).sum(dim=0)


class _Highest(nn.Module):
    """Keeps the highest log-likelihood of each level and batch; gives maps of nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def forward(self, distribution: list[Tensor], **_: Any) -> Tensor:
        self.found.append(torch.stack([values.max() for values in distribution]))
        return torch.zeros(1, 1, 1)
