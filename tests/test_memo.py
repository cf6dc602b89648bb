import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from adbench.files import whole_file, write_whole
from adbench.memo import Entry, Memo, digest


def squares(calls, n=3):
    def compute():
        calls.append(n)
        return {"squares": np.arange(n) ** 2}

    return compute


def test_digest_ignores_key_order_and_sees_values():
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": [2.5], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_second_recall_computes_nothing_and_credits_the_cost(tmp_path):
    calls = []
    first = Memo(tmp_path).recall("squares", {"n": 3}, squares(calls))
    memo = Memo(tmp_path)
    again = memo.recall("squares", {"n": 3}, squares(calls))
    assert calls == [3]
    np.testing.assert_array_equal(again.arrays["squares"], [0, 1, 4])
    assert again.seconds == first.seconds
    assert memo.credit <= first.seconds  # the cost then, less the reading now


def test_other_settings_are_another_entry(tmp_path):
    calls = []
    memo = Memo(tmp_path)
    memo.recall("squares", {"n": 3}, squares(calls, 3))
    memo.recall("squares", {"n": 4}, squares(calls, 4))
    assert calls == [3, 4]


def test_without_a_folder_nothing_is_kept():
    calls = []
    memo = Memo()
    memo.recall("squares", {}, squares(calls))
    memo.recall("squares", {}, squares(calls))
    assert calls == [3, 3]


def test_extend_replaces_what_does_not_suffice(tmp_path):
    memo = Memo(tmp_path)
    memo.recall("squares", {}, squares([], 3))

    def at_least(n):
        return lambda kept: None if len(kept["squares"]) >= n else {"squares": np.arange(n) ** 2}

    assert len(memo.recall("squares", {}, squares([]), extend=at_least(5)).arrays["squares"]) == 5
    assert len(memo.recall("squares", {}, squares([]), extend=at_least(2)).arrays["squares"]) == 5


@pytest.mark.parametrize("place", [0, 10, -1])
def test_a_flipped_bit_costs_a_warning_and_the_reuse(tmp_path, caplog, place):
    calls = []
    memo = Memo(tmp_path)
    memo.recall("squares", {}, squares(calls))
    (path,) = tmp_path.glob("*.memo")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        entry = memo.recall("squares", {}, squares(calls))
    assert "damaged" in caplog.text
    assert calls == [3, 3]
    np.testing.assert_array_equal(entry.arrays["squares"], [0, 1, 4])


@pytest.mark.parametrize("length", [0, 3, 20])
def test_half_written_entries_are_made_again(tmp_path, length):
    calls = []
    memo = Memo(tmp_path)
    memo.recall("squares", {}, squares(calls))
    (path,) = tmp_path.glob("*.memo")
    path.write_bytes(path.read_bytes()[:length])
    memo.recall("squares", {}, squares(calls))
    assert calls == [3, 3]


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    calls = []
    with caplog.at_level(logging.WARNING):
        entry = Memo(blocked / "cache").recall("squares", {}, squares(calls))
    assert "cannot keep" in caplog.text
    np.testing.assert_array_equal(entry.arrays["squares"], [0, 1, 4])


def test_entry_survives_a_round_trip_with_its_types():
    arrays = {"a": np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::-1], "b": np.float32([1.5])}
    back = Entry.from_bytes(Entry(arrays, 0.25).to_bytes())
    assert back.seconds == 0.25
    for name, array in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype


def test_processes_that_want_the_same_entry_compute_it_once(tmp_path):
    program = (
        "import sys, time, numpy as np; from pathlib import Path; from adbench.memo import Memo\n"
        "root = Path(sys.argv[1])\n"
        "def compute():\n"
        "    (root / f'computed-{sys.argv[2]}').touch(); time.sleep(0.5); return {'a': np.ones(2)}\n"
        "Memo(root / 'memo').recall('slow', {}, compute)\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(i)]) for i in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_whole(path, "first")

    def fail_halfway():
        with whole_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_what_a_kill_left_is_removed_when_the_file_is_written_again(tmp_path):
    old, young, other = (tmp_path / name for name in (".a.json.x1.tmp", ".a.json.x2.tmp", ".b.json.x3.tmp"))
    for file in (old, young, other):
        file.write_text("part")
    for file in (old, other):
        os.utime(file, (time.time() - 7200,) * 2)
    write_whole(tmp_path / "a.json", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == [young.name, other.name, "a.json"]
