"""Compiled loops of the exact kernels: what the screen of ``adbench.kernels.screen`` cannot exclude is computed directly.

A squared distance is the float64 sum of squared differences, which neither cancels nor overflows. Comparisons with the
screen's threshold are written ``not product <= threshold``: what is not a number is not excluded.
"""

from typing import NamedTuple

import numpy as np
from numba import njit


class Picking(NamedTuple):
    """The state of greedy k-centre among n points of which up to m are picked."""

    points: np.ndarray
    """(n, d) float32."""
    shadows: np.ndarray
    """(n, r + 2) of the screen."""
    squares: np.ndarray
    """(n,) of the screen."""
    floors: np.ndarray
    """(n,) of the screen."""
    gain: float
    """Of the screen."""
    order: np.ndarray
    """(m,) rows picked, first pick first."""
    columns: np.ndarray
    """(m, r + 2) of the screen, of the rows picked."""
    seen: np.ndarray
    """(n,) number of picks that each bound includes."""
    bounds: np.ndarray
    """(n,) squared distance to the nearest of the picks seen; -1 for picked points."""


class Rival(NamedTuple):
    """The best point outside the block; before it come a larger bound and, with an equal one, a lower row."""

    row: int
    bound: float


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Euclidean distance of two (d,) vectors."""
    total = 0.0
    for j in range(a.shape[0]):
        difference = np.float64(a[j]) - np.float64(b[j])
        total += difference * difference
    return total


@njit(cache=True, nogil=True)
def squared_distances(points: np.ndarray, center: np.ndarray, out: np.ndarray) -> None:
    """Squared distances of all (n, d) points to one."""
    for i in range(points.shape[0]):
        out[i] = squared_distance(points[i], center)


@njit(cache=True, nogil=True)
def _any_above(products: np.ndarray, threshold: np.float32) -> bool:
    count = 0
    for j in range(64):  # a fixed length and an unsigned index, or the loop is not vectorised
        count += not products[np.uint64(j)] <= threshold
    return count > 0


@njit(cache=True, nogil=True)
def _before(rival: Rival, row: int, bound: float) -> bool:
    return bound > rival.bound or (bound == rival.bound and row < rival.row)


@njit(cache=True, nogil=True)
def refresh(state: Picking, products: np.ndarray, first: int, rows: np.ndarray, rival: Rival) -> int:
    """Bring the bounds of some rows up to date with the picks first, first + 1, ...

    Args:
        state: Of the selection.
        products: (rows, picks) of the screen.
        first: Place in the order of the first of these picks.
        rows: The points; those that still come before the rival are moved to the front.
        rival: The best other point.

    Returns:
        How many of the rows still come before the rival.
    """
    points, order, floors, gain = state.points, state.order, state.floors, state.gain
    left = 0
    width = products.shape[1]
    for i in range(rows.shape[0]):
        row = rows[i]
        bound = state.bounds[row]
        threshold = np.float32(floors[row] - bound * gain)
        for begin in range(max(0, state.seen[row] - first), width, 64):
            end = min(width, begin + 64)
            if end < begin + 64 or _any_above(products[i, begin:end], threshold):
                for c in range(begin, end):
                    if not products[i, c] <= threshold:
                        distance = squared_distance(points[row], points[order[first + c]])
                        if distance < bound:
                            bound = distance
                            threshold = np.float32(floors[row] - bound * gain)
        state.bounds[row] = bound
        state.seen[row] = max(state.seen[row], first + width)
        if _before(rival, row, bound):
            rows[left] = row
            left += 1
    return left


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True)
def advance(state: Picking, count: int, rows: np.ndarray, rival: Rival) -> int:
    """Plain greedy among some rows that are up to date with all ``count`` picks, while one comes before the rival.

    Returns:
        How many picks there are now.
    """
    left = rows.shape[0]
    while left > 0 and count < state.order.shape[0]:
        pick = rows[0]
        for i in range(1, left):
            if _before(Rival(pick, state.bounds[pick]), rows[i], state.bounds[rows[i]]):
                pick = rows[i]
        state.order[count] = pick
        column = state.columns[count]
        column[:] = state.shadows[pick]
        column[-1] = -state.squares[pick] / 2
        state.bounds[pick] = -1
        count += 1
        kept = 0
        for i in range(left):
            row = rows[i]
            if row == pick:
                continue
            bound = state.bounds[row]
            if not _dot(state.shadows[row], column) <= np.float32(state.floors[row] - bound * state.gain):
                bound = min(bound, squared_distance(state.points[row], state.points[pick]))
            state.bounds[row] = bound
            state.seen[row] = count
            if _before(rival, row, bound):
                rows[kept] = row
                kept += 1
        left = kept
    return count


@njit(cache=True, nogil=True)
def insert(distance: float, row: int, nearest: np.ndarray, rows: np.ndarray) -> None:
    """Insert into the ascending (k,) squared distances and their rows, equal ones by row; the last one falls out."""
    j = nearest.shape[0] - 1
    if distance > nearest[j] or (distance == nearest[j] and row > rows[j]):
        return
    while j > 0 and (distance < nearest[j - 1] or (distance == nearest[j - 1] and row < rows[j - 1])):
        nearest[j], rows[j] = nearest[j - 1], rows[j - 1]
        j -= 1
    nearest[j], rows[j] = distance, row


@njit(cache=True, nogil=True)
def insert_known(
    queries: np.ndarray, bank: np.ndarray, known: np.ndarray, nearest: np.ndarray, rows: np.ndarray
) -> None:
    """Start the neighbours of each query with the (q, k) bank rows that are ``known``."""
    for i in range(queries.shape[0]):
        for row in known[i]:
            insert(squared_distance(queries[i], bank[row]), row, nearest[i], rows[i])


@njit(cache=True, nogil=True)
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
        nearest: (q, k) ascending squared distances to the nearest bank rows before ``first``.
        rows: (q, k) those bank rows.
    """
    k = nearest.shape[1]
    width = products.shape[1]
    candidates = np.empty(width, np.int64)
    for i in range(queries.shape[0]):
        threshold = np.float32(floors[i] - nearest[i, k - 1] * gain)
        count = 0
        for begin in range(0, width, 64):
            end = min(width, begin + 64)
            if end < begin + 64 or _any_above(products[i, begin:end], threshold):
                for c in range(begin, end):
                    if not products[i, c] <= threshold:
                        candidates[count] = c
                        count += 1
        while count > 0:  # take the most promising, drop what it excludes, repeat
            best = 0
            for j in range(1, count):
                if products[i, candidates[j]] > products[i, candidates[best]]:
                    best = j
            row = first + candidates[best]
            candidates[best] = candidates[count - 1]
            insert(squared_distance(queries[i], bank[row]), row, nearest[i], rows[i])
            threshold = np.float32(floors[i] - nearest[i, k - 1] * gain)
            kept = 0
            for c in candidates[: count - 1]:
                if not products[i, c] <= threshold:
                    candidates[kept] = c
                    kept += 1
            count = kept


@njit(cache=True, nogil=True)
def approach(
    products: np.ndarray, queries: np.ndarray, bank: np.ndarray, floors: np.ndarray, gain: float, nearest: np.ndarray
) -> None:
    """``improve`` for a bank that comes in many small parts: candidates are taken in any order, and rows are not kept.

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
            if end == begin + 64 and not _any_above(products[i, begin:end], threshold):
                continue
            for c in range(begin, end):
                if not products[i, c] <= threshold:
                    insert(squared_distance(queries[i], bank[c]), 0, nearest[i], unused)
                    threshold = np.float32(floors[i] - nearest[i, k - 1] * gain)


@njit(cache=True, nogil=True)
def add_twice_below(values: np.ndarray, owner: np.ndarray, others: np.ndarray, out: np.ndarray) -> None:
    """Add to each owner of values how many of ``others`` are below them, twice, and how many are equal, once.

    Args:
        values: (n,) ascending.
        owner: (n,) places in ``out``.
        others: (m,) ascending.
        out: int64.
    """
    below, until = 0, 0
    for i in range(len(values)):
        value = values[i]
        while below < len(others) and others[below] < value:
            below += 1
        while until < len(others) and others[until] <= value:
            until += 1
        out[owner[i]] += below + until
