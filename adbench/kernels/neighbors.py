"""Exact Euclidean nearest neighbours: shadows exclude, direct differences decide."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from adbench.errors import AdbenchError
from adbench.kernels import leaves
from adbench.kernels.device import widest
from adbench.kernels.products import merged, nearest_rows
from adbench.kernels.screen import RANKS, Screen
from adbench.system.parallel import workers

QUERIES = 256
"""Queries searched together by a thread."""
WIDEST = 1024
"""Bank rows in one product at most: 1 MB with 256 queries, which stays in the cache."""
FINE = 64
"""Axes of the shadows in leaves."""
OPENED = 0.5
"""Share of the leaves that a search may open; where it opens more, products are faster."""
TRIED = 64
"""Bank rows that are searched to learn that share."""


class Neighbors:
    """The rows of a bank, searched exactly.

    On the CPU each distance that is returned was summed from direct differences in float64, so a
    row of the bank is found at distance 0, and the result depends neither on the other queries nor
    on threads. Nearly all the other distances are excluded by the shadows of
    ``adbench.kernels.screen``: the bank is cut into leaves of rows that are near each other, and
    only a few leaves have to be opened for a query. Where the rows spread alike along many axes,
    most would be, and matrix products over all the rows exclude instead.

    Besides the bank, a row takes at most 80 float32 in leaves, and 18 to 258 float32 where there
    are products, or d + 2 where the spectrum is flat; a thread takes about 5 MB.

    On a device, products in float32 choose a few candidates, and direct differences in the widest
    type of the device decide among them, see ``adbench.kernels.products``.

    Args:
        bank: (n, d) float32, finite. It is not copied, unless to another device.
        device: Where plain torch searches; None for the compiled search on the CPU.
    """

    def __init__(self, bank: Tensor, device: torch.device | None = None) -> None:
        self.bank = bank.contiguous() if device is None else bank.contiguous().to(device)
        self._parts: dict[tuple[int, int], _Leafed | _Flat] = {}
        self._squares: Tensor | None = None
        if device is not None:
            # Squared lengths of the rows; squares of all values would take the bank's size again.
            self._squares = torch.linalg.vector_norm(self.bank, dim=1).square_()
        else:
            n, d = bank.shape
            with workers():
                self._screen = Screen(self.bank.numpy(), d if d <= 16 else min(FINE, d // 2))
                self._part(0, n)

    @staticmethod
    def bytes(n: int, d: int) -> int:
        """``nbytes`` of a bank of this size, at most where its spectrum is not flat."""
        return n * 4 * (d + max(min(d, RANKS[-1]) + 2, min(FINE, d) + 16))

    @property
    def nbytes(self) -> int:
        """Bytes of the bank and of what is kept to search it."""
        squares = 0 if self._squares is None else self._squares.nbytes
        return self.bank.nbytes + squares + sum(part.nbytes for part in self._parts.values())

    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """The k nearest bank rows of each query.

        Args:
            queries: (q, d) float32.
            k: How many, at most n.

        Returns:
            (q, k) float32 distances, ascending, and (q, k) int64 rows of the bank, the lowest of
            equally near ones; both on the device of the bank.

        Raises:
            AdbenchError: k is larger than the bank, or the queries have another dimension.
        """
        return self.search_beginnings(queries, k, [len(self.bank)])[0]

    def search_beginnings(
        self, queries: Tensor, k: int, sizes: Sequence[int]
    ) -> list[tuple[Tensor, Tensor]]:
        """``search`` in the first rows of the bank, for several numbers of them.

        On the CPU this costs little more than the largest.

        Args:
            queries: (q, d) float32.
            k: How many, at most the largest size.
            sizes: Numbers of rows, ascending, at most n.

        Returns:
            For each size what ``search`` gives, with as many neighbours as there are rows where
            these are fewer than k.

        Raises:
            AdbenchError: As ``search``.
        """
        n, d = sizes[-1], self.bank.shape[1]
        if not 1 <= k <= n:
            raise AdbenchError(f"k {k} does not fit a bank of {n} rows; use 1 to {n}")
        if queries.ndim != 2 or queries.shape[1] != d:
            raise AdbenchError(
                f"queries of shape {tuple(queries.shape)} do not fit a bank of {d} dimensions"
            )
        if self._squares is not None:
            return _on_device(self.bank, self._squares, queries, k, sizes)

        x = np.ascontiguousarray(queries.numpy())
        squared, rows = np.full((len(x), k), np.inf), np.full((len(x), k), n)
        found = [
            (np.empty((len(x), min(k, m)), np.float32), np.empty((len(x), min(k, m)), np.int64))
            for m in sizes
        ]

        def search(block: slice) -> None:
            for size, part, (distances, nearest) in zip(sizes, parts, found, strict=True):
                part.improve(x[block], squared[block], rows[block])
                distances[block] = np.sqrt(squared[block, : min(k, size)])
                nearest[block] = rows[block, : min(k, size)]

        with workers() as each:
            parts = [self._part(*ends) for ends in pairwise([0, *sizes])]
            each(search, [slice(i, i + QUERIES) for i in range(0, len(x), QUERIES)])
        return [
            (torch.from_numpy(distances), torch.from_numpy(nearest)) for distances, nearest in found
        ]

    def _part(self, first: int, until: int) -> "_Leafed | _Flat":
        """The bank rows first, ..., until - 1, in the form that is faster to search."""
        if (first, until) not in self._parts:
            rows = self.bank.numpy()
            leafed = _Leafed(self._screen, rows, first, until)
            few = leafed.opened() <= OPENED
            self._parts[first, until] = leafed if few else _Flat(rows, first, until)
        return self._parts[first, until]


class _Leafed:
    """Some consecutive rows of a bank, in leaves."""

    def __init__(self, screen: Screen, bank: np.ndarray, first: int, until: int) -> None:
        shadows, squares = screen.shadows(bank[first:until])
        self._screen, self._bank, self._first, self._until = screen, bank, first, until
        self._leaves = leaves.grow(shadows[:, :-1], first)
        self._largest = float(squares.max(initial=0))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._leaves)

    def opened(self) -> float:
        """Share of the leaves that are opened for a row of the bank and its nearest other row."""
        count = len(self._leaves.rows)
        if count < 4:
            return 0.0
        tried = np.linspace(self._first, self._until - 1, TRIED).astype(np.int64)
        nearest, rows = np.full((TRIED, 2), np.inf), np.full((TRIED, 2), self._until)
        return self.improve(self._bank[tried], nearest, rows) / TRIED / count

    def improve(self, queries: np.ndarray, nearest: np.ndarray, rows: np.ndarray) -> int:
        """Bring the (q, k) neighbours of some queries up to date with these bank rows."""
        from adbench.kernels import search_loops

        shadows, squares = self._screen.shadows(queries)
        fine = np.ascontiguousarray(shadows[:, :-1])
        opened: int = search_loops.improve_from_leaves(
            self._leaves,
            leaves.coarse(fine),
            fine,
            queries,
            self._bank,
            self._screen.distance_floors(squares, self._largest),
            self._screen.distance_gain,
            nearest,
            rows,
        )
        return opened


class _Flat:
    """Some consecutive rows of a bank, as columns of products."""

    def __init__(self, bank: np.ndarray, first: int, until: int) -> None:
        self._bank, self._first = bank, first
        self._screen = Screen(bank[first:until])
        self._columns, squares = self._screen.shadows(bank[first:until])
        self._columns[:, -1] = -squares / 2
        self._largest = float(squares.max())

    @property
    def nbytes(self) -> int:
        return self._columns.nbytes

    def improve(self, queries: np.ndarray, nearest: np.ndarray, rows: np.ndarray) -> None:
        """Bring the (q, k) neighbours of some queries up to date with these bank rows."""
        from adbench.kernels import search_loops

        shadows, squares = self._screen.shadows(queries)
        floors = self._screen.floors(squares, self._largest)
        start, width = 0, 256  # small at first: until k rows are known nothing can be excluded
        while start < len(self._columns):
            products = shadows @ self._columns[start : start + width].T
            search_loops.improve(
                products,
                self._first + start,
                queries,
                self._bank,
                floors,
                self._screen.gain,
                nearest,
                rows,
            )
            start, width = start + width, min(2 * width, WIDEST)


def _on_device(
    bank: Tensor, squares: Tensor, queries: Tensor, k: int, sizes: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Neighbours in the first rows of a bank on a device, part by part."""
    x = queries.to(bank.device)
    empty = x.new_empty(len(x), 0, dtype=widest(x.device))
    known, found = (empty, empty.long()), []
    for first, until in pairwise([0, *sizes]):
        part = nearest_rows(x, bank[first:until], squares[first:until], min(k, until - first))
        known = merged(known, (part[0], part[1] + first), k)
        found.append((known[0].sqrt().float(), known[1]))
    return found
