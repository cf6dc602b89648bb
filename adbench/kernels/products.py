"""Nearest rows by plain torch, for devices: products choose candidates, differences decide.

A squared distance |x|^2 + |y|^2 - 2 x'y from float32 products is wrong by up to about
sqrt(d) 2^-23 (|x| + |y|)^2 (Higham 2002, section 3.1). So a few rows more than wanted are taken by
it, and their distances are summed from direct differences.
"""

import torch
from torch import Tensor

from adbench.kernels.device import block_size, in_blocks, widest

MORE = 8
"""Candidates beside the wanted rows. A row that is nearer than the last row returned is missed
only where more rows than these lie within the error of the products."""


def nearest_rows(queries: Tensor, bank: Tensor, squares: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The nearest rows of a bank, of which the lowest comes first among equally near ones.

    Args:
        queries: (q, d) float32.
        bank: (n, d) float32, on the same device.
        squares: (n,) squared lengths of its rows.
        k: How many, at most n.

    Returns:
        (q, k) squared distances, ascending, in the widest type of the device, and (q, k) int64
        rows.

    Raises:
        AdbenchError: The memory of the device does not hold one query.
    """
    n, d = bank.shape
    count = min(n, k + MORE)
    numbers = torch.arange(n, device=bank.device)

    def search(block: slice) -> tuple[Tensor, Tensor]:
        x = queries[block]
        pairs = torch.addmm(squares[None], x, bank.T, alpha=-2)
        pairs += x.square().sum(dim=1, keepdim=True)
        # The bits of a float that is not negative order it as an integer. With the row below
        # them, all keys differ, and the lowest of equally near rows is taken.
        keys = pairs.clamp_min_(0).view(torch.int32).long()
        keys.bitwise_left_shift_(32).add_(numbers)  # in place: a block holds them once
        found = keys.topk(count, dim=1, largest=False).values
        rows = (found & 0xFFFFFFFF).sort(dim=1).values  # (q, count)
        return _closest(direct(x[:, None], bank[rows]), rows, k)

    per_query = 16 * n + 20 * count * d
    parts = in_blocks(search, len(queries), block_size(per_query), "queries")
    if not parts:
        empty = queries.new_empty(0, k, dtype=widest(queries.device))
        return empty, empty.long()
    return torch.cat([found for found, _ in parts]), torch.cat([rows for _, rows in parts])


def nearest_directly(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``nearest_rows`` from direct differences alone, for banks of few rows."""
    n, d = bank.shape

    def search(block: slice) -> tuple[Tensor, Tensor]:
        squared, rows = direct(queries[block, None], bank).sort(dim=1, stable=True)
        return squared[:, :k], rows[:, :k]

    parts = in_blocks(search, len(queries), block_size(24 * n * d), "queries")
    return torch.cat([found for found, _ in parts]), torch.cat([rows for _, rows in parts])


def direct(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances along the last axis, from differences in the widest type of the device."""
    wide = widest(a.device)
    return (a.to(wide) - b.to(wide)).square_().sum(dim=-1)


def merged(
    known: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """The k nearest of two lists of squared distances and rows; ``known`` has the lower rows."""
    squared, rows = (torch.cat(pair, dim=1) for pair in zip(known, found, strict=True))
    return _closest(squared, rows, min(k, squared.shape[1]))


def _closest(squared: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest and their rows; the first of equal ones comes first."""
    ordered, places = squared.sort(dim=1, stable=True)
    return ordered[:, :k], rows.gather(1, places[:, :k])
