"""CFA: coupled-hypersphere-based feature adaptation (Lee et al., arXiv 2206.04325), by anomalib."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
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
from adbench.detectors.anomalib.extractor import Extractor, extractor
from adbench.errors import ImpossibleError
from adbench.methods.method import LayerNumbers
from adbench.system.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class CFA:
    """A layer on frozen features draws those of normal patches to centres, one per position.

    Distances from every patch to every centre are held: (h w)^2 numbers an image.
    """

    at_once: ClassVar[int] = 4

    layers: LayerNumbers
    """Pyramid levels that are pooled and joined, finest first; 1, 2, 3 in the paper."""
    epochs: Annotated[int, Field(ge=1)] = 30
    """Passes over the normal images; all of them are made."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images in a step; the paper has 4."""
    lr: Annotated[float, Field(gt=0)] = 0.001
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0005
    """Of AdamW."""
    gamma_c: Annotated[int, Field(ge=1)] = 1
    """Positions per centre; above 1, k-means joins the centres of several positions."""
    gamma_d: Annotated[int, Field(ge=1)] = 1
    """Channels of the features per channel of the adapted ones."""
    neighbors: Annotated[int, Field(ge=1)] = 3
    """Nearest centres that attract a patch, and whose distances make its score."""
    hard_negatives: Annotated[int, Field(ge=1)] = 3
    """Centres after them that repel it."""
    radius: Annotated[float, Field(gt=0)] = 1e-5
    """Of the spheres around the centres."""
    seed: Seed = 0
    """Of the layer's weights and of the order of the images."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """See ``System``; the model joins square maps alone."""
        if size is not None and size[0] != size[1]:
            raise ImpossibleError(
                f"CFA of anomalib takes square images; the geometry gives {size[0]} x {size[1]} "
                "(height x width): set geometry=square256"
            )

    def files(self) -> Mapping[str, Path]:
        """It reads none."""
        return {}

    def train(self, normal: Normal) -> Trained:
        """Find the centres, then train the layer by the loss of section 3.2."""
        self.require(normal.size, normal.backbone)
        layers = sorted(self.layers)
        frozen = extractor(normal.backbone, layers, normal.size)
        model = self._model(frozen).to(normal.device).train()
        loss = library.module("models.image.cfa.loss").CfaLoss(
            self.neighbors, self.hard_negatives, self.radius
        )

        loss.radius = loss.radius.detach()  # a constant; its graph would be gone after one step

        def drawn(epochs: int) -> Iterator[torch.Tensor]:
            return training.batches(normal.images, self.batch, epochs, self.seed)

        code = library.module("models.image.cfa.torch_model")
        with library.replaced(code, tqdm=library.counted):
            model.initialize_centroid([SimpleNamespace(image=images) for images in drawn(1)])
        total = training.steps_of(len(normal.images), self.batch, self.epochs)
        training.train(
            title=type(self).__name__,
            drawn=drawn(self.epochs),
            total=total,
            loss_of=lambda images: loss(model(images.to(normal.device, torch.float32))),
            optimizer=torch.optim.AdamW(
                [p for p in model.parameters() if p.requires_grad],
                lr=self.lr,
                weight_decay=self.weight_decay,
                amsgrad=True,
            ),
        )
        notes = [training.budget(self.epochs, total, self.batch)]
        return Trained(model, notes, frozen.channels(layers))

    def _model(self, frozen: Extractor) -> Any:
        """Anomalib's model with this network, and a layer for its channels."""
        code = library.module("models.image.cfa.torch_model")
        with library.replaced(code, get_feature_extractor=lambda *_: frozen):
            model = code.CfaModel(
                "resnet18",  # stands for any network; its number of channels is replaced below
                self.gamma_c,
                self.gamma_d,
                self.neighbors,
                self.hard_negatives,
                self.radius,
            )
        channels = sum(frozen.out_dims)
        model.descriptor.layer = code.CoordConv2d(channels, channels // self.gamma_d, kernel_size=1)
        model.get_scale = lambda _: torch.Size(frozen.sizes[0])
        return model
