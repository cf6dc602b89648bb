"""A screen never excludes a near pair, whatever the scale, the offset and the rank."""

import numpy as np
import pytest

from adbench.errors import AdbenchError
from adbench.kernels import leaves, screen
from adbench.kernels.screen import Screen

RNG = np.random.default_rng(0)
DECAY = 0.8 ** np.arange(80)
POINTS = {
    "one": np.ones((1, 1)),
    "normal": RNG.standard_normal((700, 80)),
    "decaying": RNG.standard_normal((700, 80)) * DECAY + RNG.standard_normal(80),
    "low rank": RNG.standard_normal((700, 3)) @ RNG.standard_normal((3, 80)),
    "offset": 1e5 + RNG.standard_normal((700, 80)) * DECAY,
    "clusters": RNG.standard_normal((5, 80))[RNG.integers(0, 5, 700)] * 1e4
    + RNG.standard_normal((700, 80)) * DECAY,
    "duplicates": np.repeat(RNG.standard_normal((70, 80)) * DECAY, 10, axis=0),
    "equal": np.full((700, 80), 0.1),
    "zero": np.zeros((700, 80)),
    "tiny": RNG.standard_normal((700, 80)) * DECAY * 1e-38,
    "huge": RNG.standard_normal((700, 80)) * DECAY * 1e37,
    "tiny beside an offset": np.column_stack(
        [np.ones((700, 79)), RNG.standard_normal(700) * 1e-40]
    ),
    "few": RNG.standard_normal((10, 80)),
}


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())
@pytest.mark.parametrize("rank", [1, 7, 16, 80])
def test_shadows_of_a_near_pair_are_near(points, rank):
    points = points.astype(np.float32)
    used = Screen(points, min(rank, points.shape[1]))
    strangers = np.concatenate([points[:50] * np.float32(1.01), np.zeros_like(points[:1])])
    shadows, squares = used.shadows(points)
    for queries in (points[:100], strangers):
        own, of_own = used.shadows(queries)
        distances = ((queries[:, None].astype(np.float64) - points.astype(np.float64)) ** 2).sum(2)
        thresholds = used.distance_floors(of_own, squares.max())[:, None]
        thresholds = (thresholds - distances * used.distance_gain).astype(np.float32)
        for of in (lambda rows: rows, leaves.coarse):
            a, b = of(own[:, :-1]), of(shadows[:, :-1])
            with np.errstate(under="ignore"):
                values = -((a[:, None] - b) ** 2).sum(2, dtype=np.float32)
            assert not (values <= thresholds).any()


def test_shadows_of_far_pairs_are_far():
    """Of points near a line, all pairs but the near ones are excluded, with few axes."""
    line = np.outer(np.linspace(0, 100, 500), RNG.standard_normal(80))
    points = (line + 0.01 * RNG.standard_normal((500, 80))).astype(np.float32)
    used = Screen(points, 4)
    shadows, squares = used.shadows(points)
    distances = ((points[:, None].astype(np.float64) - points) ** 2).sum(2)
    m = np.quantile(distances, 0.01)
    apart = ((shadows[:, None, :-1] - shadows[:, :-1]) ** 2).sum(2)
    floors = used.distance_floors(squares, squares.max())[:, None]
    assert (-apart > floors - m * used.distance_gain).mean() < 0.02


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())
@pytest.mark.parametrize("force_axes", [False, True])
def test_no_near_pair_is_excluded(points, force_axes, monkeypatch):
    if force_axes:
        monkeypatch.setattr(screen, "DIRECT", (0, 0))
    points = points.astype(np.float32)
    strangers = np.concatenate(
        [points[:50] * np.float32(1.01), points[:50] + np.float32(3), np.zeros_like(points[:1])]
    )
    used = Screen(points)
    columns, squares = used.shadows(points)
    columns[:, -1] = -squares / 2
    for queries in (points[:200], strangers):
        rows, own = used.shadows(queries)
        distances = ((queries[:, None].astype(np.float64) - points.astype(np.float64)) ** 2).sum(2)
        thresholds = used.floors(own, squares.max())[:, None] - distances * used.gain
        with np.errstate(over="ignore"):
            excluded = rows @ columns.T <= thresholds.astype(np.float32)
        assert not excluded.any()


def test_a_query_beyond_float32_is_not_excluded():
    used = Screen(np.full((5, 2), 1e-30, np.float32))
    rows, squares = used.shadows(np.array([[1e20, 0], [1e-30, 0]], np.float32))
    assert np.isnan(used.floors(squares, 1.0)).tolist() == [True, False]
    assert np.isfinite(rows).all()


def test_far_pairs_are_excluded_with_few_axes():
    """The bound is of use: of points that lie near a line, it keeps only the near ones."""
    line = np.outer(
        np.linspace(0, 100, 1000), RNG.standard_normal(80)
    ) + 0.01 * RNG.standard_normal((1000, 80))
    points = line.astype(np.float32)
    used = Screen(points)
    columns, squares = used.shadows(points)
    columns[:, -1] = -squares / 2
    assert columns.shape[1] < 40
    rows, own = used.shadows(points)
    distances = ((points[:, None].astype(np.float64) - points) ** 2).sum(2)
    m = np.quantile(distances, 0.01)
    kept = rows @ columns.T > used.floors(own, squares.max())[:, None] - m * used.gain
    assert kept.mean() < 0.02


def test_a_flat_spectrum_keeps_all_coordinates():
    columns, _ = Screen(RNG.standard_normal((1000, 80)).astype(np.float32)).shadows(
        np.zeros((1, 80), np.float32)
    )
    assert columns.shape == (1, 82)


def test_shadows_of_all_coordinates_keep_to_their_limit(monkeypatch):
    points = RNG.standard_normal((1000, 300)).astype(np.float32)
    monkeypatch.setattr(screen, "LARGEST", 4 * 300 * 1000)
    assert Screen(points).shadows(points)[0].shape == (1000, 302)
    assert Screen(points, count=1001).shadows(points)[0].shape == (1000, 258)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_refused(value):
    points = np.zeros((5, 2), np.float32)
    points[2, 1] = value
    with pytest.raises(AdbenchError, match="points hold 1 NaN or infinite values of 10"):
        Screen(points)
