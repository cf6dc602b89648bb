"""Compiled loops of the exact kernels: what a screen cannot exclude is computed directly.

A squared distance is the float64 sum of squared differences, which neither cancels nor overflows.
Comparisons with the screen's threshold are written ``not product <= threshold``: what is not a
number is not excluded. Loops of other files hold copies of the functions they call from here, and
numba does not see that these changed: after a change here, delete the folders ``__pycache__``.
"""

from typing import NamedTuple

import numpy as np

from adbench.system.compiled import compiled


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
    """The best point outside the block.

    Before it come a larger bound and, with an equal bound, a lower row.
    """

    row: int
    bound: float


@compiled(fastmath={"reassoc"})
def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Euclidean distance of two (d,) vectors."""
    total = 0.0
    for j in range(a.shape[0]):
        difference = np.float64(a[j]) - np.float64(b[j])
        total += difference * difference
    return total


@compiled()
def squared_distances(points: np.ndarray, center: np.ndarray, out: np.ndarray) -> None:
    """Squared distances of all (n, d) points to one."""
    for i in range(points.shape[0]):
        out[i] = squared_distance(points[i], center)


@compiled()
def any_above(products: np.ndarray, threshold: np.float32) -> bool:
    """Whether any of 64 products is above the threshold, or either is not a number."""
    count = 0
    for j in range(64):  # a fixed length and an unsigned index, or the loop is not vectorised
        count += not products[np.uint64(j)] <= threshold
    return count > 0


@compiled()
def _before(rival: Rival, row: int, bound: float) -> bool:
    return bound > rival.bound or (bound == rival.bound and row < rival.row)


@compiled()
def refresh(
    state: Picking, products: np.ndarray, first: int, rows: np.ndarray, rival: Rival
) -> int:
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
            if end < begin + 64 or any_above(products[i, begin:end], threshold):
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


@compiled(fastmath={"reassoc", "contract"})
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for j in range(a.shape[0]):
        total += a[j] * b[j]
    return total


@compiled()
def advance(state: Picking, count: int, rows: np.ndarray, rival: Rival) -> int:
    """Plain greedy among some rows, for as long as one of them comes before the rival.

    All the rows are up to date with all ``count`` picks.

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
            if not _dot(state.shadows[row], column) <= np.float32(
                state.floors[row] - bound * state.gain
            ):
                bound = min(bound, squared_distance(state.points[row], state.points[pick]))
            state.bounds[row] = bound
            state.seen[row] = count
            if _before(rival, row, bound):
                rows[kept] = row
                kept += 1
        left = kept
    return count


@compiled()
def add_twice_below(
    values: np.ndarray, owner: np.ndarray, others: np.ndarray, out: np.ndarray
) -> None:
    """Add to each owner of values how many of ``others`` are below them, twice.

    Those that are equal are added once.

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
