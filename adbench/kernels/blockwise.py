"""Values of layers at their own resolutions, and blocks of positions of the finest layer that copy them.

A deeper map reaches the finest resolution by blockwise copies, so several positions share a cell of it, and what can
be computed per cell is computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

READ = 32
"""Images whose mapped features may stay in memory at a time."""


class Part(Protocol):
    """Centred values of some images: one layer, or the projection of all layers, at its own resolution."""

    cell: np.ndarray
    """(positions,) the cell that each position copies; in the first part, each position is its own."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells, images, channels."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        ...

    def rows(self, cells: slice) -> np.ndarray:
        """(cells, n, c) float32."""
        ...


@dataclass
class Stored:
    """Values kept cell by cell."""

    values: np.ndarray
    """(cells, n, c)."""
    cell: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells, images, channels."""
        cells, n, c = self.values.shape
        return cells, n, c

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.values.nbytes

    def rows(self, cells: slice) -> np.ndarray:
        """(cells, n, c) float32, not copied."""
        return self.values[cells]


@dataclass
class Referred:
    """Values that stay in feature maps, in memory or on disk, and are gathered whenever they are needed."""

    maps: np.ndarray
    """(n, c, cells)."""
    mean: np.ndarray
    """(c, cells)."""
    cell: np.ndarray
    evict: Callable[[], None]
    """Called when the maps of ``READ`` images were read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells, images, channels."""
        n, c, cells = self.maps.shape
        return cells, n, c

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
    """Which cells of a part a block of positions copies."""

    cells: slice
    local: np.ndarray
    """(positions,) the cell of each position, counted from the first one."""
    place: np.ndarray
    """(positions,) where each position stands among those of its cell."""
    members: np.ndarray
    """(cells, k) the positions of each cell, counted from the block's first; any fill up where there are fewer."""

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
    """Positions worked on together, and what they copy of each part."""

    positions: slice
    views: list[View]

    @classmethod
    def cut(cls, cells: Sequence[np.ndarray], size: int) -> list["Block"]:
        """All positions in blocks of ``size``, given the cells that they copy of each part."""
        slices = [slice(start, start + size) for start in range(0, len(cells[0]), size)]
        return [cls(positions, [View.of(cell[positions]) for cell in cells]) for positions in slices]
