"""A Gaussian at every position of a feature map (PaDiM, Defard et al., arXiv 2011.08785).

The field keeps what the training images say of each position in the smallest exact form. It works
on blocks of positions and on a few images at a time, so that memory stays bounded.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

import numpy as np
from torch import Tensor

from adbench.kernels.blockwise import READ, Block, Part, Referred
from adbench.kernels.cholesky import Factors
from adbench.kernels.finite import require_finite
from adbench.kernels.mahalanobis import Dual, Each, Primal, covariances
from adbench.kernels.reduction import Reduction
from adbench.system.parallel import threads, workers

CHUNK = 256 * 1024**2
"""Bytes of reduced values that are made at a time."""
WORKSPACE = 512 * 1024**2
"""Bytes of rows read from maps that all threads together may hold."""

Form = Literal["covariances", "rows", "maps"]


def _nothing() -> None:
    pass


class GaussianField:
    """Mean and covariance of the reduced features at every position.

    The ridge is no part of the field. The field keeps the factors of the last ridge that it was
    given, so copies of a method that share the field and the ridge share the factors too.

    Args:
        reduction: Of the channels.
        mean: For each layer, the (c', cells) float32 mean of the channels that are kept.
        form: What ``values`` holds.
        values: ``covariances``: one (positions, d (d + 1) / 2) float64 array of lower triangles,
            without a ridge. ``rows``: for each part of the reduction, the (cells, n, dims) float32
            training values less their mean. ``maps``: the (n, c, h, w) training maps themselves,
            possibly memory-mapped, where the reduction keeps all channels. They are read again by
            every score, and no factors are kept.
        evict: Takes maps that ``values`` holds out of memory once they were read.
        block: Positions to work on at a time; None for a good number.
        chunk: Bytes of reduced values to make at a time.
    """

    def __init__(
        self,
        reduction: Reduction,
        mean: Sequence[np.ndarray],
        form: Form,
        values: Sequence[np.ndarray],
        evict: Callable[[], None] = _nothing,
        block: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.reduction, self.mean, self.form, self.values = reduction, mean, form, values
        self._blocks = reduction.blocks(block)
        self._images = max(1, chunk // reduction.nbytes)  # at a time
        self._factors: tuple[float, list[Factors]] | None = None
        self._threads: int | None = None
        self._gaussians: Primal | Dual
        if form == "covariances":
            self._gaussians = Primal(values[0], reduction.dims)
            return
        if form == "maps":
            read = sum(maps.nbytes for maps in values) // len(self._blocks)
            self._threads = max(1, WORKSPACE // max(1, read))
        n = values[0].shape[0 if form == "maps" else 1]
        parts = self._referred(values, evict) if form == "maps" else reduction.stored(values)
        with workers(self._threads) as each:
            self._gaussians = Dual(parts, self._blocks, reduction.dims, n, each)

    @classmethod
    def fit(
        cls,
        maps: Sequence[Tensor],
        reduction: Reduction,
        form: Form,
        evict: Callable[[], None] = _nothing,
        block: int | None = None,
        chunk: int = CHUNK,
    ) -> Self:
        """Estimate the field from the (n, c, h, w) training maps of each layer.

        Raises:
            AdbenchError: Maps that are not finite.
        """
        mean = []
        for layer, m in enumerate(maps):
            mean.append(reduction.keep(layer, m.mean(dim=0).flatten(1).numpy()))
            evict()
        for mu in mean:
            require_finite(mu, "means of the normal features")
        arrays = [m.numpy() for m in maps]
        if form == "maps":
            return cls(reduction, mean, form, arrays, evict, block, chunk)
        n = len(arrays[0])
        with workers() as each:
            if form == "rows":
                values = _reduced(reduction, mean, arrays, evict, each)
            else:
                chunks = (
                    reduction.stored(_reduced(reduction, mean, some, evict, each))
                    for some in _some_at_a_time(arrays, max(1, chunk // reduction.nbytes))
                )
                values = [covariances(chunks, reduction.blocks(block), reduction.dims, n, each)]
        return cls(reduction, mean, form, values, evict, block, chunk)

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without a ridge."""
        return self._gaussians.variance

    @property
    def nbytes(self) -> int:
        """Bytes of the factors that are kept, on top of the mean and the values."""
        return sum(factors.nbytes for factors in self._factors[1]) if self._factors else 0

    def factor(self, ridge: float) -> list[Factors] | None:
        """The factors of all covariances plus ``ridge`` I, made unless they are there.

        Returns:
            One for each block, or None where maps are read again and no factors are kept.

        Raises:
            AdbenchError: The ridge is too small to invert one of the covariances.
        """
        if self.form == "maps":
            return None
        known = self._factors
        if known is None or known[0] != ridge:
            known = self._factors = None  # frees the old ones before the new ones are made
            with workers() as each:
                made = each(lambda block: self._gaussians.factor(block, ridge), self._blocks)
            known = self._factors = ridge, made
        return known[1]

    def squared_distances(
        self, maps: Sequence[Tensor], ridge: float, evict: Callable[[], None] = _nothing
    ) -> np.ndarray:
        """Squared Mahalanobis distance of each position of some images to its Gaussian.

        Args:
            maps: (m, c, h, w) of each layer.
            ridge: Added to the diagonal of every covariance.
            evict: Takes ``maps`` out of memory once they were read.

        Returns:
            (m, h, w) float32 at the finest resolution.

        Raises:
            AdbenchError: The ridge is too small to invert one of the covariances.
        """
        known = self.factor(ridge)
        chunks = _some_at_a_time([m.numpy() for m in maps], self._images)
        with workers(self._threads) as each:
            if known is None:  # making factors reads all training maps, so all images share them
                referred = [self._referred(some, evict) for some in chunks]
                squared = [self._squared(referred, ridge, None, each)]
            else:
                squared = []
                for some in chunks:
                    rows = _reduced(self.reduction, self.mean, some, evict, each)
                    parts = self.reduction.stored(rows)
                    squared.append(self._squared([parts], ridge, known, each))
        _, h, w = self.reduction.shapes[0]
        return np.concatenate(squared, axis=1).T.reshape(-1, h, w)

    @staticmethod
    def bytes(reduction: Reduction, form: Form, n: int, m: int) -> int:
        """Bytes at the peak of a fit to n images, or of the distances of m images after it."""
        order = reduction.dims if form == "covariances" else n
        if form == "maps":
            state = WORKSPACE
        elif form == "rows":
            state = n * reduction.nbytes + Factors.bytes(order, reduction.positions)
        else:
            triangles = 4 * reduction.positions * order * (order + 1)
            state = triangles + Factors.bytes(order, reduction.positions)
        chunk = max(1, CHUNK // reduction.nbytes)
        fitted = 3 * min(n, chunk) * order if form == "covariances" else 0
        rows = reduction.block * max(3 * min(m, chunk) * (order + reduction.dims), fitted)
        working = 4 * threads() * (rows + 6 * order**2)
        return state + 2 * min(max(n, m), chunk) * reduction.nbytes + working

    def _squared(
        self,
        images: Sequence[Sequence[Part]],
        ridge: float,
        known: Sequence[Factors] | None,
        each: Each,
    ) -> np.ndarray:
        """(positions, m) of images whose values come some at a time."""

        def work(item: tuple[Block, Factors | None]) -> np.ndarray:
            block, factors = item
            factors = factors or self._gaussians.factor(block, ridge)
            squared = [self._gaussians.squared(block, factors, ridge, parts) for parts in images]
            return np.concatenate(squared, axis=1)

        given: Sequence[Factors | None] = known or [None] * len(self._blocks)
        return np.concatenate(each(work, zip(self._blocks, given, strict=True)))

    def _referred(self, maps: Sequence[np.ndarray], evict: Callable[[], None]) -> list[Part]:
        layers = zip(maps, self.mean, self.reduction.cells, strict=True)
        return [Referred(m.reshape(*m.shape[:2], -1), mu, cell, evict) for m, mu, cell in layers]


def _some_at_a_time(maps: Sequence[np.ndarray], images: int) -> Iterator[list[np.ndarray]]:
    for first in range(0, len(maps[0]), images):
        yield [m[first : first + images] for m in maps]


def _reduced(
    reduction: Reduction,
    mean: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    evict: Callable[[], None],
    each: Each,
) -> list[np.ndarray]:
    """(cells, n, dims) float32 of each part: the reduced values less those of the mean."""
    n = len(maps[0])
    values = [np.empty((cells, n, dims), np.float32) for cells, dims in reduction.parts]

    def reduce(i: int) -> None:
        image = [m[i].reshape(m.shape[1], -1) for m in maps]
        for out, part in zip(values, reduction.centred(image, mean), strict=True):
            out[:, i] = part
        if i % READ == READ - 1:
            evict()

    each(reduce, range(n))
    return values
