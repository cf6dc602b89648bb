"""Exact Euclidean nearest neighbours: a product screens, direct differences decide."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adbench.core import AdbenchError
from adbench.kernels.parallel import workers
from adbench.kernels.screen import RANKS, Screen

QUERIES = 256
"""Queries searched together by a thread."""
WIDEST = 1024
"""Bank rows in one product at most: 1 MB with 256 queries, so that it is read back from the cache."""


class Neighbors:
    """The rows of a bank, searched exactly.

    On the CPU each distance that is returned was summed from direct differences in float64, so a row of the bank is
    found at distance 0, and the result depends neither on the other queries nor on threads. A screen on the bank's
    leading axes spares nearly all the other distances; where the bank's spectrum is flat, it uses all coordinates.
    Memory beside the bank: 18 to 258 float32 per row, or d + 2 where the spectrum is flat, and about 5 MB per thread.

    Args:
        bank: (n, d) float32, finite. Not copied.
    """

    def __init__(self, bank: Tensor) -> None:
        self.bank = bank.contiguous()
        if bank.device.type == "cpu":
            self._rows = self.bank.numpy()
            with workers():
                self._screen = Screen(self._rows)
                self._columns, squares = self._screen.shadows(self._rows)
            self._columns[:, -1] = -squares / 2
            self._largest = float(squares.max())

    @staticmethod
    def bytes(n: int, d: int) -> int:
        """``nbytes`` of a bank of this size, at most where its spectrum is not flat."""
        return n * 4 * (d + min(d, RANKS[-1]) + 2)

    @property
    def nbytes(self) -> int:
        """Bytes of the bank and of what is kept to search it."""
        return self.bank.nbytes + (self._columns.nbytes if self.bank.device.type == "cpu" else 0)

    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """The k nearest bank rows of each query.

        Args:
            queries: (q, d) float32.
            k: How many, at most n.

        Returns:
            (q, k) float32 distances, ascending, and (q, k) int64 rows of the bank, the lowest of equally near ones.

        Raises:
            AdbenchError: k larger than the bank, or queries of another dimension.
        """
        return self.search_beginnings(queries, k, [len(self.bank)])[0]

    def search_beginnings(
        self, queries: Tensor, k: int, sizes: Sequence[int], known: tuple[Tensor, int] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """``search`` in the first rows of the bank, for several numbers of them; on the CPU at the cost of the largest.

        Args:
            queries: (q, d) float32.
            k: How many, at most the largest size.
            sizes: Numbers of rows, ascending, at most n.
            known: (q, k) nearest among the first rows of the bank, and how many rows those are, at most the smallest size:
                only the rest is searched. Not used on a GPU.

        Returns:
            For each size what ``search`` gives, with as many neighbours as there are rows where these are fewer than k.

        Raises:
            AdbenchError: As ``search``.
        """
        n, d = sizes[-1], self.bank.shape[1]
        if not 1 <= k <= n:
            raise AdbenchError(f"k {k} does not fit a bank of {n} rows; use 1 to {n}")
        if queries.ndim != 2 or queries.shape[1] != d:
            raise AdbenchError(f"queries of shape {tuple(queries.shape)} do not fit a bank of {d} dimensions")
        if self.bank.device.type != "cpu":
            return _on_device(self.bank, queries, k, sizes)

        from adbench.kernels import loops  # compiles or loads machine code, which other commands need not wait for

        x = np.ascontiguousarray(queries.numpy())
        squared, rows = np.full((len(x), k), np.inf), np.full((len(x), k), n)
        found = [(np.empty((len(x), min(k, m)), np.float32), np.empty((len(x), min(k, m)), np.int64)) for m in sizes]
        start = 0
        if known is not None:
            before, start = known
            loops.insert_known(x, self._rows, np.ascontiguousarray(before.numpy()), squared, rows)

        def search(part: slice) -> None:
            shadows, squares = self._screen.shadows(x[part])
            floors = self._screen.floors(squares, self._largest)
            first, width = start, 256  # small at first: until k rows are known nothing can be excluded
            for size, (distances, nearest) in zip(sizes, found, strict=True):
                while first < size:
                    until = min(first + width, size)
                    products = shadows @ self._columns[first:until].T
                    loops.improve(
                        products, first, x[part], self._rows, floors, self._screen.gain, squared[part], rows[part]
                    )
                    first, width = until, min(2 * width, WIDEST)
                distances[part] = np.sqrt(squared[part, : min(k, size)])
                nearest[part] = rows[part, : min(k, size)]

        with workers() as each:
            each(search, [slice(i, i + QUERIES) for i in range(0, len(x), QUERIES)])
        return [(torch.from_numpy(distances), torch.from_numpy(nearest)) for distances, nearest in found]


def _on_device(bank: Tensor, queries: Tensor, k: int, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Direct differences with all bank rows, 256 queries at a time."""
    parts = []
    for block in queries.split(QUERIES):
        distances = torch.cdist(block.to(bank.device), bank[: sizes[-1]], compute_mode="donot_use_mm_for_euclid_dist")
        ordered = [distances[:, :size].sort(dim=1, stable=True) for size in sizes]
        parts.append([(values[:, :k].cpu(), rows[:, :k].cpu()) for values, rows in ordered])
    return [(torch.cat([v for v, _ in found]), torch.cat([r for _, r in found])) for found in zip(*parts, strict=True)]
