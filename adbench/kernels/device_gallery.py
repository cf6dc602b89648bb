"""``Gallery`` by plain torch on a device: the nearest positions in a few of many images."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from adbench.kernels.device import block_size, in_blocks, widest
from adbench.kernels.finite import require_finite
from adbench.kernels.products import direct, merged, nearest_rows

Search = Callable[[slice], tuple[Tensor, Tensor]]
"""From some of the images to the squared distances of their nearest positions, and their rows."""


class DeviceGallery:
    """The positions of many images on one level of the pyramid, kept on a device.

    Args:
        image: Gives the (p, c) float32 positions of the image of a number, on any device.
        count: How many images there are.
        device: Where plain torch searches.

    Raises:
        AdbenchError: Positions that are not finite.
    """

    def __init__(self, image: Callable[[int], Tensor], count: int, device: torch.device) -> None:
        first = image(0)
        self._positions = torch.empty(count, *first.shape, device=device)  # (N, p, c)
        self._squares = torch.empty(count, len(first), device=device)  # (N, p)
        for number, positions in enumerate(self._positions):
            positions.copy_(image(number))
            self._squares[number] = positions.square().sum(dim=1)
        require_finite(self._positions, "training features")

    @staticmethod
    def bytes(images: int, positions: int, c: int) -> int:
        """Bytes on the device for so many images, and to search them in the smallest blocks."""
        return 4 * images * positions * (c + 1) + 4 * positions * (3 * c + 4)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept to search the images."""
        return self._positions.nbytes + self._squares.nbytes

    def search(
        self, queries: Tensor, images: Tensor, k: int, counts: Sequence[int]
    ) -> dict[int, Tensor]:
        """The distances of each query to the k nearest of all positions in the first images.

        Args:
            queries: (q, c) float32.
            images: Their numbers, on the device.
            k: How many.
            counts: In how many of the images to search.

        Returns:
            For each of the counts, (q, k) squared distances, ascending; infinity stands where there
            are fewer than k positions.
        """
        p = self._positions.shape[1]

        def search(some: slice) -> tuple[Tensor, Tensor]:
            chosen = images[some]
            bank, squares = self._positions[chosen].flatten(0, 1), self._squares[chosen].flatten()
            return nearest_rows(queries, bank, squares, min(k, len(bank)))

        known = _none_known(queries, k)
        found, done = {}, 0
        # All positions of some images at a time: a copy of them, and their products.
        step = block_size(p * (4 * self._positions.shape[2] + 16 * len(queries)))
        for count in sorted(set(counts)):
            more = partial(_from, search, done)
            for part in in_blocks(more, count - done, step, "images"):
                known = merged(known, part, k)
            found[count], done = known[0], count
        return found

    def search_same_place(
        self, queries: Tensor, images: Tensor, k: int, counts: Sequence[int]
    ) -> dict[int, Tensor]:
        """``search`` among the positions at the place of each query alone."""
        p, c = self._positions.shape[1:]

        def search(some: slice) -> Tensor:
            return direct(queries, self._positions[images[some]])  # (images, p)

        parts = in_blocks(search, len(images), block_size(24 * p * c), "images")
        squared = torch.cat(parts)
        known = _none_known(queries, k)[0]
        return {
            count: torch.cat([known, squared[:count].T], dim=1).sort(dim=1).values[:, :k]
            for count in set(counts)
        }


def _from(search: Search, first: int, some: slice) -> tuple[Tensor, Tensor]:
    return search(slice(first + some.start, first + some.stop))


def _none_known(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape, device = (len(queries), k), queries.device
    squared = torch.full(shape, torch.inf, dtype=widest(device), device=device)
    return squared, torch.full(shape, -1, device=device)
