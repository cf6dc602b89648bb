"""The searches of SPADE, by compiled kernels on the CPU or by plain torch on a device."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from adbench.kernels.device_gallery import DeviceGallery
from adbench.kernels.gallery import Each, Gallery
from adbench.kernels.products import nearest_directly
from adbench.methods.levels import arrays_of, positions_of, shapes_of
from adbench.system.parallel import workers

Galleries = list[Gallery] | list[DeviceGallery]
Array = np.ndarray | Tensor
"""Of numpy where compiled kernels compute on the CPU, of torch on a device."""
Kind = Literal["all_positions", "same_position"]
"""What a position is compared with in the nearest images, see ``SPADE.gallery``."""


def galleries_of(maps: Sequence[Tensor], merge: str, device: torch.device | None) -> Galleries:
    """The search of the positions of the training images, for each level that is compared.

    Args:
        maps: (N, c, h, w) of each layer.
        merge: ``SPADE.merge``, which makes the levels.
        device: Where plain torch searches; None for the compiled kernels on the CPU.

    Raises:
        AdbenchError: Positions that are not finite.
    """
    levels, count = range(len(shapes_of(maps, merge))), len(maps[0])
    if device is not None:
        rows = [partial(positions_of, maps, merge, level) for level in levels]
        return [DeviceGallery(image, count, device) for image in rows]
    arrays = [partial(arrays_of, maps, merge, level) for level in levels]
    with workers() as each:
        return [Gallery(image, count, each) for image in arrays]


def nearest_images(vectors: Tensor, training: Array, k: int) -> tuple[Array, Array]:
    """The training images whose pooled vectors are nearest.

    Args:
        vectors: (n, d) float32.
        training: (N, d) float32, where the search is.
        k: How many; cut to N.

    Returns:
        (n, k) their numbers, nearest first, and (n, k) squared distances.
    """
    if isinstance(training, Tensor):
        return nearest_directly(vectors.to(training.device), training, k)[::-1]
    nearest, distances = [], []
    for vector in vectors.numpy():
        squared = np.square(training - vector, dtype=np.float64).sum(axis=1)
        nearest.append(np.argsort(squared, kind="stable")[:k])
        distances.append(squared[nearest[-1]])
    return np.array(nearest), np.array(distances)


def nearest_positions(
    gallery: Gallery | DeviceGallery,
    kind: Kind,
    queries: Tensor,
    images: Array,
    k: int,
    counts: Sequence[int],
    each: Each,
) -> Mapping[int, Array]:
    """The distances of positions to the nearest positions in the first images.

    Args:
        gallery: Of the level.
        kind: What a position is compared with.
        queries: (h w, c) float32 positions of one image, where the search is.
        images: Numbers of training images, nearest first.
        k: How many.
        counts: In how many of the images to search.
        each: Runs the work on the CPU.

    Returns:
        For each of the counts, (h w, k) squared distances, ascending.
    """
    images = images[: max(counts)]
    if isinstance(gallery, DeviceGallery):
        search = gallery.search if kind == "all_positions" else gallery.search_same_place
        return search(queries, torch.as_tensor(images), k, counts)
    rows = queries.numpy()
    growing = (
        gallery.growing(rows, images, k, each)
        if kind == "all_positions"
        else gallery.growing_same_place(rows, images, k)
    )
    return {n: squared.copy() for n, squared in enumerate(growing, 1) if n in counts}
