"""Values of layers at their own resolutions, and blocks of positions that copy them.

A deeper map reaches the finest resolution by blockwise copies, so several positions share one of
its cells. What can be computed per cell is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

READ = 32
"""Images of memory-mapped features that may stay in memory at a time."""


class Part(Protocol):
    """Centred values of some images at one resolution: one layer, or the projection of all."""

    cell: np.ndarray
    """(positions,) the cell that each position copies; all different in the first part."""

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        ...

    def rows(self, cells: slice) -> np.ndarray:
        """(cells, n, c) float32."""
        ...


@dataclass
class Stored:
    """Values that are kept cell by cell.

    Attributes:
        values: (cells, n, c) float32.
        cell: (positions,) the cell that each position copies.
    """

    values: np.ndarray
    cell: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.values.nbytes

    def rows(self, cells: slice) -> np.ndarray:
        """(cells, n, c) float32, not copied."""
        return self.values[cells]


@dataclass
class Referred:
    """Values that stay in feature maps, in memory or on disk, and are read whenever they are used.

    Attributes:
        maps: (n, c, cells) float32.
        mean: (c, cells) float32, subtracted from what is read.
        cell: (positions,) the cell that each position copies.
        evict: Called after the maps of every ``READ`` images.
    """

    maps: np.ndarray
    mean: np.ndarray
    cell: np.ndarray
    evict: Callable[[], None]

    @property
    def nbytes(self) -> int:
        """Bytes of the maps referred to."""
        return self.maps.nbytes

    def rows(self, cells: slice) -> np.ndarray:
        """(cells, n, c) float32, copied."""
        mean = self.mean[:, cells]
        out = np.empty((mean.shape[1], len(self.maps), len(mean)), np.float32)
        for i, image in enumerate(self.maps):
            out[:, i] = (image[:, cells] - mean).T
            if i % READ == READ - 1:
                self.evict()
        return out


@dataclass
class View:
    """The cells of a part that the positions of a block copy.

    Attributes:
        cells: A range of cells that holds all of them.
        local: (positions,) the cell of each position, counted from the first of the range.
        place: (positions,) where each position stands among those of its cell.
        members: (cells, k) the positions of each cell, counted from the first of the block. Where a
            cell has fewer than k positions, the rest are any positions.
    """

    cells: slice
    local: np.ndarray
    place: np.ndarray
    members: np.ndarray

    @classmethod
    def of(cls, cell: np.ndarray) -> "View":
        """The view of a block whose positions copy these cells."""
        first, last = int(cell.min()), int(cell.max())
        local = cell - first
        counts = np.bincount(local)
        order = np.argsort(local, kind="stable")
        place = np.empty_like(local)
        place[order] = np.arange(len(local)) - np.repeat(np.cumsum(counts) - counts, counts)
        members = np.zeros((len(counts), counts.max()), np.intp)
        members[local, place] = np.arange(len(local))
        return cls(slice(first, last + 1), local, place, members)

    def to_positions(self, values: np.ndarray) -> np.ndarray:
        """(cells, k, ...) values of the members to (positions, ...)."""
        out: np.ndarray = values[self.local, self.place]
        return out


@dataclass
class Block:
    """Positions that are worked on together, and their view of each part."""

    positions: slice
    views: list[View]

    def __len__(self) -> int:
        return len(self.views[0].local)

    @classmethod
    def cut(cls, cells: Sequence[np.ndarray], size: int) -> list["Block"]:
        """All positions in blocks of ``size``.

        Args:
            cells: For each part, the (positions,) cells that the positions copy.
            size: Positions in a block.
        """
        slices = [slice(start, start + size) for start in range(0, len(cells[0]), size)]
        return [
            cls(positions, [View.of(cell[positions]) for cell in cells]) for positions in slices
        ]
