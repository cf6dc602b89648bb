"""Random features of WideResNet50's shapes, smooth as a network's are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.features.features import Features

SHAPES = ((256, 56), (512, 28), (1024, 14))
"""Channels and edge of WideResNet50's layers 1, 2 and 3 at 224 pixels."""


def smooth_maps(n: int, seed: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Tensor]:
    """Random layers of ``n`` images, rectified.

    Each is a mixture of 64 smooth maps, as correlated as a network's channels, with noise.
    """
    draw, mixing = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    layers = []
    for channels, edge in shapes:
        mixture = torch.randn(channels, 64, generator=mixing) * torch.logspace(0, -2, 64)
        layer = torch.empty(n, channels, edge, edge)
        for image in layer:
            coarse = torch.randn(1, 64, 7, 7, generator=draw)
            smooth = F.interpolate(coarse, (edge, edge), mode="bicubic")
            image[:] = F.conv2d(smooth, mixture[:, :, None, None])[0]
            image += 0.02 * torch.randn(image.shape, generator=draw)
        layers.append(layer.relu_())
    return layers


def write_smooth_maps(folder: Path, n: int) -> None:
    """The same in files of their own, ``layer1.npy`` and on, a few images at a time."""
    files = [
        np.lib.format.open_memmap(
            folder / f"layer{i}.npy", "w+", np.float32, (n, channels, edge, edge)
        )
        for i, (channels, edge) in enumerate(SHAPES, start=1)
    ]
    for first in range(0, n, 16):
        layers = smooth_maps(min(16, n - first), seed=first)
        for file, layer in zip(files, layers, strict=True):
            file[first : first + 16] = layer.numpy()


def mapped_features(folder: Path, layers: Sequence[int], n: int | None = None) -> Features:
    """The first ``n`` images of them, memory-mapped as the feature cache's are."""
    files = [np.load(folder / f"layer{i}.npy", mmap_mode="c") for i in layers]
    maps = [torch.from_numpy(file[:n]) for file in files]
    vectors = torch.randn(len(maps[0]), 2048, generator=torch.Generator().manual_seed(0))
    bases = [file.base for file in files]
    return Features(maps, vectors, (224, 224), source="random", files=bases)
