"""What runs a backbone: a network cut after the deepest level it is used for, and compiled."""

import ctypes
import gc
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adbench.backbones import trial
from adbench.backbones.network import EngineName, Network, Precision, Run, Size, outputs_of
from adbench.kernels.device import in_blocks
from adbench.system.machine import device_name
from adbench.system.precision import whole_floats


class Engine:
    """Extracts features by a network that is made at the first use.

    A made network serves every request of the same image size and the same deepest output whose
    outputs it has. For any other request it is made anew.

    On a CPU it takes one image at a time: activations stay in the cache, and the features of an
    image are the same bits whatever batch it came in.

    Args:
        build: Makes the network for images of (H, W).
        blocks: See ``Network.levels``.
        device: auto | cpu | mps | cuda | cuda:N.
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

    def extract(
        self, images: Tensor, layers: Sequence[int], vectors: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """Maps of the levels ``layers``, and the average of the last level's map if wanted.

        Args:
            images: (b, 3, H, W) uint8.
            layers: Pyramid levels.
            vectors: Whether to average the last level.

        Returns:
            (b, c, h, w) per layer and (b, d) or None, float32 where the network computed them.

        Raises:
            ImpossibleError: A layer that the network lacks, or a size that it does not take.
            AdbenchError: Weights that cannot be had, or that give no finite features.
        """
        made = self._network(layers, vectors, images[:1])
        wanted = made.outputs(layers, vectors)
        places = [made.indices.index(output) for output in wanted]
        step = 1 if self._device.type == "cpu" else len(images)
        maps: list[Tensor] = []

        def compute(block: slice) -> None:
            with torch.inference_mode(), whole_floats(self._device):
                found = made.run(made.normalise(images[block].to(self._device)))
            chosen = [found[place] for place in places]
            # Made out here: a tensor that is made in inference mode refuses to be changed later.
            if not maps:  # all of them or, where the memory is too short, none
                maps.extend(
                    [
                        torch.empty(len(images), *output.shape[1:], device=output.device)
                        for output in chosen
                    ]
                )
            for whole, output in zip(maps, chosen, strict=True):
                whole[block] = output

        in_blocks(compute, len(images), step, "images")
        pooled = maps[-1].mean(dim=(2, 3)) if vectors else None  # the last level is the deepest
        return [maps[wanted.index(made.levels[layer])] for layer in layers], pooled

    def release(self) -> None:
        """Give the network's memory back; the next ``extract`` makes it again."""
        if self._made is not None:
            self._made = None
            gc.collect()  # a traced network and its graph refer to each other
            _trim()

    def _network(self, layers: Sequence[int], vectors: bool, image: Tensor) -> "_Made":
        """The made network, which is made anew where it does not serve ``image``'s size."""
        size = int(image.shape[2]), int(image.shape[3])
        earlier: list[int] = []
        if self._made is not None and self._made.size == size:
            wanted, there = self._made.outputs(layers, vectors), self._made.indices
            if wanted[-1] == there[-1]:
                if set(wanted) <= set(there):
                    return self._made
                earlier = there  # requests that take turns then share one network
        self.release()  # two networks at once would double the peak of memory
        self._made = self._make(layers, vectors, size, image, earlier)
        _trim()
        return self._made

    @torch.inference_mode()
    def _make(
        self, layers: Sequence[int], vectors: bool, size: Size, image: Tensor, earlier: list[int]
    ) -> "_Made":
        network = self._build(size)
        levels = network.levels(self._blocks)
        indices = sorted({*outputs_of(network.name, levels, layers, vectors), *earlier})
        network.require_patches(size)
        mean, std = (
            torch.tensor(values).mul(255).view(3, 1, 1).to(self._device)
            for values in (network.mean, network.std)
        )
        example = _normalised(image.to(self._device), mean, std).contiguous()
        module = network.cut(indices).eval().to(self._device)
        with whole_floats(self._device):
            expected = trial.outputs(module, example, network)
            run = self._compile(module, example)
            trial.require_same(run(example), expected, network.name, self._precision)
        return _Made(
            name=network.name,
            size=size,
            levels=levels,
            indices=indices,
            mean=mean,
            std=std,
            run=run,
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

    name: str
    size: Size
    levels: dict[int, int]
    """Which output of the network each pyramid level is."""
    indices: list[int]
    """The outputs that ``run`` returns, ascending."""
    mean: Tensor
    std: Tensor
    run: Run

    def outputs(self, layers: Sequence[int], vectors: bool) -> list[int]:
        return outputs_of(self.name, self.levels, layers, vectors)

    def normalise(self, images: Tensor) -> Tensor:
        return _normalised(images, self.mean, self.std)


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    images = images.to(torch.float32, memory_format=torch.channels_last)
    return (images - mean) / std


def _trim() -> None:
    """Hand freed memory back to the system.

    glibc keeps what lies between blocks in use, here the weights before they were fused.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
