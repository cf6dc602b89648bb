import logging
import subprocess
import sys

import numpy as np
import pytest

from adbench.features.orders import Orders

KEY = {"features": "abc", "sampler": "greedy"}


def order(n: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(100)[:n]


def the_file(folder):
    (path,) = (folder / "orders").glob("*.npy")
    return path


def test_a_kept_order_is_read_by_whoever_comes_next(tmp_path):
    assert Orders(tmp_path).read(KEY) is None
    Orders(tmp_path).keep(KEY, order(10))
    found = Orders(tmp_path).read(dict(reversed(KEY.items())))
    assert found is not None
    np.testing.assert_array_equal(found, order(10))
    assert found.dtype == np.int64


@pytest.mark.parametrize("change", [{"features": "abd"}, {"sampler": "random"}, {"seed": 0}])
def test_other_features_or_settings_have_another_order(tmp_path, change):
    orders = Orders(tmp_path)
    orders.keep(KEY, order(10))
    assert orders.read({**KEY, **change}) is None
    orders.keep({**KEY, **change}, order(5))
    assert len(orders.read(KEY)) == 10


def test_the_longer_order_stays(tmp_path):
    orders = Orders(tmp_path)
    for n, kept in ((10, 10), (4, 10), (20, 20)):
        orders.keep(KEY, order(n))
        np.testing.assert_array_equal(orders.read(KEY), order(kept))


def test_without_a_folder_nothing_is_kept():
    orders = Orders(None)
    with orders.turn(KEY):
        orders.keep(KEY, order(10))
        assert orders.read(KEY) is None


@pytest.mark.parametrize("place", [0, 10, 100, -1])
@pytest.mark.fault("cache", shows="kept")
def test_a_flipped_bit_costs_a_warning_and_the_reuse(tmp_path, caplog, place):
    orders = Orders(tmp_path)
    orders.keep(KEY, order(10))
    content = bytearray(the_file(tmp_path).read_bytes())
    content[place] ^= 1
    the_file(tmp_path).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert orders.read(KEY) is None
    assert "is damaged" in caplog.text
    orders.keep(KEY, order(5))
    np.testing.assert_array_equal(orders.read(KEY), order(5))


@pytest.mark.parametrize("length", [0, 3, 20, -4])
@pytest.mark.fault("cache", shows="kept")
def test_half_an_order_is_none(tmp_path, length):
    orders = Orders(tmp_path)
    orders.keep(KEY, order(10))
    the_file(tmp_path).write_bytes(the_file(tmp_path).read_bytes()[:length])
    assert orders.read(KEY) is None


@pytest.mark.fault("cache", shows="kept")
def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        Orders(blocked / "cache").keep(KEY, order(10))
    assert "cannot keep" in caplog.text


@pytest.mark.slow
def test_processes_that_want_the_same_order_compute_it_once(tmp_path):
    program = (
        "import sys, time, numpy as np; from pathlib import Path\n"
        "from adbench.features.orders import Orders\n"
        "root = Path(sys.argv[1]); orders = Orders(root)\n"
        "with orders.turn({'a': 1}):\n"
        "    if orders.read({'a': 1}) is None:\n"
        "        (root / f'computed-{sys.argv[2]}').touch(); time.sleep(0.5)\n"
        "        orders.keep({'a': 1}, np.arange(3))\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path)]
    jobs = [subprocess.Popen([*words, str(i)]) for i in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert len(list(tmp_path.glob("computed-*"))) == 1
