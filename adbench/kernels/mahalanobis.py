"""Mahalanobis distances to one Gaussian per patch position, from d x d matrices (primal) or n x n ones (dual).

Both are exact. With the centred training rows X (n, d) of a position and its covariance S = X'X / (n - 1) + ridge I,
the squared distance of a centred row y is

    primal:  |L^-1 y|^2, where L L' = S
    dual:    |y - X'a|^2 / ridge + (n - 1) |a|^2, where a = (X X' + (n - 1) ridge I)^-1 X y

The dual form is the Woodbury identity as a sum of two positive terms: unlike (|y|^2 - y'X'a) / ridge it does not cancel
where the ridge is small. It is the minimum over all a, so it feels an error of a in second order only.

A deeper layer is copied blockwise to the finest resolution, so all positions of one of its cells share its part of X:
that part is kept once, and its share of X X' is made once.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from adbench.kernels.blockwise import Block, Part, Referred, View
from adbench.kernels.cholesky import Factors
from adbench.kernels.parallel import workers

SPREAD = 1e5
"""Up to this trace(X'X) / (n - 1) / ridge one float32 solve gives the dual form to 1e-5; beyond, it is refined once."""
WORKSPACE = 512 * 1024**2
"""Bytes of gathered rows that all threads together may hold."""


class Primal:
    """The covariances themselves: the smaller form where there are at least as many images as dimensions.

    Args:
        chunks: Values of the training images, some images at a time; not kept.
        block: Positions worked on at a time; the result does not depend on it.
    """

    limit: ClassVar[int | None] = None

    def __init__(self, chunks: Iterable[Sequence[Part]], block: int) -> None:
        n = 0
        for parts in chunks:
            if n == 0:
                self.blocks = Block.cut([part.cell for part in parts], block)
                self.d = sum(part.shape[2] for part in parts)
                self.triangle = np.flatnonzero(np.tri(self.d))
                self.covariance = np.zeros((len(parts[0].cell), len(self.triangle)))  # lower triangles, float64
            n += parts[0].shape[1]
            with workers() as each:
                each(functools.partial(self._add, parts), self.blocks)
        self.covariance /= n - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the covariances."""
        return self.covariance.nbytes

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without ridge."""
        return float(self.covariance[:, self.triangle % (self.d + 1) == 0].mean())

    def _add(self, parts: Sequence[Part], block: Block) -> None:
        rows = _at_positions(parts, block).astype(np.float64)  # (positions, n, d)
        for total, x in zip(self.covariance[block.positions], rows, strict=True):
            total += (x.T @ x).take(self.triangle)

    def factor(self, block: Block, ridge: float) -> Factors:
        """Factors of a block's covariances with this ridge."""

        def matrices() -> Iterable[np.ndarray]:
            for triangle in self.covariance[block.positions]:
                matrix = np.zeros(self.d * self.d)
                matrix[self.triangle] = triangle
                matrix[:: self.d + 1] += ridge
                yield matrix.reshape(self.d, self.d)

        return Factors(matrices(), len(block.views[0].local))

    def squared(self, block: Block, factors: Factors, ridge: float, test: Sequence[Part]) -> np.ndarray:
        """(positions, m) squared distances of the test rows of a block."""
        y = _at_positions(test, block).swapaxes(1, 2)  # (positions, d, m)
        return _lengths(factors.forward(y))


class Dual:
    """The training rows themselves: the smaller form where there are fewer images than dimensions.

    Args:
        parts: Values of the training images; kept.
        block: Positions worked on at a time; the result does not depend on it.
    """

    def __init__(self, parts: Sequence[Part], block: int) -> None:
        self.parts = list(parts)
        self.blocks = Block.cut([part.cell for part in parts], block)
        self.n, self.d = parts[0].shape[1], sum(part.shape[2] for part in parts)
        with workers(self.limit) as each:
            self.traces = np.concatenate(each(self._traces, self.blocks))  # (positions,) without ridge

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return sum(part.nbytes for part in self.parts)

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without ridge."""
        return float(self.traces.mean()) / self.d

    @property
    def limit(self) -> int | None:
        """Blocks whose rows may be gathered at the same time; None for any number."""
        gathered = sum(part.nbytes for part in self.parts if isinstance(part, Referred)) // len(self.blocks)
        return max(1, WORKSPACE // gathered) if gathered else None

    def _traces(self, block: Block) -> np.ndarray:
        total = np.zeros(len(block.views[0].local))
        for part, view in zip(self.parts, block.views, strict=True):
            rows = part.rows(view.cells)
            total += np.einsum("pnc,pnc->p", rows, rows)[view.local]
        return total / (self.n - 1)

    def factor(self, block: Block, ridge: float) -> Factors:
        """Factors of a block's X X' + (n - 1) ridge I."""

        def matrices() -> Iterable[np.ndarray]:
            finest, *deeper = zip(self.parts, block.views, strict=True)
            shared = [([_gram(x) for x in part.rows(view.cells)], view.local) for part, view in deeper]
            for i, x in enumerate(finest[0].rows(finest[1].cells)):
                matrix = _gram(x)
                for grams, local in shared:
                    matrix += grams[local[i]]
                matrix.flat[:: self.n + 1] += (self.n - 1) * ridge
                yield matrix

        return Factors(matrices(), len(block.views[0].local))

    def squared(self, block: Block, factors: Factors, ridge: float, test: Sequence[Part]) -> np.ndarray:
        """(positions, m) squared distances of the test rows of a block."""
        layers = [
            (part.rows(view.cells), new.rows(view.cells).swapaxes(1, 2), view)  # X (cells, n, c), y (cells, c, m)
            for part, new, view in zip(self.parts, test, block.views, strict=True)
        ]
        a = factors.solve(sum((x @ y)[view.local] for x, y, view in layers))  # (positions, n, m)
        rest = [y[:, :, None] - _fitted(x, a, view) for x, y, view in layers]  # (cells, c, k, m)
        if self.traces.max() > SPREAD * ridge:
            gradient = -(self.n - 1) * np.float32(ridge) * a
            for (x, _, view), r in zip(layers, rest, strict=True):
                product = x @ r.reshape(*r.shape[:2], -1)
                gradient += view.to_positions(product.reshape(len(x), self.n, *r.shape[2:]).transpose(0, 2, 1, 3))
            a += factors.solve(gradient)
            rest = [y[:, :, None] - _fitted(x, a, view) for x, y, view in layers]
        squared = (self.n - 1) * _lengths(a)
        for (_, _, view), r in zip(layers, rest, strict=True):
            squared += view.to_positions(_lengths(r)) / np.float32(ridge)
        return squared


def factor_all(gaussians: Primal | Dual, ridge: float) -> list[Factors]:
    """The factors of all blocks. Raises AdbenchError where the ridge is too small for one of the positions."""
    with workers() as each:
        return each(lambda block: gaussians.factor(block, ridge), gaussians.blocks)


def squared_distances(
    gaussians: Primal | Dual, ridge: float, test: Sequence[Sequence[Part]], factors: Sequence[Factors] | None = None
) -> np.ndarray:
    """(positions, m) float32 squared distances of m test images to the Gaussian at each position.

    Args:
        gaussians: Of the training images.
        ridge: Added to the diagonal of every covariance.
        test: Values of the test images, less the means of the training images; some images at a time.
        factors: What ``factor_all`` made for this ridge; without them each block's are made and dropped.
    """

    def work(item: tuple[Block, Factors | None]) -> np.ndarray:
        block, known = item
        known = known or gaussians.factor(block, ridge)
        return np.concatenate([gaussians.squared(block, known, ridge, parts) for parts in test], axis=1)

    known: Sequence[Factors | None] = factors or [None] * len(gaussians.blocks)
    with workers(gaussians.limit) as each:
        return np.concatenate(each(work, zip(gaussians.blocks, known, strict=True)))


def _fitted(x: np.ndarray, a: np.ndarray, view: View) -> np.ndarray:
    """X'a of the members of each cell, (cells, c, k, m)."""
    columns = a[view.members].transpose(0, 2, 1, 3)  # (cells, n, k, m)
    product: np.ndarray = x.swapaxes(1, 2) @ columns.reshape(*columns.shape[:2], -1)
    return product.reshape(*product.shape[:2], *columns.shape[2:])


def _at_positions(parts: Sequence[Part], block: Block) -> np.ndarray:
    """(positions, n, d): all parts side by side at the finest size, for one block."""
    return np.concatenate([p.rows(v.cells)[v.local] for p, v in zip(parts, block.views, strict=True)], axis=2)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths along the second axis."""
    lengths: np.ndarray = np.square(vectors).sum(axis=1)
    return lengths


def _gram(rows: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    gram: np.ndarray = x @ x.T
    return gram
