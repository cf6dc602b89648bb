"""Images to batches of network inputs, prepared on threads while the backbone works."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adbench.data.geometry import Geometry
from adbench.data.images import Size, image_size, read_image
from adbench.data.samples import Images
from adbench.errors import AdbenchError, DataError
from adbench.system.parallel import threads
from adbench.system.progress import bar
from adbench.system.stages import stage

_AHEAD = 2  # batches that are prepared while the backbone works on another


def batches_of(images: Images, geometry: Geometry, size: int) -> Iterator[Tensor]:
    """(b, 3, H, W) uint8 inputs of a network, at most ``size`` images at a time.

    Waiting for them is the stage ``preprocess``.

    Raises:
        DataError: An image that cannot be read, or images that end up with different sizes.
    """
    sizes: set[tuple[int, ...]] = set()
    batches = _prepared(_preparations(images, geometry), size)
    with bar(len(images), "features", "img") as progress:
        while True:
            with stage("preprocess"):
                arrays = next(batches, None)
                if arrays is None:
                    return
                sizes.update(a.shape[:2] for a in arrays)
                if len(sizes) > 1:
                    raise DataError(
                        f"images of {place_of(images)} end up with sizes {sorted(sizes)} under "
                        f"{geometry}; set geometry.crop, or geometry.resize=[height,width]"
                    )
                inputs = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
            yield inputs
            progress.update(len(arrays))


def size_of_first(images: Images, geometry: Geometry) -> Size:
    """(H, W) that the first image has under a geometry; it is neither decoded nor resized."""
    if images.paths:
        return geometry.size_of(image_size(images.paths[0]))
    height, width = images.arrays[0].shape[:2]
    return geometry.size_of((height, width))


def place_of(images: Images) -> str:
    """What errors call the images: their folder."""
    return str(images.paths[0].parent) if images.paths else "decoded arrays"


def _prepared(
    preparations: list[Callable[[], np.ndarray]], size: int
) -> Iterator[list[np.ndarray]]:
    """Batches of (H, W, 3) images; some are prepared while their user works on another."""
    if len(preparations) == 1:
        yield [preparations[0]()]  # a thread would cost more than it brings
        return
    with ThreadPoolExecutor(threads()) as pool:
        queue: list[list[Future[np.ndarray]]] = []
        try:
            for start in range(0, len(preparations), size):
                queue.append([pool.submit(p) for p in preparations[start : start + size]])
                if len(queue) > _AHEAD:
                    yield [future.result() for future in queue.pop(0)]
            while queue:
                yield [future.result() for future in queue.pop(0)]
        finally:  # after an error, what was not begun is not waited for
            for batch in queue:
                for future in batch:
                    future.cancel()


def _preparations(images: Images, geometry: Geometry) -> list[Callable[[], np.ndarray]]:
    if images.paths:
        return [partial(_read, path, geometry) for path in images.paths]
    return [partial(geometry.image, array) for array in images.arrays]


def _read(path: Path, geometry: Geometry) -> np.ndarray:
    try:
        return geometry.image(read_image(path))
    except DataError:
        raise
    except AdbenchError as error:
        raise DataError(f"{path}: {error}") from error
