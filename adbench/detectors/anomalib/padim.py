"""Anomalib's own PaDiM (Defard et al., arXiv 2011.08785), as a peer of adbench's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.backbones.backbone import Backbone
from adbench.backbones.network import Seed
from adbench.data.geometry import Geometry
from adbench.data.images import Size
from adbench.detectors.anomalib import library, training
from adbench.detectors.anomalib.detector import AnomalibDetector, Normal, Trained, detector
from adbench.detectors.anomalib.extractor import Extractor, extractor, name_of
from adbench.errors import ImpossibleError
from adbench.methods.method import LayerNumbers
from adbench.system.settings import STRICT

SHARE = 550 / 1792
"""Of the channels that are kept: the paper's number for WideResNet50, of all of its channels."""


@dataclass(frozen=True, config=STRICT)
class AnomalibPaDiM:
    """A Gaussian per position over randomly chosen channels."""

    at_once: ClassVar[int] = 16

    layers: LayerNumbers
    """Pyramid levels that are joined, finest first; 1, 2, 3 in the paper."""
    dims: Annotated[int, Field(ge=1)] | None = None
    """Channels that are kept; null: the share that the paper keeps of WideResNet50's."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images that go through the network at once."""
    seed: Seed = 0
    """Of the choice of channels."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """It takes every backbone and size that the network takes."""

    def files(self) -> Mapping[str, Path]:
        """It reads none."""
        return {}

    def train(self, normal: Normal) -> Trained:
        """Fit the Gaussians."""
        layers = sorted(self.layers)
        frozen = extractor(normal.backbone, layers, normal.size)
        if self.dims is not None and self.dims > sum(frozen.out_dims):
            raise ImpossibleError(
                f"dims {self.dims}: the layers {layers} have {sum(frozen.out_dims)} channels; use "
                "at most as many"
            )
        model = self._model(frozen).to(normal.device).train()
        for images in normal.images.split(self.batch):
            model(images.to(normal.device, torch.float32))
        with training.one_thread():  # inverting on two threads hangs in some versions of MKL
            model.fit()
        return Trained(model, [], frozen.channels(layers))

    def _model(self, frozen: Extractor) -> Any:
        """Anomalib's model with this network."""
        code = library.module("models.image.padim.torch_model")
        with library.replaced(code, TimmFeatureExtractor=lambda **_: frozen):
            return code.PadimModel(
                layers=[name_of(layer) for layer in sorted(self.layers)],
                pre_trained=False,
                n_features=self.dims or max(1, round(SHARE * sum(frozen.out_dims))),
            )
