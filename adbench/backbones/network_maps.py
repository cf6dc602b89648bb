"""What the backbones of every library share: their settings, their identity and the engine."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from adbench.backbones import openvino_engine, trial
from adbench.backbones.engine import Engine
from adbench.backbones.network import (
    EngineName,
    Network,
    Precision,
    Seed,
    Size,
    outputs_of,
)
from adbench.backbones.weights import sha256_of_file, sha256_of_state
from adbench.system.files import expanded
from adbench.system.machine import device_name, version
from adbench.system.settings import STRICT, When


class Carried(NamedTuple):
    """Weights that came with a detector, see ``adbench.backbones.backbone.Carries``."""

    state: Mapping[str, Tensor]
    sha256: str
    words: Mapping[str, Any]


@dataclass(config=STRICT)
class NetworkMaps(ABC):
    """A network of some library, cut after the deepest level that is wanted.

    A library is a subclass that says how its networks are made and where their weights are.
    """

    library: ClassVar[str]
    """The distribution that makes the networks."""

    model: str
    """The library's name of the network."""
    weights: str
    """Which weights it has, or random: drawn from ``seed``."""
    seed: Annotated[Seed, When("is_random")] = 0
    """Of random weights. It is not the run's seed: the features stay the same when a method is
    repeated with other seeds."""
    blocks: list[int] | None = None
    """Blocks of a plain vision transformer, from 1, after which its levels 1, 2, ... come; null: at
    each quarter of its depth."""
    norm: bool = False
    """Whether a vision transformer's last layer norm is applied to each level, as DINOv2's own code
    does and the libraries do not."""
    precision: Precision = "fp32"
    """Of weights and activations; features are float32 either way."""
    engine: EngineName = "torch"
    """What computes the network: torch, or OpenVINO on a CPU. Features of one are never taken for
    those of the other."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto takes the GPU where there is one."""

    def __post_init__(self) -> None:
        self._carried: Carried | None = None
        if self.engine == "openvino":
            openvino_engine.require(self.device)

    @property
    def is_random(self) -> bool:
        """The weights are random."""
        return self.weights == "random"

    def identity(self) -> dict[str, Any]:
        """Model, sha256 of the weights, and every setting that bears on the features.

        The file of the weights is read; the network is made only to hash random weights.

        Raises:
            AdbenchError: The weights cannot be had; the message says what to do.
        """
        return {
            "model": self.model,
            "sha256": self._sha256,
            "blocks": self.blocks,
            "norm": self.norm,
            "precision": self.precision,
            "engine": self.engine,
        }

    def weights_in_words(self) -> dict[str, Any]:
        """See ``Backbone.weights_in_words``."""
        if self._carried:
            return dict(self._carried.words)
        if self.is_random:
            return {"setting": "random", "name": "random", "seed": self.seed}
        setting = self._file.name if self._is_path else self.weights
        return {"setting": setting, "name": self._weights_name(), "seed": None}

    def versions(self) -> dict[str, str | None]:
        """Versions of torch, of the library, and of OpenVINO where it computes."""
        engine = ["openvino"] if self.engine == "openvino" else []
        return {name: version(name) for name in ("torch", self.library, *engine)}

    def extract(
        self, images: Tensor, layers: Sequence[int], vectors: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """See ``Backbone.extract``."""
        return self._engine.extract(images, layers, vectors)

    def computes_on(self) -> str:
        """See ``adbench.backbones.backbone.OnDevice``."""
        return device_name(self.device)

    def release(self) -> None:
        """See ``Backbone.release``."""
        self._engine.release()

    def moved(self, weights: str) -> Self:
        """See ``adbench.backbones.backbone.Moves``."""
        return dataclasses.replace(self, weights=weights)

    def carry(self, state: Mapping[str, Tensor], sha256: str, words: Mapping[str, Any]) -> Self:
        """See ``adbench.backbones.backbone.Carries``."""
        copied = dataclasses.replace(self)  # which has made no network yet
        copied._carried = Carried(state, sha256, words)
        return copied

    def module(self, size: Size, layers: Sequence[int]) -> nn.Module:
        """See ``adbench.backbones.backbone.Exports``."""
        network = self._network(size)
        network.require_patches(size)
        levels = network.levels(self.blocks)
        cut = network.cut(outputs_of(network.name, levels, layers, vectors=False)).eval()
        with torch.inference_mode():
            trial.outputs(cut, torch.zeros(1, 3, *size), network)
        return _FromImages(cut, network.mean, network.std).eval()

    @abstractmethod
    def carried(self, size: Size) -> dict[str, Tensor]:
        """See ``adbench.backbones.backbone.Carries``."""

    @property
    def _is_path(self) -> bool:
        return expanded(self.weights).is_file()

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._network, self.blocks, self.device, self.precision, self.engine)

    @cached_property
    def _sha256(self) -> str:
        if self._carried:
            return self._carried.sha256
        if self.is_random:
            return sha256_of_state(self._random_state())
        return sha256_of_file(self._file)

    @cached_property
    def _file(self) -> Path:
        return self._find_file()

    @abstractmethod
    def _network(self, size: Size) -> Network:
        """The network with its weights, for images of (H, W)."""

    @abstractmethod
    def _find_file(self) -> Path:
        """The file of weights that are not random."""

    @abstractmethod
    def _weights_name(self) -> str:
        """The name of weights that are not random."""

    @abstractmethod
    def _random_state(self) -> dict[str, Tensor]:
        """The weights drawn from ``seed``."""


class _FromImages(nn.Module):
    """(n, H, W, 3) uint8 RGB to the outputs of a network for normalised images."""

    def __init__(self, cut: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.cut = cut
        self.mean: Tensor
        self.std: Tensor
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).mul(255).view(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        planes = images.permute(0, 3, 1, 2).to(torch.float32)
        maps: tuple[Tensor, ...] = self.cut((planes - self.mean) / self.std)
        return maps
