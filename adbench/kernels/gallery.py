"""The nearest positions in a few of many images, chosen anew for each query image.

SPADE (Cohen & Hoshen, arXiv 2005.02357) calls these positions a gallery.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from adbench.kernels.finite import require_finite
from adbench.kernels.screen import Screen

QUERIES = 128
"""Positions that a thread compares at a time with those of an image."""
FEW = 256
"""Positions that are all compared directly at first, because nothing can be excluded before."""
SAMPLED = 8
"""Images that the screen is learned from."""
AXES = 64
"""Axes of the screen; 48 to 96 were the fastest, for trained and for random networks.

The layers had 144 to 1024 channels.
"""
DIRECT = 15000.0
"""What a direct distance costs, in coordinates of the screen's product: it waits for memory."""

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Any]
"""Runs a function on each of some items, as ``adbench.system.parallel.workers`` does."""


class Gallery:
    """The positions of many images on one level of the pyramid, searched exactly.

    A search is in a few of the images. Each distance that is returned was summed from direct
    differences in float64, so a position itself is found at distance 0, and the result depends on
    neither threads nor blocks. A screen excludes nearly all the other distances.

    Args:
        image: Gives the (p, c) float32 positions of the image of a number. They are not kept.
        count: How many images there are.
        each: Runs the work.

    Raises:
        AdbenchError: Positions that are not finite.
    """

    def __init__(self, image: Callable[[int], np.ndarray], count: int, each: Each) -> None:
        self._image = image
        self._screen = _screen([image(i) for i in range(0, count, -(-count // SAMPLED))], count)
        self._columns: list[np.ndarray] = [np.empty(0)] * count
        largest = np.empty(count)

        def prepare(number: int) -> None:
            positions = image(number)
            require_finite(positions, "training features")
            shadows, squares = self._screen.shadows(positions)  # (p, r + 2), (p,)
            shadows[:, -1] = -squares / 2
            self._columns[number], largest[number] = np.ascontiguousarray(shadows.T), squares.max()

        each(prepare, range(count))
        self._largest = float(largest.max())

    @staticmethod
    def bytes(images: int, positions: int, c: int) -> int:
        """``nbytes`` for so many images, at most where their spectrum is not flat."""
        return 4 * images * positions * (min(AXES, c) + 2)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept to search the images."""
        return sum(columns.nbytes for columns in self._columns)

    def growing(
        self, queries: np.ndarray, images: Iterable[int], k: int, each: Each
    ) -> Iterator[np.ndarray]:
        """The distances of each query to the k nearest positions of the first 1, 2, ... images.

        Args:
            queries: (q, c) float32.
            images: Their numbers, best the most similar first: what is found early excludes more.
            k: How many, at most the positions of all of them.
            each: Runs the work.

        Yields:
            (q, k) float64 squared distances, ascending. It is one array that changes with each
            image; infinity stands where there are fewer than k positions.
        """
        from adbench.kernels import search_loops

        shadows, squares = self._screen.shadows(queries)
        floors = self._screen.floors(squares, self._largest)
        nearest = np.full((len(queries), k), np.inf)
        parts = [slice(i, i + QUERIES) for i in range(0, len(queries), QUERIES)]

        def compare(task: tuple[slice, np.ndarray, np.ndarray]) -> None:
            part, positions, columns = task
            products = shadows[part] @ columns
            search_loops.approach(
                products, queries[part], positions, floors[part], self._screen.gain, nearest[part]
            )

        for turn, number in enumerate(images):
            positions, columns = self._image(number), self._columns[number]
            cuts = [0, len(positions)] if turn else [0, min(FEW, len(positions)), len(positions)]
            for start, end in pairwise(cuts):
                each(
                    compare, [(part, positions[start:end], columns[:, start:end]) for part in parts]
                )
            yield nearest

    def growing_same_place(
        self, queries: np.ndarray, images: Iterable[int], k: int
    ) -> Iterator[np.ndarray]:
        """``growing`` among the positions at the place of each query alone."""
        nearest = np.empty((len(queries), 0))
        for number in images:
            positions = self._image(number)
            squared = np.square(positions - queries, dtype=np.float64).sum(axis=1, keepdims=True)
            nearest = np.sort(np.append(nearest, squared, axis=1), axis=1)[:, :k]
            yield nearest


def _screen(images: list[np.ndarray], count: int) -> Screen:
    """A screen on few axes where that pays for searches in other images, else on all."""
    positions = np.concatenate(images)  # (m, c)
    m, c = positions.shape
    rank = min(AXES, c // 2)
    if rank == 0:
        return Screen(positions, c)
    tried = np.arange(0, m, -(-m // 256))
    queries, own = (
        positions[tried],
        tried[:, None] // len(images[0]) == np.arange(m) // len(images[0]),
    )
    squares = np.einsum("ij,ij->i", positions, positions)
    distances = squares[tried, None] + squares - 2 * queries @ positions.T
    nearest = np.where(own, np.inf, distances).min(axis=1, keepdims=True)

    screen = Screen(positions, rank)
    rows, of_rows = screen.shadows(queries)
    columns, of_columns = screen.shadows(positions)
    columns[:, -1] = -of_columns / 2
    floors = screen.floors(of_rows, float(of_columns.max()))[:, None]
    unsure = float((rows @ columns.T > floors - nearest * screen.gain).mean())
    return screen if rank + DIRECT * unsure < c else Screen(positions, c, count * len(images[0]))
