"""Many writers in one folder of results and one cache: nothing lost, torn, left or locked."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from adbench.features.orders import Orders
from adbench.features.store import remove_left_features
from adbench.results import records
from adbench.system import files, waiting
from adbench.system.files import remove_left, write_whole

STRESS = Path(__file__).parents[1] / "scripts" / "stress_writers.py"


@pytest.mark.slow
@pytest.mark.skipif(not STRESS.is_file(), reason="not in a checkout: there are no scripts")
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork are POSIX")
def test_writers_that_are_killed_again_and_again_lose_and_leave_nothing():
    words = ["--processes", "3", "--jobs", "6", "--every", "0.1"]
    done = subprocess.run(
        [sys.executable, str(STRESS), *words], capture_output=True, text=True, check=True
    )
    found = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert found["records"] == found["expected"] == 6 + 2 * 5
    assert found["kills"] > 0
    assert [found[name] for name in ("lost", "torn", "leftovers", "locked")] == [0] * 4


def left_in(folder, machine):
    """A temporary file of a process that is surely gone, on a machine."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f".layer1.npy.{machine}-{2**31 - 2}-01234567.tmp"
    file.write_bytes(b"part")
    return file


def own_machine(folder):
    """The short name of this machine, as it stands in the names of temporary files."""
    with files.scratch_folder(folder / "x") as made:
        return made.name.split(".")[-2].split("-")[0]


def test_what_was_left_in_a_cache_goes_and_what_is_kept_there_stays(tmp_path):
    machine = own_machine(tmp_path)
    write_whole(tmp_path / "features" / "abc" / "layer1.npy", b"kept")
    Orders(tmp_path).keep({"a": 1}, np.arange(3))
    gone = [left_in(tmp_path / "features" / "abc", machine), left_in(tmp_path / "orders", machine)]
    remove_left_features(tmp_path)
    Orders(tmp_path).tidy()
    assert not any(file.exists() for file in gone)
    assert (tmp_path / "features" / "abc" / "layer1.npy").read_bytes() == b"kept"
    assert Orders(tmp_path).read({"a": 1}).tolist() == [0, 1, 2]


def test_the_start_of_a_run_removes_what_was_left_among_its_records(tmp_path):
    gone = left_in(tmp_path, own_machine(tmp_path))
    records.require_writable(tmp_path)
    assert not gone.exists()


@pytest.mark.parametrize(("age", "stays"), [(-1e9, True), (0, True), (23, True), (25, False)])
def test_files_of_another_machine_go_by_their_age_on_the_disk(tmp_path, age, stays):
    """An age below zero is that of a file from the future, such as after a jump of a clock."""
    file = left_in(tmp_path, "01234567")
    when = time.time() - 3600 * age
    os.utime(file, (when, when))
    remove_left(tmp_path)
    assert file.exists() == stays


def test_a_wrong_clock_of_this_machine_removes_no_file_that_is_being_written(tmp_path, monkeypatch):
    file = left_in(tmp_path, "01234567")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e9)
    remove_left(tmp_path)
    assert file.exists()


def test_a_folder_without_locks_is_an_error_of_the_system(tmp_path, monkeypatch):
    def unsupported(self, timeout=None, **more):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    lock = FileLock(tmp_path / "lock")
    with (
        pytest.raises(OSError, match="takes no locks"),
        waiting.turn(lock, "makes features"),
    ):
        pass


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    program = (
        "import sys, time; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('now', flush=True); time.sleep(100)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "lock")]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    with waiting.turn(FileLock(tmp_path / "lock"), "makes features", patience=5):
        pass


def test_records_are_written_where_a_folder_takes_no_locks(tmp_path, monkeypatch):
    from test_records import SCORES, record

    def refused(self, timeout=None, **more):
        raise OSError("no locks available")

    monkeypatch.setattr(FileLock, "acquire", refused)
    records.save(tmp_path, record(), SCORES)
    assert len(records.load_all(tmp_path)) == 1


def test_a_record_that_another_process_wrote_meanwhile_is_found(tmp_path):
    from test_records import SCORES, record

    from adbench.results.names import Names

    names, one = Names(tmp_path), record()
    assert records.find(tmp_path, one.identity, names, one.labels) is None
    records.save(tmp_path, one, SCORES)
    assert records.find(tmp_path, one.identity, names, one.labels) is not None
    records.remove(tmp_path, one)
    assert records.find(tmp_path, one.identity, names, one.labels) is None
