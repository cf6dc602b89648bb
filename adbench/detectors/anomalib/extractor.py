"""A backbone of adbench in the place of anomalib's own feature extractor."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adbench.backbones.backbone import Backbone, Exports
from adbench.backbones.network_maps import NetworkMaps
from adbench.data.images import Size
from adbench.errors import ImpossibleError

APART = 2**31
"""The bit in which the seed of a student differs from an equal one of its backbone. It is a high
one, so that the student is not that of the next seed."""


class Extractor(nn.Module):
    """(b, 3, H, W) float32 RGB in [0, 255] to feature maps by name, as anomalib's extractor.

    Args:
        network: From (b, H, W, 3) to the maps of the layers; it normalises the images itself.
        layers: Pyramid levels, finest first.
        size: (H, W) of the images.
        frozen: Whether it keeps its weights, and its statistics of batches.

    Attributes:
        out_dims: Channels of each layer.
        sizes: (h, w) of each layer.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[int], size: Size, frozen: bool = True
    ) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen
        self.names = [name_of(layer) for layer in layers]
        network.requires_grad_(not frozen)
        with torch.no_grad():
            maps = network.eval()(torch.zeros(1, *size, 3))
        self.out_dims = [int(m.shape[1]) for m in maps]
        self.sizes = [(int(m.shape[2]), int(m.shape[3])) for m in maps]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The map of each layer, (b, c, h, w)."""
        pixels = images.permute(0, 2, 3, 1)
        if self.frozen:
            self.network.eval()
            with torch.no_grad():
                maps = self.network(pixels)
        else:
            maps = self.network(pixels)
        return dict(zip(self.names, maps, strict=True))

    def channels(self, layers: Sequence[int]) -> dict[str, int]:
        """The channels by pyramid level, as a record has them."""
        return {str(layer): dim for layer, dim in zip(layers, self.out_dims, strict=True)}


def name_of(layer: int) -> str:
    """What anomalib's models call a pyramid level."""
    return f"layer{layer}"


def require_usable(backbone: Backbone, title: str) -> None:
    """Check, before any work, that a backbone is a network of torch.

    Raises:
        ImpossibleError: It is none, or is computed in another way than torch's in float32.
    """
    if not isinstance(backbone, Exports):
        raise ImpossibleError(
            f"{title} needs the network itself, and {type(backbone).__name__} does not give it; "
            "choose a backbone of timm or open_clip"
        )
    for name, needed in (("engine", "torch"), ("precision", "fp32")):
        if (got := getattr(backbone, name, needed)) != needed:
            raise ImpossibleError(
                f"{title} computes its network by torch in float32; backbone.{name}={got} cannot "
                f"be had here: set backbone.{name}={needed}"
            )


def require_student(backbone: Backbone, title: str) -> None:
    """Raise ImpossibleError, before any work, unless a backbone can be had with random weights."""
    if not isinstance(backbone, NetworkMaps):
        raise ImpossibleError(
            f"{title} trains a network of the backbone's architecture from random weights, and "
            f"{type(backbone).__name__} cannot have these; choose a backbone of timm or open_clip"
        )


def extractor(backbone: Any, layers: Sequence[int], size: Size) -> Extractor:
    """The frozen network of a backbone for images of (H, W).

    Raises:
        ImpossibleError: The network lacks a layer, or takes no images of this size.
    """
    return Extractor(backbone.module(size, layers), layers, size)


def student(backbone: Any, layers: Sequence[int], size: Size, seed: int) -> Extractor:
    """The same architecture with random weights, to be trained.

    They are not those of the backbone, where that has random weights too.

    Raises:
        ImpossibleError: As ``extractor``.
    """
    if backbone.is_random and (backbone.seed - seed) % 2**32 == 0:  # on a CPU torch reads 32 bits
        seed ^= APART  # from the same seed the student would be its teacher from the start
    untrained = dataclasses.replace(backbone, weights="random", seed=seed)
    return Extractor(untrained.module(size, layers), layers, size, frozen=False)
