"""``GaussianField`` by plain torch on a device: the same values, the same two forms of a distance.

The factors of all positions are inverted once, in float64, and kept on the device in float32. So a
distance is a few batched products. See ``adbench.kernels.mahalanobis`` for the equations.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from adbench.kernels.device import CHUNK, block_size, in_blocks
from adbench.kernels.device_mahalanobis import (
    covariances,
    dual,
    inverse_factors,
    triangle_of,
)
from adbench.kernels.device_reduction import IMAGES, Reduced, some_at_a_time
from adbench.kernels.finite import require_finite
from adbench.kernels.gaussian_field import Form
from adbench.kernels.mahalanobis import SPREAD
from adbench.kernels.reduction import Reduction

T = TypeVar("T")


def _nothing() -> None:
    pass


class DeviceField:
    """Mean and covariance of the reduced features at every position, on a device with float64.

    Args:
        reduction: Of the channels.
        mean: As of ``GaussianField``, like ``form`` and ``values``. Training maps stay where they
            are, and every score reads them again.
        form: What ``values`` holds.
        values: On the CPU.
        device: Where plain torch computes.
        evict: Takes maps that ``values`` holds out of memory once they were read.
    """

    def __init__(
        self,
        reduction: Reduction,
        mean: Sequence[np.ndarray],
        form: Form,
        values: Sequence[np.ndarray],
        device: torch.device,
        evict: Callable[[], None] = _nothing,
    ) -> None:
        self.reduction, self.mean, self.form, self.values = reduction, mean, form, values
        self._device, self._evict = device, evict
        self._n = 0 if form == "covariances" else values[0].shape[0 if form == "maps" else 1]
        self._reduced = Reduced(reduction, mean, device)
        self._kept = (
            [] if form == "maps" else [torch.from_numpy(part).to(device) for part in values]
        )
        self._factors: tuple[float, Tensor] | None = None
        self._traces = self._traces_of_all()  # (positions,) of the covariances, without a ridge
        self._spread = float(self._traces.max())

    @classmethod
    def fit(
        cls,
        maps: Sequence[Tensor],
        reduction: Reduction,
        form: Form,
        device: torch.device,
        evict: Callable[[], None] = _nothing,
    ) -> Self:
        """Estimate the field from the (n, c, h, w) training maps of each layer, on the CPU.

        Raises:
            AdbenchError: Maps that are not finite.
        """
        n = len(maps[0])
        sums = [torch.zeros(m.shape[1:], dtype=torch.float64, device=device) for m in maps]
        for some in some_at_a_time(maps, device, evict):
            for total, m in zip(sums, some, strict=True):
                total += m.double().sum(dim=0)
        mean = []
        for layer, total in enumerate(sums):
            mu = (total / n).flatten(1).float().cpu().numpy()
            mean.append(reduction.keep(layer, mu))
            require_finite(mean[-1], "means of the normal features")
        if form == "maps":
            return cls(reduction, mean, form, [m.numpy() for m in maps], device, evict)
        reduced = Reduced(reduction, mean, device)
        chunks = map(reduced, some_at_a_time(maps, device, evict))
        if form == "covariances":
            values = [covariances(chunks, reduced, n)]
        else:
            kept = [torch.empty(cells, n, dims, device=device) for cells, dims in reduction.parts]
            done = 0
            for parts in chunks:
                for whole, part in zip(kept, parts, strict=True):
                    whole[:, done : done + part.shape[1]] = part
                done += parts[0].shape[1]
            values = [whole.cpu().numpy() for whole in kept]
            del kept
        return cls(reduction, mean, form, values, device, evict)

    @property
    def variance(self) -> float:
        """Mean variance of a dimension over all positions, without a ridge."""
        return float(self._traces.mean()) / self.reduction.dims

    @property
    def nbytes(self) -> int:
        """Bytes of the factors that are kept, on top of the mean and the values."""
        return self._factors[1].nbytes if self._factors else 0

    def factor(self, ridge: float) -> Tensor | None:
        """The inverse factors L^-1 of all positions, made unless they are there.

        Returns:
            (positions, order, order) float32, or None where maps are read again.

        Raises:
            AdbenchError: The ridge is too small to invert one of the covariances.
        """
        if self.form == "maps":
            return None
        if self._factors is None or self._factors[0] != ridge:
            self._factors = None  # frees the old ones before the new ones are made
            order = self.reduction.dims if self.form == "covariances" else self._n
            made = torch.empty(self.reduction.positions, order, order, device=self._device)

            def invert(block: slice) -> None:
                made[block] = inverse_factors(self._matrices(block, ridge))

            self._each_block(invert)
            self._factors = ridge, made
        return self._factors[1]

    def squared_distances(
        self, maps: Sequence[Tensor], ridge: float, evict: Callable[[], None] = _nothing
    ) -> Tensor:
        """Squared Mahalanobis distance of each position of some images to its Gaussian.

        Args:
            maps: (m, c, h, w) of each layer.
            ridge: Added to the diagonal of every covariance.
            evict: Takes ``maps`` out of memory once they were read.

        Returns:
            (m, h, w) float32 at the finest resolution, on the device.

        Raises:
            AdbenchError: The ridge is too small to invert one of the covariances.
        """
        known = self.factor(ridge)
        squared = []
        for parts in map(self._reduced, some_at_a_time(maps, self._device, evict)):
            measure = partial(self._measured, parts, known, ridge)
            squared.append(torch.cat(self._each_block(measure, parts[0].shape[1])))
        _, h, w = self.reduction.shapes[0]
        return torch.cat(squared, dim=1).T.reshape(-1, h, w)

    @staticmethod
    def bytes(reduction: Reduction, form: Form, n: int, m: int) -> int:
        """Bytes on the device at the peak of a fit to n images, or of the distances of m images.

        Blocks of positions do not count: they shrink where memory is short.
        """
        order = reduction.dims if form == "covariances" else n
        values = 0 if form == "maps" else DeviceField.bytes_beside(reduction, form, n)
        factors = 0 if form == "maps" else 4 * reduction.positions * order**2
        images = 4 * max(IMAGES, 4 * sum(c * h * w for c, h, w in reduction.shapes))
        return values + factors + images + 16 * m * reduction.positions

    @staticmethod
    def bytes_beside(reduction: Reduction, form: Form, n: int) -> int:
        """Bytes on the CPU at the peak of a fit to n images: ``values``, or a block of maps."""
        if form == "covariances":
            return 4 * reduction.positions * reduction.dims * (reduction.dims + 1)
        return n * reduction.nbytes if form == "rows" else CHUNK

    def _measured(
        self, parts: Sequence[Tensor], known: Tensor | None, ridge: float, block: slice
    ) -> Tensor:
        """(positions, m) squared distances in a block of m images."""
        factors = inverse_factors(self._matrices(block, ridge)) if known is None else known[block]
        y = self._reduced.at(parts, block).transpose(1, 2)  # (positions, d, m)
        if self.form == "covariances":
            return (factors @ y).square_().sum(dim=1)
        return dual(self._rows(block), y, factors, ridge, self._spread > SPREAD * ridge)

    def _matrices(self, block: slice, ridge: float) -> Tensor:
        """(positions, order, order) float64: S, or X X' + (n - 1) ridge I."""
        if self.form == "covariances":
            triangles, d = self._kept[0][block], self.reduction.dims
            matrices = triangles.new_zeros(len(triangles), d * d)
            matrices[:, torch.from_numpy(triangle_of(d)).to(self._device)] = triangles
            matrices = matrices.unflatten(1, (d, d))
        else:
            x = self._rows(block).double()
            matrices, ridge = x @ x.transpose(1, 2), (self._n - 1) * ridge
        matrices.diagonal(dim1=1, dim2=2).add_(ridge)
        return matrices

    def _rows(self, block: slice) -> Tensor:
        """(positions, n, d) float32 X of some positions."""
        if self.form == "rows":
            return self._reduced.at(self._kept, block)
        found = []
        layers = zip(self.values, self.reduction.cells, self._reduced.mean, strict=True)
        for maps, cell, mean in layers:
            chosen = cell[block]
            cells = slice(int(chosen.min()), int(chosen.max()) + 1)
            part = maps.reshape(*maps.shape[:2], -1)[:, :, cells]  # (n, c, cells)
            there = torch.from_numpy(np.ascontiguousarray(part)).to(self._device) - mean[:, cells]
            local = torch.from_numpy(chosen - cells.start).to(self._device)
            found.append(there.permute(2, 0, 1)[local])
        self._evict()
        return torch.cat(found, dim=2)

    def _traces_of_all(self) -> Tensor:
        if self.form == "covariances":
            d = self.reduction.dims
            diagonal = np.flatnonzero(triangle_of(d) % (d + 1) == 0)
            return self._kept[0][:, torch.from_numpy(diagonal).to(self._device)].sum(dim=1)

        def traces(block: slice) -> Tensor:
            return self._rows(block).square_().sum(dim=(1, 2)).double() / (self._n - 1)

        return torch.cat(self._each_block(traces))

    def _each_block(self, work: Callable[[slice], T], images: int = 0) -> list[T]:
        d = self.reduction.dims
        order = d if self.form == "covariances" else self._n
        per_position = 40 * order**2 + 12 * self._n * d + 4 * images * (3 * d + 3 * order)
        size = block_size(per_position)
        return in_blocks(work, self.reduction.positions, size, "positions of a map")
