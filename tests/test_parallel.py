"""Threads for small pieces of work, BLAS libraries with one thread, and compiled loops."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adbench.system import parallel
from adbench.system.parallel import threads, workers

LOOP = """
from adbench.system.compiled import compiled

@compiled()
def double(x):
    return 2 * x
"""


def python(code: str, folder: Path, **variables: str) -> str:
    """What a fresh Python prints that can import from ``folder`` and has these variables."""
    path = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("count", [1, 2])
def test_workers_run_every_item_and_pass_errors_on(count):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        assert threads() == count
        done: list[int] = []
        with workers() as each:
            each(done.append, range(10))
            assert each(lambda item: item**2, range(5)) == [0, 1, 4, 9, 16]
            with pytest.raises(TypeError):
                each(lambda item: item + "", range(3))
        assert sorted(done) == list(range(10))
    finally:
        torch.set_num_threads(before)


def test_without_torch_as_many_threads_are_used_as_may_be_and_torch_is_not_loaded(tmp_path):
    code = """
import sys
from adbench.system.parallel import threads, workers
with workers() as each:
    each(abs, [1, -1])
print("torch" in sys.modules, threads())
"""
    assert python(code, tmp_path, OMP_NUM_THREADS="1") == "False 1"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    loaded, count = python(code, tmp_path, OMP_NUM_THREADS="999").split()
    assert loaded == "False"
    assert 1 <= int(count) <= available


@pytest.mark.parametrize("block", ["nullcontext", "libraries_known"])
def test_a_library_that_is_loaded_later_is_limited_too(block, tmp_path):
    """The counts of threads of BLAS libraries before, inside and after workers, with new ones."""
    code = f"""
from contextlib import nullcontext
from threadpoolctl import threadpool_info
from adbench.system.parallel import libraries_known, workers

def counts():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]

import numpy
with {block}():
    with workers():
        first = counts()
    import scipy.linalg
    before = counts()
    with workers():
        inside = counts()
print(set(first), len(before) - len(first), set(before), set(inside), set(counts()))
"""
    counts = {f"{name}_NUM_THREADS": "2" for name in ("OPENBLAS", "MKL", "BLIS", "OMP")}
    first, added, before, inside, after = python(code, tmp_path, **counts).split()
    if added == "0":
        pytest.skip("numpy and scipy share a BLAS library")
    if before != "{2}":
        pytest.skip("a BLAS library takes no second thread here, as on one processor")
    assert (first, before, inside, after) == ("{1}", "{2}", "{1}", "{2}")


def test_a_look_for_libraries_serves_every_block_until_an_import(monkeypatch):
    from threadpoolctl import ThreadpoolController

    made = []
    monkeypatch.setattr(parallel, "_looked", [])
    load = ThreadpoolController._load_libraries
    monkeypatch.setattr(
        ThreadpoolController, "_load_libraries", lambda self: (made.append(self), load(self))
    )
    for _ in range(3):
        with parallel.libraries_known(), workers(), workers():
            pass
    assert len(made) == 1
    monkeypatch.setitem(sys.modules, "imported_later", parallel)
    with parallel.libraries_known(), workers():
        pass
    assert len(made) == 2
    with workers():
        pass
    assert len(made) == 3  # outside such a block every look is a new one


COUNTS = """
import os, signal, sys, threading
import numpy
from threadpoolctl import threadpool_info, threadpool_limits
from adbench.system.parallel import workers

def counts():
    return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}

class Block:
    \"\"\"A block of workers in a thread of its own, from ``begin`` to ``end``.\"\"\"

    def __init__(self):
        self.begun, self.ending = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def begin(self):
        self.thread.start()
        assert self.begun.wait(60)

    def work(self):
        try:
            with workers():
                self.begun.set()
                self.ending.wait()
                raise KeyError
        except KeyError:
            pass

    def end(self):
        self.ending.set()
        self.thread.join()

from adbench.system.parallel import _blas, _thread_of
from threadpoolctl import ThreadpoolController

own = any(_thread_of(library) is not None for library in _blas(ThreadpoolController()))
if own or counts() != {2}:
    print("none")
    sys.exit()
