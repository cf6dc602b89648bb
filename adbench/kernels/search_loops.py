"""Compiled loops that find nearest neighbours: what a screen cannot exclude is computed directly.

Comparisons with a threshold are written ``not value <= threshold``: what is not a number is not
excluded. Leaves are those of a k-d tree (Friedman, Bentley & Finkel 1977).
"""

import numpy as np

from adbench.kernels.leaves import LEAF, Leaves
from adbench.kernels.loops import any_above, squared_distance
from adbench.system.compiled import compiled


@compiled()
def insert(distance: float, row: int, nearest: np.ndarray, rows: np.ndarray) -> None:
    """Insert into the ascending (k,) squared distances and their rows; the last one falls out.

    Equal distances are ordered by row.
    """
    j = nearest.shape[0] - 1
    if distance > nearest[j] or (distance == nearest[j] and row > rows[j]):
        return
    while j > 0 and (
        distance < nearest[j - 1] or (distance == nearest[j - 1] and row < rows[j - 1])
    ):
        nearest[j], rows[j] = nearest[j - 1], rows[j - 1]
        j -= 1
    nearest[j], rows[j] = distance, row


@compiled()
def improve(
    products: np.ndarray,
    first: int,
    queries: np.ndarray,
    bank: np.ndarray,
    floors: np.ndarray,
    gain: float,
    nearest: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Bring the neighbours of some queries up to date with the bank rows first, first + 1, ...

    Args:
        products: (queries, bank rows) of the screen.
        first: The first of these bank rows.
        queries: (q, d).
        bank: (n, d).
        floors: (q,) of the screen.
        gain: Of the screen.
        nearest: (q, k) ascending squared distances to the nearest bank rows known before.
        rows: (q, k) those bank rows.
    """
    numbers = np.arange(first, first + products.shape[1])
    candidates = np.empty(len(numbers), np.int64)
    for i in range(queries.shape[0]):
        _compare(
            products[i], numbers, queries[i], bank, floors[i], gain, nearest[i], rows[i], candidates
        )


@compiled()
def improve_from_leaves(
    leaves: Leaves,
    coarse: np.ndarray,
    fine: np.ndarray,
    queries: np.ndarray,
    bank: np.ndarray,
    floors: np.ndarray,
    gain: float,
    nearest: np.ndarray,
    rows: np.ndarray,
) -> int:
    """``improve`` for bank rows in leaves; only leaves that may hold a neighbour are opened.

    Args:
        leaves: Of the bank rows.
        coarse: (q, c) coarse shadows of the queries.
        fine: (q, r + 1) shadows of the queries.
        queries: (q, d).
        bank: (n, d).
        floors: (q,) of the screen, for distances of shadows.
        gain: Of the screen, for distances of shadows.
        nearest: (q, k) ascending squared distances to the nearest bank rows known before.
        rows: (q, k) those bank rows.

    Returns:
        How many leaves were opened, for all queries together.
    """
    last, count = nearest.shape[1] - 1, leaves.rows.shape[0]
    turns = 4 + last // 16  # by then the bound is good, and the others are opened as they come
    boxes = np.empty(count, np.float32)
    values = np.empty(LEAF, np.float32)
    candidates = np.empty(LEAF, np.int64)
    opened = 0
    for i in range(queries.shape[0]):
        shadow = coarse[i]
        _nearness_of_boxes(shadow, leaves.low, leaves.high, boxes)
        threshold = np.float32(floors[i] - nearest[i, last] * gain)
        for turn in range(turns + count):
            leaf = turn - turns
            if leaf < 0:
                leaf = 0
                for j in range(1, count):
                    if boxes[j] > boxes[leaf]:
                        leaf = j
            if boxes[leaf] == -np.inf or boxes[leaf] <= threshold:
                continue
            boxes[leaf] = -np.inf  # a mark: it is open
            opened += 1
            _nearness_in_leaf(shadow, leaves.coarse, leaf, values)
            if any_above(values, threshold):
                _refine(values, fine[i], leaves.fine[leaf], threshold)
                _compare(
                    values,
                    leaves.rows[leaf],
                    queries[i],
                    bank,
                    floors[i],
                    gain,
                    nearest[i],
                    rows[i],
                    candidates,
                )
                threshold = np.float32(floors[i] - nearest[i, last] * gain)
    return opened


@compiled(fastmath={"contract"})
def _nearness_of_boxes(
    shadow: np.ndarray, low: np.ndarray, high: np.ndarray, out: np.ndarray
) -> None:
    """Minus the squared distances of a shadow to boxes."""
    out[:] = 0
    for a in range(low.shape[0]):
        x = shadow[a]
        below, above = low[a], high[a]
        for j in range(out.shape[0]):
            gap = max(max(below[j] - x, x - above[j]), np.float32(0))
            out[j] -= gap * gap


@compiled(fastmath={"contract"})
def _nearness_in_leaf(shadow: np.ndarray, coarse: np.ndarray, leaf: int, out: np.ndarray) -> None:
    """Minus the squared distances of a shadow to those of a leaf."""
    out[:] = 0
    for a in range(shadow.shape[0]):
        x = shadow[a]
        for j in range(LEAF):
            gap = x - coarse[leaf, a, np.uint64(j)]
            out[np.uint64(j)] -= gap * gap


@compiled(fastmath={"reassoc", "contract"})
def _nearness(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for j in range(a.shape[0]):
        gap = a[j] - b[j]
        total -= gap * gap
    return total


@compiled()
def _refine(values: np.ndarray, fine: np.ndarray, leaf: np.ndarray, threshold: np.float32) -> None:
    """Take the fine shadows where the coarse ones do not exclude."""
    for c in range(LEAF):
        if not values[c] <= threshold:
            values[c] = _nearness(fine, leaf[c])


@compiled()
def _compare(
    values: np.ndarray,
    numbers: np.ndarray,
    query: np.ndarray,
    bank: np.ndarray,
    floor: float,
    gain: float,
    nearest: np.ndarray,
    rows: np.ndarray,
    candidates: np.ndarray,
) -> None:
    """Compare a query with the bank rows ``numbers``, -1 for none, that values cannot exclude."""
    last, width = nearest.shape[0] - 1, values.shape[0]
    threshold = np.float32(floor - nearest[last] * gain)
    count = 0
    for begin in range(0, width, 64):
        end = min(width, begin + 64)
        if end < begin + 64 or any_above(values[begin:end], threshold):
            for c in range(begin, end):
                if not values[c] <= threshold and numbers[c] >= 0:
                    candidates[count] = c
                    count += 1
    while count > 0:  # take the most promising, drop what it excludes, repeat
        best = 0
        for j in range(1, count):
            if values[candidates[j]] > values[candidates[best]]:
                best = j
        row = numbers[candidates[best]]
        candidates[best] = candidates[count - 1]
        insert(squared_distance(query, bank[row]), row, nearest, rows)
        threshold = np.float32(floor - nearest[last] * gain)
        kept = 0
        for c in candidates[: count - 1]:
            if not values[c] <= threshold:
                candidates[kept] = c
                kept += 1
        count = kept


@compiled()
def approach(
    products: np.ndarray,
    queries: np.ndarray,
    bank: np.ndarray,
    floors: np.ndarray,
    gain: float,
    nearest: np.ndarray,
) -> None:
    """``improve`` for a bank that comes in many small parts.

    Candidates are taken in any order, and rows are not kept.

    Args:
        products: (queries, bank rows) of the screen.
        queries: (q, d).
        bank: (n, d), one part.
        floors: (q,) of the screen.
        gain: Of the screen.
        nearest: (q, k) ascending squared distances to the nearest rows of earlier parts.
    """
    k = nearest.shape[1]
    unused = np.zeros(k, np.int64)
    for i in range(queries.shape[0]):
        threshold = np.float32(floors[i] - nearest[i, k - 1] * gain)
        for begin in range(0, bank.shape[0], 64):
            end = min(bank.shape[0], begin + 64)
            if end == begin + 64 and not any_above(products[i, begin:end], threshold):
                continue
            for c in range(begin, end):
                if not products[i, c] <= threshold:
                    insert(squared_distance(queries[i], bank[c]), 0, nearest[i], unused)
                    threshold = np.float32(floors[i] - nearest[i, k - 1] * gain)
