"""Greedy selection against the plain quadratic loop: ties, nested picks, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adbench.errors import AdbenchError
from adbench.kernels import coreset
from adbench.kernels.coreset import greedy, official_start, random_order
from adbench.system.progress import progress

QUICK = settings(max_examples=60, deadline=None)


def naive(points, size, start=0, initial=None):
    """The definition, with direct differences in float64; picked points are out."""
    points = points.astype(np.float64)
    bounds = np.full(len(points), np.inf) if initial is None else initial.astype(np.float64) ** 2
    order = []
    for _ in range(size):
        pick = start if not order and initial is None else int(np.argmax(bounds))
        order.append(pick)
        bounds = np.minimum(bounds, ((points - points[pick]) ** 2).sum(1))
        bounds[order] = -1
    return order


def points_of(kind, n, d, rng):
    if kind == "normal":
        return rng.standard_normal((n, d))
    if kind == "equal":
        return np.full((n, d), 0.1)
    if kind == "duplicates":
        return rng.standard_normal((max(1, n // 5), d))[rng.integers(0, max(1, n // 5), n)]
    if kind == "lattice":  # float ties everywhere
        return rng.integers(-2, 3, (n, d))
    if kind == "clusters":
        return (
            rng.standard_normal((4, d))[rng.integers(0, 4, n)] * 100
            + rng.standard_normal((n, d)) * 0.01
        )
    if kind == "offset":  # products would cancel to nothing
        return 1e4 + rng.standard_normal((n, d))
    if kind == "tiny":
        return rng.standard_normal((n, d)) * 1e-30
    if kind == "huge":
        return rng.standard_normal((n, d)) * 1e30
    decay = 0.8 ** np.arange(d)  # a spectrum that axes make use of
    return rng.standard_normal((n, d)) * decay + rng.standard_normal(d)


KINDS = [
    "normal",
    "equal",
    "duplicates",
    "lattice",
    "clusters",
    "offset",
    "tiny",
    "huge",
    "decaying",
]


@pytest.mark.parametrize("block", [16, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_picks_are_those_of_the_plain_loop(kind, block, monkeypatch):
    monkeypatch.setattr(coreset, "BLOCK", block)
    monkeypatch.setattr(coreset, "TILE", (7, 70))
    for seed, (n, d, size) in enumerate(
        [(1, 3, 1), (2, 1, 2), (50, 2, 50), (300, 40, 120), (900, 64, 200), (500, 5, 500)]
    ):
        points = points_of(kind, n, d, np.random.default_rng(seed)).astype(np.float32)
        start = n // 2
        assert greedy(torch.from_numpy(points), size, start).tolist() == naive(points, size, start)


@pytest.mark.parametrize("kind", KINDS)
def test_picks_on_learned_axes_are_those_of_the_plain_loop(kind):
    points = points_of(kind, 4500, 64, np.random.default_rng(7)).astype(
        np.float32
    )  # more than a block
    assert greedy(torch.from_numpy(points), 150).tolist() == naive(points, 150)


@QUICK
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.one_of(st.integers(-2, 2).map(float), st.floats(-1e6, 1e6, width=32)),
    ),
    st.data(),
)
def test_any_points_any_size_any_start(points, data):
    size = data.draw(st.integers(1, len(points)))
    start = data.draw(st.integers(0, len(points) - 1))
    picks = greedy(torch.from_numpy(points), size, start).tolist()
    assert len(set(picks)) == size
    # equal distances are summed in another order here: the picks are compared by what makes them
    # right
    double = points.astype(np.float64)
    for j in range(1, size):
        distances = ((double[:, None] - double[picks[:j]]) ** 2).sum(2).min(1)
        distances[picks[:j]] = -1
        assert distances[picks[j]] >= distances.max() * (1 - 1e-12)


def test_hand_worked():
    line = torch.tensor([[0.0], [1.0], [4.0], [9.0], [10.0]])
    assert greedy(line, 5).tolist() == [0, 4, 2, 1, 3]  # 1 and 3 are both 1 away: the lowest first
    assert greedy(line, 2, start=2).tolist() == [2, 4]


def test_copies_come_last_lowest_first_and_once():
    points = torch.tensor([[0.0], [5.0], [0.0], [5.0], [0.0]])
    assert greedy(points, 5, start=2).tolist() == [2, 1, 0, 3, 4]


@pytest.mark.parametrize("with_initial", [False, True])
def test_picks_are_nested_and_resumed(with_initial):
    points = points_of("decaying", 1500, 64, np.random.default_rng(1)).astype(np.float32)
    tensor = torch.from_numpy(points)
    initial = official_start(tensor, seed=3) if with_initial else None
    whole = greedy(tensor, 400, initial=initial)
    assert whole.tolist() == naive(
        points, 400, initial=None if initial is None else initial.numpy()
    )
    part = greedy(tensor, 90, initial=initial)
    resumed = greedy(tensor, 400, initial=initial, known=part)
    np.testing.assert_array_equal(resumed, whole)
    np.testing.assert_array_equal(greedy(tensor, 20, initial=initial, known=part), part[:20])


def test_threads_do_not_matter():
    points = torch.from_numpy(
        points_of("decaying", 6000, 64, np.random.default_rng(2)).astype(np.float32)
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = greedy(points, 600)
        torch.set_num_threads(3)
        np.testing.assert_array_equal(greedy(points, 600), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("with_initial", [False, True])
def test_the_plain_loop_and_devices(device, with_initial):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    points = points_of("lattice", 200, 2, np.random.default_rng(4)).astype(np.float32)
    initial = torch.full((200,), 3.0) if with_initial else None
    tensor = torch.from_numpy(points).to(device)
    expected = naive(points, 150, 5, initial=None if initial is None else initial.numpy())
    assert greedy(tensor, 150, 5, initial, plain=True).tolist() == expected
    known = np.array(expected[:60])
    assert greedy(tensor, 150, 5, initial, known, plain=True).tolist() == expected


def test_memory_mapped_points(tmp_path):
    points = points_of("normal", 100, 6, np.random.default_rng(5)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    mapped = torch.from_numpy(np.load(tmp_path / "points.npy", mmap_mode="r+"))
    assert greedy(mapped, 30).tolist() == naive(points, 30)


def test_a_progress_bar_is_shown_only_where_the_caller_wants_one(capsys):
    points = torch.randn(50, 3)
    greedy(points, 10)
    assert capsys.readouterr().err == ""
    with progress("bars"):
        greedy(points, 10)
    assert "coreset" in capsys.readouterr().err


def test_official_start_is_the_mean_distance_to_the_starts():
    points = torch.randn(5000, 8)
    starts = points[np.sort(np.random.default_rng(3).choice(5000, 10, replace=False))]
    expected = sum((points - s).norm(dim=1) for s in starts) / 10
    torch.testing.assert_close(official_start(points, seed=3), expected)
    assert official_start(points[:4], seed=3).shape == (4,)


def test_random_order_is_distinct_nested_and_seeded():
    rows = random_order(1000, 100, 3)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 100
    assert rows.min() >= 0
    assert rows.max() < 1000
    np.testing.assert_array_equal(rows, random_order(1000, 700, 3)[:100])
    assert (rows != random_order(1000, 100, 4)).any()
    np.testing.assert_array_equal(np.sort(random_order(7, 7, 0)), np.arange(7))


@pytest.mark.parametrize("size", [0, 6])
def test_sizes_outside_the_points_are_refused(size):
    with pytest.raises(AdbenchError, match=f"cannot pick {size} of 5 points; ask for 1 to 5"):
        greedy(torch.zeros(5, 2), size)
    with pytest.raises(AdbenchError, match=f"cannot pick {size} of 5 points"):
        random_order(5, size, 0)


def test_start_outside_the_points_is_refused():
    with pytest.raises(AdbenchError, match="cannot start at point 5 of 5; use 0 to 4"):
        greedy(torch.zeros(5, 2), 1, start=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_points_that_are_not_finite_are_refused(value):
    points = torch.zeros(5, 2)
    points[3, 1] = value
    with pytest.raises(AdbenchError, match="1 NaN or infinite values of 10"):
        greedy(points, 2)
