"""What the backbones share: a network cut after the deepest level asked, fused, and run on uint8 images."""

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
    """

    def __init__(
        self, build: Callable[[Size], Network], blocks: Sequence[int] | None, device: str, precision: Precision
    ) -> None:
        self._build = build
        self._blocks = blocks
        self._device = torch.device(device_name(device))
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._made_for: tuple[list[int], bool, Size] | None = None

    def extract(self, images: Tensor, layers: Sequence[int], vectors: bool) -> tuple[list[Tensor], Tensor | None]:
        """Maps of the levels ``layers`` and the (b, d) average of the last level's map: float32 on the CPU.

        Args:
            images: (b, 3, H, W) uint8.
            layers: Pyramid levels.
            vectors: Whether to average the last level.

        Raises:
            AdbenchError: A layer that the network lacks, or a size that its patches do not divide.
        """
        size = (int(images.shape[2]), int(images.shape[3]))
        if self._made_for != (list(layers), vectors, size):
            self._make(layers, vectors, size)
            self._made_for = (list(layers), vectors, size)
        step = 1 if self._device.type == "cpu" else len(images)
        maps: list[Tensor] = []
        for start in range(0, len(images), step):
            with torch.inference_mode(), _without_tf32(self._device):
                outputs = self._network(self._normalise(images[start : start + step]))
            # Made out here: a tensor made in inference mode could not be changed by whoever receives it.
            maps = maps or [torch.empty(len(images), *output.shape[1:]) for output in outputs]
            for whole, output in zip(maps, outputs, strict=True):
                whole[start : start + step] = output
        pooled = maps[self._last].mean(dim=(2, 3)) if vectors else None
        return [maps[i] for i in self._wanted], pooled

    @torch.inference_mode()
    def _make(self, layers: Sequence[int], vectors: bool, size: Size) -> None:
        from adbench.backbones.fusion import fold, fuse

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
        last = levels[max(levels)]
        outputs = sorted({levels[layer] for layer in layers} | ({last} if vectors else set()))
        self._wanted = [outputs.index(levels[layer]) for layer in layers]
        self._last = len(outputs) - 1  # the deepest, which is the last level where it is to be averaged
        self._mean = torch.tensor(network.mean, device=self._device).mul(255).view(3, 1, 1)
        self._std = torch.tensor(network.std, device=self._device).mul(255).view(3, 1, 1)
        module = fold(network.cut(outputs).eval()).to(self._device, self._dtype)
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.to(memory_format=torch.channels_last)
        self._network = fuse(module, self._normalise(torch.zeros(1, 3, *size, dtype=torch.uint8)))

    def _normalise(self, images: Tensor) -> Tensor:
        pixels = images.to(self._device).to(torch.float32, memory_format=torch.channels_last)
        return ((pixels - self._mean) / self._std).to(self._dtype)


def _without_tf32(device: torch.device) -> AbstractContextManager[None]:
    """By default cuDNN rounds what goes into a convolution to 10 bits."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
