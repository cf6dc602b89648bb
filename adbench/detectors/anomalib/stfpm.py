"""STFPM: student-teacher feature pyramid matching (Wang et al., arXiv 2103.04257), by anomalib."""

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
from adbench.detectors.anomalib.extractor import (
    Extractor,
    extractor,
    name_of,
    require_student,
    student,
)
from adbench.methods.method import LayerNumbers
from adbench.system.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class STFPM:
    """A student learns the teacher's feature maps of normal images; they differ elsewhere.

    The teacher is the backbone. The student has its architecture and random weights.
    """

    at_once: ClassVar[int] = 16

    layers: LayerNumbers
    """Pyramid levels that are matched, finest first; 1, 2, 3 in the paper."""
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes over the normal images; all of them are made."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images in a step."""
    lr: Annotated[float, Field(gt=0)] = 0.4
    """Learning rate of the stochastic gradient descent, section 4.1."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Likewise."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.001
    """Anomalib's; the paper has 0.0001."""
    seed: Seed = 0
    """Of the student's weights and of the order of the images."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> AnomalibDetector:
        """See ``adbench.detectors.detector.MakesDetector``."""
        return detector(self, geometry, backbone, device)

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """See ``System``; the student needs a backbone that can have random weights."""
        require_student(backbone, type(self).__name__)

    def files(self) -> Mapping[str, Path]:
        """It reads none."""
        return {}

    def train(self, normal: Normal) -> Trained:
        """Train the student by the loss of section 3.2, equation 2."""
        layers = sorted(self.layers)
        teacher = extractor(normal.backbone, layers, normal.size)
        model = self._model(teacher, student(normal.backbone, layers, normal.size, self.seed))
        model.to(normal.device).train()
        loss = library.module("models.image.stfpm.loss").STFPMLoss()
        total = training.steps_of(len(normal.images), self.batch, self.epochs)
        training.train(
            title=type(self).__name__,
            drawn=training.batches(normal.images, self.batch, self.epochs, self.seed),
            total=total,
            loss_of=lambda images: loss(*model(images.to(normal.device, torch.float32))),
            optimizer=torch.optim.SGD(
                model.student_model.parameters(),
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
            ),
        )
        notes = [training.budget(self.epochs, total, self.batch)]
        return Trained(model, notes, teacher.channels(layers))

    def _model(self, teacher: Extractor, learner: Extractor) -> Any:
        """Anomalib's model with these two networks; it asks for the teacher as pre-trained."""
        code = library.module("models.image.stfpm.torch_model")

        def network(pre_trained: bool, **_: Any) -> Extractor:
            return teacher if pre_trained else learner

        with library.replaced(code, TimmFeatureExtractor=network):
            return code.STFPMModel(layers=[name_of(layer) for layer in sorted(self.layers)])
