"""Mahalanobis distances to one Gaussian per position, from d x d matrices or from n x n ones.

Both forms are exact. Let X (n, d) be the centred training rows of a position, and let
S = X'X / (n - 1) + ridge I be its covariance. The squared distance of a centred row y is

    primal:  |L^-1 y|^2, where L L' = S
    dual:    |y - X'a|^2 / ridge + (n - 1) |a|^2, where a = (X X' + (n - 1) ridge I)^-1 X y

The dual form is the Woodbury identity, written as a sum of two positive terms. Unlike
(|y|^2 - y'X'a) / ridge it does not cancel where the ridge is small. It is the minimum over all a,
so an error of a changes it in second order only.

All positions that copy one cell of a deeper layer share the layer's part of X. That part is kept
once, and its share of X X' is computed once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from adbench.kernels.blockwise import Block, Part, View
from adbench.kernels.cholesky import Factors

SPREAD = 1e5
"""Up to this trace(X'X) / (n - 1) / ridge, one float32 solve gives the dual form to 1e-5.

Beyond it, the solution is refined once.
"""

Each = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]
"""Runs a function on each of some items, as ``adbench.system.parallel.workers`` gives it."""


def covariances(
    chunks: Iterable[Sequence[Part]], blocks: Sequence[Block], d: int, n: int, each: Each
) -> np.ndarray:
    """The covariances of all positions, without a ridge.

    Args:
        chunks: Centred values of the training images, some images at a time.
        blocks: All positions.
        d: Dimensions.
        n: Training images.
        each: Runs the work.

    Returns:
        (positions, d (d + 1) / 2) float64 lower triangles.
    """
    triangle = np.flatnonzero(np.tri(d))
    total = np.zeros((blocks[-1].positions.start + len(blocks[-1]), len(triangle)))

    def add(parts: Sequence[Part], block: Block) -> None:
        rows = _at_positions(parts, block).astype(np.float64)  # (positions, n, d)
        for out, x in zip(total[block.positions], rows, strict=True):
            out += (x.T @ x).take(triangle)

    for parts in chunks:
        each(partial(add, parts), blocks)
    total /= n - 1
    return total


class Primal:
    """The d x d form: smaller where there are at least as many images as dimensions.

    Args:
        covariance: What ``covariances`` returned.
        d: Dimensions.
    """

    def __init__(self, covariance: np.ndarray, d: int) -> None:
        self.covariance, self.d = covariance, d
        self.triangle = np.flatnonzero(np.tri(d))

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without the ridge."""
        return float(self.covariance[:, self.triangle % (self.d + 1) == 0].mean())

    def factor(self, block: Block, ridge: float) -> Factors:
        """Factors of S for the positions of a block."""

        def matrices() -> Iterator[np.ndarray]:
            for triangle in self.covariance[block.positions]:
                matrix = np.zeros(self.d * self.d)
                matrix[self.triangle] = triangle
                matrix[:: self.d + 1] += ridge
                yield matrix.reshape(self.d, self.d)

        return Factors(matrices(), len(block))

    def squared(
        self, block: Block, factors: Factors, ridge: float, test: Sequence[Part]
    ) -> np.ndarray:
        """(positions, m) float32 squared distances of m test images in a block."""
        y = _at_positions(test, block).swapaxes(1, 2)  # (positions, d, m)
        return _lengths(factors.forward(y))


class Dual:
    """The n x n form: smaller where there are fewer images than dimensions.

    Args:
        parts: Centred values of the n training images; kept.
        blocks: All positions.
        d: Dimensions.
        n: Training images.
        each: Runs the work.
    """

    def __init__(
        self, parts: Sequence[Part], blocks: Sequence[Block], d: int, n: int, each: Each
    ) -> None:
        self.parts, self.d, self.n = parts, d, n
        self.traces = np.concatenate(each(self._traces, blocks))  # (positions,) of X'X / (n - 1)

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without the ridge."""
        return float(self.traces.mean()) / self.d

    def _traces(self, block: Block) -> np.ndarray:
        total = np.zeros(len(block))
        for part, view in zip(self.parts, block.views, strict=True):
            rows = part.rows(view.cells)
            total += np.einsum("pnc,pnc->p", rows, rows)[view.local]
        return total / (self.n - 1)

    def factor(self, block: Block, ridge: float) -> Factors:
        """Factors of X X' + (n - 1) ridge I for the positions of a block."""

        def matrices() -> Iterator[np.ndarray]:
            finest, *deeper = zip(self.parts, block.views, strict=True)
            shared = [([_gram(x) for x in part.rows(v.cells)], v.local) for part, v in deeper]
            for i, x in enumerate(finest[0].rows(finest[1].cells)):
                matrix = _gram(x)
                for grams, local in shared:
                    matrix += grams[local[i]]
                matrix.flat[:: self.n + 1] += (self.n - 1) * ridge
                yield matrix

        return Factors(matrices(), len(block))

    def squared(
        self, block: Block, factors: Factors, ridge: float, test: Sequence[Part]
    ) -> np.ndarray:
        """(positions, m) float32 squared distances of m test images in a block."""
        layers = [  # X (cells, n, c), y (cells, c, m)
            (part.rows(view.cells), new.rows(view.cells).swapaxes(1, 2), view)
            for part, new, view in zip(self.parts, test, block.views, strict=True)
        ]
        a = factors.solve(sum((x @ y)[view.local] for x, y, view in layers))  # (positions, n, m)
        rest = [y[:, :, None] - _fitted(x, a, view) for x, y, view in layers]  # (cells, c, k, m)
        if self.traces.max() > SPREAD * ridge:
            gradient = -(self.n - 1) * np.float32(ridge) * a
            for (x, _, view), r in zip(layers, rest, strict=True):
                product = (x @ r.reshape(*r.shape[:2], -1)).reshape(len(x), self.n, *r.shape[2:])
                gradient += view.to_positions(product.transpose(0, 2, 1, 3))
            a += factors.solve(gradient)
            rest = [y[:, :, None] - _fitted(x, a, view) for x, y, view in layers]
        squared = (self.n - 1) * _lengths(a)
        for (_, _, view), r in zip(layers, rest, strict=True):
            squared += view.to_positions(_lengths(r)) / np.float32(ridge)
        return squared


def _fitted(x: np.ndarray, a: np.ndarray, view: View) -> np.ndarray:
    """X'a of the members of each cell, (cells, c, k, m)."""
    columns = a[view.members].transpose(0, 2, 1, 3)  # (cells, n, k, m)
    product: np.ndarray = x.swapaxes(1, 2) @ columns.reshape(*columns.shape[:2], -1)
    return product.reshape(*product.shape[:2], *columns.shape[2:])


def _at_positions(parts: Sequence[Part], block: Block) -> np.ndarray:
    """(positions, n, d): all parts side by side at the finest resolution, for one block."""
    rows = [p.rows(v.cells)[v.local] for p, v in zip(parts, block.views, strict=True)]
    return np.concatenate(rows, axis=2)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths along the second axis."""
    lengths: np.ndarray = np.square(vectors).sum(axis=1)
    return lengths


def _gram(rows: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    gram: np.ndarray = x @ x.T
    return gram
