"""What the backbones of every library share: their settings, what names their numbers, and the engine behind them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.backbones import openvino_engine
from adbench.backbones.engine import Engine, EngineName, Network, Precision, Size
from adbench.core import STRICT


@dataclass(config=STRICT)
class NetworkMaps(ABC):
    """A network of some library, cut after the deepest level that is asked.

    A library is a subclass with two methods: how its networks are made, and what names their weights.
    """

    model: str
    """The library's name of the network."""
    weights: str
    """Which weights it has, or random: drawn from ``seed``."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of random weights. Not the run's seed: the features stay the same when a method is repeated with other seeds."""
    blocks: list[int] | None = None
    """Blocks of a plain vision transformer, from 1, after which its levels 1, 2, ... come; null: at each quarter of its
    depth."""
    norm: bool = False
    """Whether a vision transformer's last layer norm is applied to each level, as DINOv2's own code does and the
    libraries do not."""
    precision: Precision = "fp32"
    """Of weights and activations; features are float32 either way."""
    engine: EngineName = "torch"
    """What computes the network: torch, or OpenVINO on a CPU. Features of one are never taken for those of the other."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """auto takes the GPU where there is one."""

    def __post_init__(self) -> None:
        if self.engine == "openvino":
            openvino_engine.require(self.device)

    def identity(self) -> dict[str, Any]:
        """Model, weights with their sha256, and every setting that bears on the features.

        It reads the file of the weights, no more; random weights are made for it.

        Raises:
            AdbenchError: The model is unknown or its weights cannot be had; the message says what to do.
        """
        label, sha256 = self._fingerprint
        engine = f"openvino {openvino_engine.version()}" if self.engine == "openvino" else "torch"
        numbers = {"blocks": self.blocks, "norm": self.norm, "precision": self.precision, "engine": engine}
        return {"model": self.model, "weights": label, "sha256": sha256, **numbers}

    def extract(self, images: Tensor, layers: Sequence[int], vectors: bool) -> tuple[list[Tensor], Tensor | None]:
        """Maps of the pyramid levels ``layers`` and the average of the last level's map; see ``core.Backbone``."""
        return self._engine.extract(images, layers, vectors)

    def release(self) -> None:
        """Give the network's memory back until the next ``extract``, which makes it again."""
        self._engine.release()

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._network, self.blocks, self.device, self.precision, self.engine)

    @cached_property
    def _fingerprint(self) -> tuple[str, str]:
        return self._weights_identity()

    @abstractmethod
    def _network(self, size: Size) -> Network:
        """The network with its weights, for images of (H, W)."""

    @abstractmethod
    def _weights_identity(self) -> tuple[str, str]:
        """What the record calls the weights, and their sha256."""
