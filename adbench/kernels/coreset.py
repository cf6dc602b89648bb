"""Coreset selection: greedy k-centre, as PatchCore's algorithm 1 (Roth et al., 2022), or random."""

from functools import partial
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from torch import Tensor

from adbench.errors import AdbenchError
from adbench.kernels.finite import require_finite
from adbench.kernels.screen import RANKS, Screen
from adbench.system.parallel import workers
from adbench.system.progress import bar

if TYPE_CHECKING:
    from tqdm import tqdm

    from adbench.kernels.loops import Picking, Rival

BLOCK = 4096
"""Points with the largest bounds that are brought up to date together."""
TILE = 512, 512
"""Points and picks in one product: 1 MB, so that it is read back from the cache."""
STARTS = 10
"""Random points of ``official_start``, as many as in patchcore-inspection."""


def greedy(
    points: Tensor,
    size: int,
    start: int = 0,
    initial: Tensor | None = None,
    known: np.ndarray | None = None,
    plain: bool = False,
) -> np.ndarray:
    """Greedy k-centre (Gonzalez 1985): pick, again and again, the point farthest from all picks.

    On the CPU the picks are those of the plain loop over direct differences in float64, without its
    n distances per pick. Distances to the picks only fall, so the distance that a point had some
    picks ago bounds the one that it has now. The points with the largest bounds are brought up to
    date, by products that screen and direct distances that decide. Picks are made from them for as
    long as the best of them is ahead of all other bounds. Memory beside the points: 4 r + 60 bytes
    a point and 4 r a pick, where r is 16 to 256 axes of the screen (32 is usual), or d where their
    spectrum is flat.

    Args:
        points: (n, d) float32.
        size: How many to pick, 1 to n.
        start: The first pick; not used with ``initial``.
        initial: (n,) first distances (not squared), as if to picks made before; the first pick is
            then the farthest point.
        known: Picks of a shorter selection from the same points and start; the result extends them.
        plain: Whether to run the plain loop in float32, as it is done on a GPU.

    Returns:
        (size,) int64 rows, first pick first; the first j of them are the selection of size j. Equal
        distances go to the lowest row, no row is picked twice, and copies of picked points come
        last.

    Raises:
        AdbenchError: A size or start outside the points, or points that are not finite.
    """
    n = len(points)
    _require_size(size, n)
    if not 0 <= start < n:
        raise AdbenchError(f"cannot start at point {start} of {n}; use 0 to {n - 1}")
    known = np.empty(0, np.int64) if known is None else known[:size].astype(np.int64)
    if len(known) == 0 and initial is None:
        known = np.array([start])
    pick = _plainly if plain or points.device.type != "cpu" else _lazily
    with bar(size, "coreset", "pick") as shown:
        return pick(points, size, initial, known, shown)


def greedy_bytes(n: int, d: int, size: int) -> int:
    """Bytes of ``greedy`` and its points, at most, where their spectrum is not flat: see there."""
    axes = min(d, RANKS[-1]) + 2
    return n * (4 * d + 4 * axes + 60) + size * (4 * axes + 20)


def random_order(n: int, size: int, seed: int) -> np.ndarray:
    """(size,) int64: the first of ``n`` rows in a random order; a larger choice begins with it."""
    _require_size(size, n)
    return np.random.default_rng(seed).permutation(n)[:size]


def official_start(points: Tensor, seed: int) -> Tensor:
    """The ``initial`` of ``greedy`` in patchcore-inspection (its ApproximateGreedyCoresetSampler).

    Args:
        points: (n, d).
        seed: Chooses the random points, which are not picked themselves.

    Returns:
        (n,) float32 mean distance (not squared) of each point to ``STARTS`` random points, or to
        all where there are fewer.
    """
    count = min(STARTS, len(points))
    chosen = np.random.default_rng(seed).choice(len(points), count, replace=False)
    starts = points[torch.from_numpy(np.sort(chosen)).to(points.device)]
    return torch.cat([_distances(block, starts).mean(dim=1) for block in points.split(4096)])


