"""A system of anomalib as a detector: our images, its model, its raw scores."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from adbench.backbones.backbone import Backbone
from adbench.backbones.weights import sha256_of_file
from adbench.data.content import digests
from adbench.data.geometry import Geometry
from adbench.data.given import all_of
from adbench.data.images import Size
from adbench.data.samples import Images
from adbench.detectors.anomalib.extractor import Extractor, require_usable
from adbench.detectors.anomalib.library import require_installed, version
from adbench.detectors.anomalib.training import seeded
from adbench.detectors.detector import Provider
from adbench.detectors.feature_detector import other_size
from adbench.errors import AdbenchError, NotFittedError
from adbench.features.inputs import batches_of
from adbench.methods.method import Scores
from adbench.system.machine import device_name, synchronise
from adbench.system.settings import class_name, digest, settings_of
from adbench.system.stages import count, stage

_LOADED = 16  # images that are read at once


class Normal(NamedTuple):
    """What a system learns from."""

    images: Tensor
    """(n, 3, H, W) uint8 RGB, as our geometry gives them."""
    geometry: Geometry
    backbone: Any
    device: str

    @property
    def size(self) -> Size:
        """(H, W) of the images."""
        return int(self.images.shape[2]), int(self.images.shape[3])


class Trained(NamedTuple):
    """A trained system."""

    model: nn.Module
    """From (b, 3, H, W) float32 RGB in [0, 255] to anomalib's ``pred_score`` and
    ``anomaly_map``."""
    notes: list[str]
    """What the record says of the training."""
    channels: dict[str, int]
    """Of each pyramid level that the model reads."""
    given: tuple[nn.Module, ...] = ()
    """Parts of the model that were not learned here, beside the backbone's frozen network."""


class System(Protocol):
    """The settings of a system and its training. One class and one YAML file for each."""

    at_once: ClassVar[int]
    """Images that are scored at once."""

    @property
    def seed(self) -> int:
        """Setting: of everything that is drawn at random."""
        ...

    def require(self, size: Size | None, backbone: Backbone) -> None:
        """Check settings before any work; ``size`` is (H, W) where every image has it.

        Raises:
            AdbenchError: What the system cannot take, and what to set.
        """
        ...

    def files(self) -> Mapping[str, Path]:
        """Setting -> the file, or the folder of images, that it names."""
        ...

    def train(self, normal: Normal) -> Trained:
        """Train a new model.

        Raises:
            AdbenchError: The training diverges, or the images cannot be learned from.
        """
        ...


@dataclass(frozen=True)
class AnomalibDetector:
    """From images to the raw scores of a model of anomalib.

    Attributes:
        geometry: Brings an image to the size of the model's input.
        backbone: The network that the model starts from.
        system: Settings and training.
        device: Where the model computes.
        trained: The model; None before the fit.
        size: (H, W) of the model's input; known after the fit.
    """

    geometry: Geometry
    backbone: Backbone
    system: System
    device: str = "cpu"
    trained: Trained | None = None
    size: Size | None = None

    @property
    def title(self) -> str:
        """The class of the settings."""
        return type(self.system).__name__

    def identity(self) -> dict[str, Any]:
        """Geometry, backbone, and the system with its settings, its files and its version."""
        return {
            "geometry": settings_of(self.geometry),
            "backbone": self.backbone.identity(),
            "method": {
                "class": class_name(type(self.system)),
                "settings": _settings(self.system),
                "anomalib": version(),
                **self._contents,
            },
        }

    def fit(self, normal: Images, provider: Provider) -> Self:
        """A copy that was trained from nothing; one that was killed leaves nothing behind."""
        images = torch.cat(list(_inputs(normal, self.geometry, _LOADED)))
        prepared = Normal(images, self.geometry, self.backbone, self.device)
        with stage("fit"), seeded(self.system.seed):
            trained = self.system.train(prepared)
        trained.model.eval()
        return replace(self, trained=trained, size=prepared.size)

    def score(self, images: Images) -> Scores:
        """Raw scores and maps: no normalisation by scores of other images, no clamp, no sigmoid.

        Raises:
            AdbenchError: The detector is not fitted, images have another size, or the model gives
                scores that are no numbers.
        """
        if self.trained is None or self.size is None:
            raise NotFittedError(f"{self.title}: images are scored after a fit; fit it first")
        scores, maps = [], []
        for inputs in _inputs(images, self.geometry, self.system.at_once):
            size = int(inputs.shape[2]), int(inputs.shape[3])
            if size != self.size:
                raise other_size(size, self.size)
            with stage("score"), torch.no_grad():
                found = self.trained.model(inputs.to(self.device, torch.float32))
                scores.append(found.pred_score.float().cpu().reshape(-1))
                maps.append(found.anomaly_map.float().cpu().reshape(-1, *size))
        result = Scores(torch.cat(scores), torch.cat(maps))
        for values in (result.images, result.maps):
            if values is None or not bool(torch.isfinite(values).all()):
                raise AdbenchError(
                    f"{self.title}: the trained model gives scores that are no numbers; try a "
                    "smaller method.lr, or another seed"
                )
        return result

    def facts(self) -> dict[str, Any]:
        """Weights, channels, what the training was, and the bytes that it learned."""
        notes = [] if self.trained is None else self.trained.notes
        return {
            "weights": self.backbone.weights_in_words(),
            "channels": {} if self.trained is None else self.trained.channels,
            "notes": [f"a system of anomalib {version()}", *notes],
            "state_bytes": 0 if self.trained is None else _learned_bytes(self.trained),
        }

    def wait(self) -> None:
        """Wait for the device that computes."""
        synchronise(self.device)

    def release(self) -> None:
        """Nothing to give back: the model is the detector."""

    @cached_property
    def _contents(self) -> dict[str, str]:
        """The sha256 of what the settings name: of a file, or of all images in a folder."""
        return {f"{name}_sha256": _content(path) for name, path in self.system.files().items()}


def detector(
    system: System, geometry: Geometry, backbone: Backbone, device: str
) -> AnomalibDetector:
    """An unfitted detector, checked before any work.

    Raises:
        AdbenchError: anomalib is not installed, or the system does not take the backbone or the
            size of the images.
    """
    title = type(system).__name__
    require_installed(title)
    require_usable(backbone, title)
    system.require(geometry.size, backbone)
    return AnomalibDetector(geometry, backbone, system, device_name(device))


def _inputs(images: Images, geometry: Geometry, size: int) -> Iterator[Tensor]:
    """Batches of the model's inputs; for files, their seconds count as the stage ``extract``."""
    batches = batches_of(images, geometry, size)
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if images.paths:  # one decoded image at a time is timed by other stages
            count("extract", time.perf_counter() - start)
        if batch is None:
            return
        yield batch


def _settings(system: System) -> dict[str, Any]:
    """Settings with the names of files in place of their paths, and layers in order."""
    found = settings_of(system) | {name: path.name for name, path in system.files().items()}
    return {n: sorted(v) if n == "layers" else v for n, v in found.items()}


def _content(path: Path) -> str:
    if path.is_file():
        return sha256_of_file(path)
    return digest(sorted(digests(all_of(path)[0])), length=64)


def _learned_bytes(trained: Trained) -> int:
    """Bytes of all tensors but those of frozen networks, which were not learned here."""
    model = trained.model
    frozen = [m for m in model.modules() if isinstance(m, Extractor) and m.frozen]
    known = {id(t) for m in [*frozen, *trained.given] for t in _tensors(m)}
    return sum(t.nbytes for t in _tensors(model) if id(t) not in known)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