"""
TWO = {f"{name}_NUM_THREADS": "2" for name in ("OPENBLAS", "MKL", "BLIS", "OMP")}


def counted(code: str, folder: Path) -> str:
    """What the code prints after ``COUNTS``, where BLAS libraries have two threads at first."""
    told = python(COUNTS + code, folder, **TWO)
    if told == "none":
        pytest.skip("needs two processors, and a BLAS with one count of threads")
    return told


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("before", ["", "threadpool_limits(2)"])
def test_blocks_of_several_threads_leave_blas_as_it_was(first, before, tmp_path):
    """Whoever ends first, and whichever thread limited the libraries before."""
    code = f"""
{before}
blocks = [Block(), Block()]
for block in blocks:
    block.begin()
both = counts()
blocks.pop({first}).end()
one = counts()
blocks.pop().end()
print(both, one, counts())
"""
    assert counted(code, tmp_path) == "{1} {1} {2}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX")
def test_a_forked_process_has_no_blocks_of_other_threads(tmp_path):
    code = """
from adbench.system import parallel

block = Block()
block.begin()
with workers(), parallel._limits._lock:  # some thread may hold it at that time
    child = os.fork()
    if not child:
        signal.alarm(60)
        at_first = counts()
        with workers():
            inside = counts()
        print(at_first, inside, counts(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
block.end()
print(counts())
"""
    assert counted(code, tmp_path) == "{2} {1} {2}\n{2}"


def test_loops_compile_in_memory_where_no_folder_can_be_written(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "__pycache__").write_text("a file where the folder would be made")
    code = """
from numba import njit
import loop
print(loop.double(21))
try:
    njit(cache=True)(loop.double.py_func)
except RuntimeError:
    print("no folder")
"""
    nowhere = str(tmp_path / "loop.py")
    homes = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "LOCALAPPDATA": nowhere}
    where = {"NUMBA_CACHE_DIR": "", "ADBENCH_CACHE": ""}
    assert python(code, tmp_path, **where, **homes).split("\n") == ["42", "no folder"]


COUNTED = """
import loop
loop.double(21)
print(loop.double(21), sum(loop.double.stats.cache_hits.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
def test_loops_are_kept_in_a_private_folder_where_the_source_cannot_be_written(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "__pycache__").write_text("a file where the folder would be made")
    kept = tmp_path / "cache" / "compiled"
    where = {"NUMBA_CACHE_DIR": "", "ADBENCH_CACHE": str(kept.parent), "HOME": "/nonexistent"}
    assert python(COUNTED, tmp_path, **where) == "42 0"
    assert python(COUNTED, tmp_path, **where) == "42 1"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    kept.chmod(0o777)  # anybody could have put code there
    assert python(COUNTED, tmp_path, **where) == "42 0"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
def test_a_full_disk_leaves_loops_in_memory(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    assert python(ignore + limit + COUNTED, tmp_path, NUMBA_CACHE_DIR="") == "42 0"


def test_no_folder_is_made_where_a_home_has_no_name(tmp_path):
    """Without a home the system's cache folder is the relative ``~/.cache``."""
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "__pycache__").write_text("a file where the folder would be made")
    code = f"import os; os.chdir({str(tmp_path)!r})\n{COUNTED}"
    where = {"NUMBA_CACHE_DIR": "", "ADBENCH_CACHE": "", "XDG_CACHE_HOME": "~no/such/user"}
    assert python(code, tmp_path, **where) == "42 0"
    assert sorted(os.listdir(tmp_path)) == ["__pycache__", "loop.py"]


@pytest.mark.slow
def test_compiled_loops_are_kept_and_damaged_ones_replaced(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    cache = tmp_path / "cache"
    code = """
import loop
loop.double(21), loop.double(21)
print(loop.double(21), sum(loop.double.stats.cache_hits.values()))
"""

    def run() -> str:
        return python(code, tmp_path, NUMBA_CACHE_DIR=str(cache))

    assert run() == "42 0"
    assert run() == "42 1"
    for pattern in ("*.nbi", "*.nbc"):  # the index, then the code
        (damaged,) = cache.rglob(pattern)
        damaged.write_bytes(damaged.read_bytes()[:-20])
        assert run() == "42 0"
        assert run() == "42 1"