def _lazily(
    points: Tensor, size: int, initial: Tensor | None, known: np.ndarray, shown: "tqdm[NoReturn]"
) -> np.ndarray:
    from adbench.kernels import loops

    x = np.ascontiguousarray(points.numpy())
    n, count = len(x), len(known)
    with workers() as each:
        screen = Screen(x)
        shadows, squares = screen.shadows(x)
        state = loops.Picking(
            points=x,
            shadows=shadows,
            squares=squares,
            floors=screen.floors(squares, float(squares.max())),
            gain=screen.gain,
            order=np.empty(size, np.int64),
            columns=np.empty((size, shadows.shape[1]), np.float32),
            seen=np.zeros(n, np.int64),
            bounds=np.empty(n),
        )
        state.order[:count] = known
        state.columns[:count] = shadows[known]
        state.columns[:count, -1] = -squares[known] / 2
        if initial is None:
            loops.squared_distances(x, x[known[0]], state.bounds)
            state.seen[:] = 1
        else:
            state.bounds[:] = initial.double().square().numpy()
        state.bounds[known] = -1

        shown.update(count)
        while count < size:
            rows, rival_row, rival_bound = _largest(state.bounds, BLOCK)
            rival = loops.Rival(rival_row, rival_bound)
            # so that the points of a tile lack the same picks
            rows = rows[np.argsort(state.seen[rows], kind="stable")]
            tiles = [rows[i : i + TILE[0]] for i in range(0, len(rows), TILE[0])]
            each(partial(_refresh, state, count, rival), tiles)
            before, count = count, loops.advance(state, count, rows[rows >= 0], rival)
            shown.update(count - before)
    return state.order


def _largest(bounds: np.ndarray, size: int) -> tuple[np.ndarray, int, float]:
    """Rows of the ``size`` largest bounds, and the best row left out with its bound.

    Of equal bounds the lowest rows are taken.
    """
    n = len(bounds)
    if n <= size:
        return np.flatnonzero(bounds >= 0), n, -1.0
    least = np.partition(bounds, n - size)[n - size]
    rows, ties = np.flatnonzero(bounds > least), np.flatnonzero(bounds == least)
    fit = size - len(rows)
    rival = (
        int(ties[fit]) if fit < len(ties) else int(np.argmax(np.where(bounds < least, bounds, -1)))
    )
    rows = np.concatenate([rows, ties[:fit]])
    return rows[bounds[rows] >= 0], rival, float(bounds[rival])


def _refresh(state: "Picking", count: int, rival: "Rival", rows: np.ndarray) -> None:
    """Bring ``rows`` up to date with ``count`` picks.

    Those that then come before the rival stay, the others become -1.
    """
    from adbench.kernels import loops

    left, done = len(rows), int(state.seen[rows].min())
    while left and done < count:
        until = min(done + TILE[1], count)
        products = state.shadows[rows[:left]] @ state.columns[done:until].T
        left = loops.refresh(state, products, done, rows[:left], rival)
        done = until
    rows[left:] = -1


def _plainly(
    points: Tensor, size: int, initial: Tensor | None, known: np.ndarray, shown: "tqdm[NoReturn]"
) -> np.ndarray:
    """One pass over the points per pick."""
    require_finite(points, "points")
    order = torch.empty(size, dtype=torch.int64, device=points.device)
    order[: len(known)] = torch.from_numpy(known)
    bounds = torch.full((len(points),), torch.inf, device=points.device)
    if initial is not None:
        bounds = initial.to(points.device, torch.float32, copy=True)
    for j in range(size):
        if j >= len(known):
            order[j] = bounds.argmax()  # the first of equals
        pick = order[j : j + 1]  # stays on the device: to read it would wait for every pick
        torch.minimum(bounds, _distances(points[pick], points)[0], out=bounds)
        bounds.index_fill_(0, pick, -1)
        shown.update()
    picks: np.ndarray = order.cpu().numpy()
    return picks


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(len(a), len(b)) distances from direct differences, which do not cancel as products do."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _require_size(size: int, n: int) -> None:
    if not 1 <= size <= n:
        raise AdbenchError(f"cannot pick {size} of {n} points; ask for 1 to {n}")
