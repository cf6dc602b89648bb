"""Anomalib's own PatchCore (Roth et al., arXiv 2106.08265), as a peer of adbench's."""

import warnings
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
from adbench.detectors.anomalib import library
from adbench.detectors.anomalib.detector import AnomalibDetector, Normal, Trained, detector
from adbench.detectors.anomalib.extractor import Extractor, extractor, name_of
from adbench.errors import ImpossibleError
from adbench.methods.method import LayerNumbers
from adbench.system.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class AnomalibPatchCore:
    """The distance to the nearest patch of a coreset of the normal ones."""

    at_once: ClassVar[int] = 16

    layers: LayerNumbers
    """Pyramid levels that are pooled and joined, finest first; 2, 3 in the paper."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the patches that the coreset keeps."""
    k: Annotated[int, Field(ge=1)] = 9
    """Size of the neighbourhood that re-weights the image score; 1: no re-weighting."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images that go through the network at once."""
    seed: Seed = 0
    """Of the projection and of the first pick."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """It takes every backbone and size that the network takes."""

    def files(self) -> Mapping[str, Path]:
        """It reads none."""
        return {}

    def train(self, normal: Normal) -> Trained:
        """Fill the memory bank and select from it."""
        layers = sorted(self.layers)
        frozen = extractor(normal.backbone, layers, normal.size)
        height, width = frozen.sizes[0]
        if int((count := len(normal.images) * height * width) * self.ratio) < 1:
            raise ImpossibleError(
                f"ratio {self.ratio:g} keeps 0 of {count} patches; use at least {1 / count:.2g}"
            )
        model = self._model(frozen).to(normal.device).train()
        for images in normal.images.split(self.batch):
            model(images.to(normal.device, torch.float32))
        code = library.module("models.components.sampling.k_center_greedy")
        with library.replaced(code, tqdm=library.counted), warnings.catch_warnings():
            # It warns of an argument that is not given here.
            warnings.filterwarnings("ignore", "Argument embeddings", DeprecationWarning)
            model.subsample_embedding(self.ratio)
        return Trained(model, [], frozen.channels(layers))

    def _model(self, frozen: Extractor) -> Any:
        """Anomalib's model with this network."""
        code = library.module("models.image.patchcore.torch_model")
        with library.replaced(code, TimmFeatureExtractor=lambda **_: frozen):
            return code.PatchcoreModel(
                layers=[name_of(layer) for layer in sorted(self.layers)],
                pre_trained=False,
                num_neighbors=self.k,
            )
