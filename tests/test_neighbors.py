"""Nearest neighbours against all direct differences in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adbench.errors import AdbenchError
from adbench.kernels import neighbors, screen
from adbench.kernels.neighbors import Neighbors

RNG = np.random.default_rng(0)
DECAY = 0.9 ** np.arange(64)
BANKS = {
    "one": np.ones((1, 3)),
    "normal": RNG.standard_normal((900, 64)),
    "decaying": RNG.standard_normal((3000, 64)) * DECAY,
    "duplicates": np.tile(RNG.standard_normal((100, 64)) * DECAY, (9, 1)),
    "equal": np.full((600, 64), 0.3),
    "lattice": RNG.integers(-1, 2, (900, 4)),
    "clusters": RNG.standard_normal((5, 64))[RNG.integers(0, 5, 900)] * 1e3
    + RNG.standard_normal((900, 64)) * DECAY,
    "offset": 1e4 + RNG.standard_normal((900, 64)) * DECAY,
    "tiny": RNG.standard_normal((900, 64)) * DECAY * 1e-30,
    "huge": RNG.standard_normal((900, 64)) * DECAY * 1e30,
}


def naive(bank, queries, k):
    squared = ((queries[:, None].astype(np.float64) - bank.astype(np.float64)) ** 2).sum(2)
    rows = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, rows, axis=1)).astype(np.float32), rows


@pytest.mark.parametrize("form", ["leaves", "products", "products on axes"])
@pytest.mark.parametrize("name", BANKS)
def test_neighbours_are_those_of_the_plain_loop(name, form, monkeypatch):
    monkeypatch.setattr(neighbors, "OPENED", 1 if form == "leaves" else -1)
    if form == "products on axes":
        monkeypatch.setattr(screen, "DIRECT", (0, 0))
    bank = BANKS[name].astype(np.float32)
    spread = np.float32(BANKS[name].std() or 1)
    strangers = bank[RNG.integers(0, len(bank), 40)] + spread * RNG.standard_normal(
        (40, bank.shape[1])
    ).astype(np.float32)
    far = np.full_like(bank[:1], 1e37)  # its square is no float32
    queries = np.concatenate([bank[:60], strangers, bank[:1] * 2, np.zeros_like(bank[:1]), far])
    if name == "lattice":
        queries = np.round(queries)
    index = Neighbors(torch.from_numpy(bank))
    for k in {1, min(5, len(bank)), min(300, len(bank))}:
        distances, rows = index.search(torch.from_numpy(queries), k)
        expected, expected_rows = naive(bank, queries, k)
        assert distances.dtype == torch.float32
        np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-6)
        np.testing.assert_array_equal(rows.numpy(), expected_rows)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        (25, 3),
        elements=st.one_of(st.integers(-2, 2).map(float), st.floats(-1e9, 1e9, width=32)),
    ),
    st.integers(1, 25),
)
def test_any_bank_any_k(bank, k):
    distances, rows = Neighbors(torch.from_numpy(bank)).search(
        torch.from_numpy(bank[::-1].copy()), k
    )
    expected, _ = naive(bank, bank[::-1], k)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-6)
    assert (distances[:, 0] == 0).all()
    assert all(len(set(found)) == k for found in rows.tolist())


def test_hand_worked():
    index = Neighbors(torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]))
    distances, rows = index.search(torch.tensor([[0.0, 0.0]]), k=3)
    assert distances.tolist() == [[0, 5, 10]]
    assert rows.tolist() == [[1, 0, 2]]


def test_a_bank_row_is_found_at_distance_zero_in_spite_of_cancellation():
    bank = torch.from_numpy((1e6 + RNG.standard_normal((2000, 64))).astype(np.float32))
    distances, rows = Neighbors(bank).search(bank)
    assert (distances == 0).all()
    assert rows[:, 0].tolist() == list(range(2000))


def test_a_query_alone_gives_the_bits_of_a_batch_with_any_threads():
    bank = torch.from_numpy(BANKS["decaying"].astype(np.float32))
    queries = bank[:600] + 0.3
    index = Neighbors(bank)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        distances, rows = index.search(queries, 7)
        torch.set_num_threads(1)
        for i in (0, 255, 256, 599):
            alone, alone_rows = index.search(queries[i : i + 1], 7)
            torch.testing.assert_close(alone[0], distances[i], rtol=0, atol=0)
            assert alone_rows[0].tolist() == rows[i].tolist()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["decaying", "duplicates", "equal", "lattice", "normal"])
def test_beginnings_of_a_bank_are_searched_as_banks_of_their_own(name):
    bank = torch.from_numpy(BANKS[name].astype(np.float32))
    queries = bank[::7] + 0.01
    sizes = [2, 3, 5, 300, 301, len(bank)]
    found = Neighbors(bank).search_beginnings(queries, 5, sizes)
    for size, (distances, rows) in zip(sizes, found, strict=True):
        expected = Neighbors(bank[:size]).search(queries, min(5, size))
        torch.testing.assert_close(distances, expected[0], rtol=0, atol=0)
        assert torch.equal(rows, expected[1])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_plain_path_of_devices(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for name in ("decaying", "lattice", "duplicates"):
        bank = BANKS[name].astype(np.float32)
        tensor = torch.from_numpy(bank)
        there = Neighbors(tensor, torch.device(device))
        (_, first), (distances, rows) = there.search_beginnings(
            tensor[:300].to(device), 4, [3, len(tensor)]
        )
        assert torch.equal(first.cpu(), Neighbors(tensor[:3]).search(tensor[:300], 3)[1])
        expected, expected_rows = naive(bank, bank[:300], 4)
        np.testing.assert_allclose(distances.cpu().numpy(), expected, rtol=1e-5)
        np.testing.assert_array_equal(rows.cpu().numpy(), expected_rows)


def test_no_queries():
    distances, rows = Neighbors(torch.zeros(3, 2)).search(torch.zeros(0, 2), 2)
    assert distances.shape == rows.shape == (0, 2)


def test_a_memory_mapped_bank_is_not_copied(tmp_path):
    np.save(
        tmp_path / "bank.npy",
        RNG.standard_normal((5000, 64)).astype(np.float32) * DECAY.astype(np.float32),
    )
    bank = torch.from_numpy(np.load(tmp_path / "bank.npy", mmap_mode="r+"))
    index = Neighbors(bank)
    assert index.bank.data_ptr() == bank.data_ptr()
    assert bank.nbytes < index.nbytes <= Neighbors.bytes(*bank.shape)


def test_more_neighbours_than_rows_are_refused():
    index = Neighbors(torch.zeros(3, 2))
    with pytest.raises(AdbenchError, match="k 4 does not fit a bank of 3 rows; use 1 to 3"):
        index.search(torch.zeros(1, 2), 4)
    with pytest.raises(AdbenchError, match="k 0 does not fit"):
        index.search(torch.zeros(1, 2), 0)


def test_queries_of_another_dimension_are_refused():
    with pytest.raises(
        AdbenchError, match=r"queries of shape \(1, 5\) do not fit a bank of 2 dimensions"
    ):
        Neighbors(torch.zeros(3, 2)).search(torch.zeros(1, 5))
