"""Features: what a frozen backbone says of some images, and all that a method may see."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Feature maps and pooled vectors of n images, in their order.

    Attributes:
        maps: One (n, c, h, w) float32 tensor per layer, finest first; may be memory-mapped and
            must not be written to.
        vectors: (n, d) float32 pooled last stage, or None where the method did not ask for it.
        size: (H, W) of the network's input in pixels.
        source: Names backbone, weights, layers and geometry; a fitted method refuses features
            of another source.
        key: Names the source and the images; empty where nothing may be kept under its name.
        device: Where a method may compute, such as ``cuda:0``. The tensors are on the CPU, or
            already on the device, as those of decoded images that are scored at once.
        plain: Whether methods compute by plain torch on the CPU too, as they do on every other
            device, so that the one can be compared with the other.
        files: Where the maps are mapped from, if they are.
    """

    maps: list[Tensor]
    vectors: Tensor | None
    size: tuple[int, int]
    source: str = ""
    key: str = ""
    device: str = "cpu"
    plain: bool = False
    files: list[mmap.mmap] = field(default_factory=list)

    def __len__(self) -> int:
        return (
            len(self.maps[0]) if self.maps else len(self.vectors) if self.vectors is not None else 0
        )

    def __getitem__(self, images: slice) -> "Features":
        """The features of some of the images.

        They have no key, so nothing is kept under their name.
        """
        vectors = None if self.vectors is None else self.vectors[images]
        maps = [m[images] for m in self.maps]
        return replace(self, maps=maps, vectors=vectors, key="", files=[])

    @property
    def torch_device(self) -> torch.device | None:
        """Where plain torch computes; None for the compiled kernels on the CPU."""
        device = torch.device(self.device)
        return device if self.plain or device.type != "cpu" else None

    def on_device(self) -> "Features":
        """The same features on their device; those that are there are not copied."""
        return self._moved(self.device)

    def on_cpu(self) -> "Features":
        """The same features on the CPU, whatever their device; those there are not copied."""
        return self._moved("cpu")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the finest layer: the patches of an image."""
        return int(self.maps[0].shape[-2]), int(self.maps[0].shape[-1])

    @property
    def channels(self) -> list[int]:
        """Channels of each layer."""
        return [int(m.shape[1]) for m in self.maps]

    def blocks(self, limit: int, per_image: int | None = None) -> Iterator["Features"]:
        """All images in order, a block at a time and on the device, for a pass in bounded memory.

        Mapped maps leave the memory after each block: a pass reads them once, and the system itself
        would only take them back when memory is short.

        Args:
            limit: Bytes that a block may take; a block has at least one image.
            per_image: Bytes that an image takes, where that is not the size of its maps.
        """
        size = per_image or sum(m[0].numel() * m.element_size() for m in self.maps)
        step = max(1, limit // size)
        for first in range(0, len(self), step):
            yield self[first : first + step].on_device()
            self.evict()

    def evict(self) -> None:
        """Take mapped maps out of memory until they are read again."""
        for file in self.files:
            if hasattr(mmap, "MADV_DONTNEED"):
                file.madvise(mmap.MADV_DONTNEED)

    def _moved(self, place: str) -> "Features":
        vectors = None if self.vectors is None else self.vectors.to(place)
        return replace(self, maps=[m.to(place) for m in self.maps], vectors=vectors)
