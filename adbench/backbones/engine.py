"""What runs a backbone: a network cut after the deepest level asked, compiled, and given uint8 images."""

import ctypes
import gc
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from adbench.core import AdbenchError
from adbench.machine import device_name

Size = tuple[int, int]
Precision = Literal["fp32", "bf16"]
EngineName = Literal["torch", "openvino"]
Run = Callable[[Tensor], Sequence[Tensor]]
"""From normalised (b, 3, H, W) float32 images to the network's outputs, which stand until the next call."""


@dataclass(frozen=True)
class Network:
    """A network as its library made it, for images of one size."""

    name: str
    """As the user calls it; for errors."""
    reductions: list[int]
    """Stride of every output that it can give, finest first; all are equal in a plain vision transformer."""
    mean: Sequence[float]
    """Of the RGB values in [0, 1] that it was trained on."""
    std: Sequence[float]
    """Likewise."""
    cut: Callable[[list[int]], nn.Module]
    """From ascending indices into ``reductions`` to a module from (b, 3, H, W) to those outputs, (b, c, h, w) each."""

    def levels(self, blocks: Sequence[int] | None) -> dict[int, int]:
        """Which of the outputs each pyramid level is.

        Level i of a network with stages is its last output of stride 2^(i + 1), as layer i of a ResNet. A plain vision
        transformer has one stride: its levels 1, 2, 3, 4 come after a quarter, a half, three quarters and all of its
        blocks, or after ``blocks``, counted from 1.

        Raises:
            AdbenchError: ``blocks`` of a network without them, beyond its depth or not ascending.
        """
        depth = len(self.reductions)
        if len(set(self.reductions)) > 1:
            if blocks is not None:
                raise AdbenchError(f"backbone.blocks={list(blocks)}: {self.name} has stages, not blocks; leave it null")
            return {r.bit_length() - 2: i for i, r in enumerate(self.reductions) if r >= 4}
        chosen = [round(depth * part / 4) for part in (1, 2, 3, 4)] if blocks is None else list(blocks)
        if not chosen or chosen != sorted(set(chosen)) or chosen[0] < 1 or chosen[-1] > depth:
            raise AdbenchError(f"backbone.blocks={chosen}: {self.name} has blocks 1 to {depth}; give them ascending")
        return {level: block - 1 for level, block in enumerate(chosen, start=1)}


class Engine:
    """Extracts features by a network that is made at first use, and anew when other layers or another size are asked.

    On a CPU it takes one image at a time: activations stay in the cache, and the features of an image are the same bits
    whatever batch it came in.

    Args:
        build: Makes the network for images of (H, W).
        blocks: See ``Network.levels``.
        device: auto | cpu | cuda | cuda:N.
        precision: Of weights and activations.
        engine: What computes it.
    """

    def __init__(
        self,
        build: Callable[[Size], Network],
        blocks: Sequence[int] | None,
        device: str,
        precision: Precision,
        engine: EngineName = "torch",
    ) -> None:
        self._build = build
        self._blocks = blocks
        self._device = torch.device(device_name(device))
        self._precision = precision
        self._engine = engine
        self._made: _Made | None = None

    def extract(self, images: Tensor, layers: Sequence[int], vectors: bool) -> tuple[list[Tensor], Tensor | None]:
        """Maps of the levels ``layers`` and the (b, d) average of the last level's map: float32 on the CPU.

        Args:
            images: (b, 3, H, W) uint8.
            layers: Pyramid levels.
            vectors: Whether to average the last level.

        Raises:
            AdbenchError: A layer that the network lacks, or a size that its patches do not divide.
        """
        asked = (list(layers), vectors, (int(images.shape[2]), int(images.shape[3])))
        if self._made is None or self._made.asked != asked:
            self.release()  # two networks at once would double the peak of memory
            self._made = self._make(*asked)
            _trim()
        made = self._made
        step = 1 if self._device.type == "cpu" else len(images)
        maps: list[Tensor] = []
        for start in range(0, len(images), step):
            with torch.inference_mode(), _without_tf32(self._device):
                outputs = made.run(made.normalise(images[start : start + step].to(self._device)))
            # Made out here: a tensor made in inference mode could not be changed by whoever receives it.
            maps = maps or [torch.empty(len(images), *output.shape[1:]) for output in outputs]
            for whole, output in zip(maps, outputs, strict=True):
                whole[start : start + step] = output
        pooled = maps[-1].mean(dim=(2, 3)) if vectors else None  # the deepest output is the last level's
        return [maps[i] for i in made.wanted], pooled

    def release(self) -> None:
        """Give the network's memory back; the next ``extract`` makes it again."""
        if self._made is not None:
            self._made = None
            gc.collect()  # a traced network and its graph refer to each other
            _trim()

    @torch.inference_mode()
    def _make(self, layers: list[int], vectors: bool, size: Size) -> "_Made":
        network = self._build(size)
        levels = network.levels(self._blocks)
        for layer in layers:
            if layer not in levels:
                known = ", ".join(str(level) for level in levels)
                raise AdbenchError(f"layer {layer}: {network.name} has the layers {known}")
        patch = network.reductions[0]
        if len(set(network.reductions)) == 1 and any(edge % patch for edge in size):
            raise AdbenchError(
                f"images of {size[0]} x {size[1]} pixels: {network.name} reads patches of {patch} x {patch}; set "
                f"geometry.resize and geometry.crop to multiples of {patch}"
            )
        last = {levels[max(levels)]} if vectors else set()
        outputs = sorted({levels[layer] for layer in layers} | last)
        mean, std = (
            torch.tensor(values, device=self._device).mul(255).view(3, 1, 1) for values in (network.mean, network.std)
        )
        example = torch.zeros(1, 3, *size, device=self._device)
        return _Made(
            asked=(layers, vectors, size),
            wanted=[outputs.index(levels[layer]) for layer in layers],
            mean=mean,
            std=std,
            run=self._compile(network.cut(outputs).eval(), example),
        )

    def _compile(self, module: nn.Module, example: Tensor) -> Run:
        if self._engine == "openvino":
            from adbench.backbones.openvino_engine import compiled
        else:
            from adbench.backbones.fusion import compiled
        return compiled(module, example, self._precision)


@dataclass(frozen=True)
class _Made:
    """A network that runs, and what it was made for."""

    asked: tuple[list[int], bool, Size]
    wanted: list[int]
    """Which of its outputs the asked layers are."""
    mean: Tensor
    std: Tensor
    run: Run

    def normalise(self, images: Tensor) -> Tensor:
        return (images.to(torch.float32, memory_format=torch.channels_last) - self.mean) / self.std


def _trim() -> None:
    """Hand freed memory back to the system: glibc keeps what lies between blocks in use, here the unfused weights."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _without_tf32(device: torch.device) -> AbstractContextManager[None]:
    """By default cuDNN rounds what goes into a convolution to 10 bits."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
