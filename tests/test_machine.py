import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
import torch

import adbench
from adbench.errors import AdbenchError
from adbench.system import machine, origin, processors
from adbench.system.parallel import threads, workers

ROOT = Path(__file__).parents[1]


@pytest.fixture
def threads_as_before():
    before = torch.get_num_threads()
    yield
    machine.set_threads(before)


@pytest.mark.parametrize(("version", "expected"), [("", 700), ("memory", 700)])
def test_a_control_groups_limit_counts_and_its_file_pages_do_not(
    tmp_path, monkeypatch, version, expected
):
    names = {
        "": ("memory.max", "memory.current", "inactive_file"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    limit, used, files = names[version]
    inner = tmp_path / version / "jobs" / "one"
    inner.mkdir(parents=True)
    endless = "9223372036854771712" if version else "max"
    for folder, allowed in ((inner, endless), (inner.parent, "1000")):
        (folder / limit).write_text(allowed)
        (folder / used).write_text("500")
        (folder / "memory.stat").write_text(f"anon 300\n{files} 200\n")
    monkeypatch.setattr(processors, "GROUPS", tmp_path)
    own = tmp_path / "cgroup"
    own.write_text(f"{'4' if version else '0'}:{version}:/jobs/one\n1:cpu:/\n")
    monkeypatch.setattr(processors, "OWN_GROUPS", own)
    assert machine.free_memory() == expected
    own.unlink()
    assert machine.free_memory() > 10**6  # a system without control groups has what it has


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted anew on Linux alone")
def test_the_peak_of_memory_sees_what_was_held_since_it_was_reset():
    block = bytearray(b"x" * (200 << 20))
    before = machine.peak_memory()
    del block
    machine.reset_peak_memory()
    after = machine.peak_memory()
    if after == before:
        pytest.skip("this system does not let a process reset its peak")
    assert before - after > 150 << 20


@pytest.mark.parametrize("count", [1, 2])
def test_a_limit_of_threads_binds_torch_and_all_that_runs_beside_it(threads_as_before, count):
    machine.set_threads(count)
    assert (torch.get_num_threads(), threads()) == (count, count)
    machine.set_threads(None)
    assert threads() == min(count, processors.processors())
    seen = set()
    with workers() as each:
        each(lambda _: seen.add(threading.get_ident()), range(100))
    assert len(seen) <= count


def test_a_limit_of_threads_binds_a_blas_that_nobody_has_used_yet():
    program = (
        "from adbench.system.machine import set_threads; set_threads(1);"
        "import scipy.linalg; from threadpoolctl import threadpool_info;"
        "print({i['num_threads'] for i in threadpool_info() if i['user_api'] == 'blas'})"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "{1}"


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (machine.device_name("auto"), machine.device_name("cpu")) == ("cpu", "cpu")
    with pytest.raises(
        AdbenchError, match=r"device cuda:1: torch .* finds no CUDA device; use dev"
    ):
        machine.device_name("cuda:1")
    for name in ("gpu", "CPU", "cuda:", ""):
        with pytest.raises(AdbenchError, match="is auto, cpu, cuda or cuda:N"):
            machine.device_name(name)


def test_a_gpu_of_a_number_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.device_name("cuda:1") == "cuda:1"
    with pytest.raises(AdbenchError, match="device cuda:2: the last CUDA device here is cuda:1"):
        machine.device_name("cuda:2")


@pytest.mark.parametrize(
    ("device", "waits"), [("cpu", []), ("cuda:1", ["cuda:1"]), ("auto", ["cuda"])]
)
def test_waiting_is_for_the_device_that_computes(monkeypatch, device, waits):
    waited = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    machine.synchronise(device)
    assert waited == waits


def test_the_description_names_versions_threads_and_commit(threads_as_before):
    machine.set_threads(1)
    known = machine.describe("cpu")
    assert (known["device"], known["threads"], known["cores"]) == ("cpu", 1, os.cpu_count())
    assert known["versions"]["adbench"] == adbench.__version__
    assert known["versions"]["torch"] == importlib.metadata.version("torch")
    assert ("openvino" in known["versions"]) is (machine.version("openvino") is not None)
    assert "no-such-package" not in known["versions"]
    assert machine.version("no-such-package") is None


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    words = ("git", *identity, "-C", str(folder), *words)
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository around a package."""
    folder = tmp_path / "checkout"
    (folder / "adbench").mkdir(parents=True)
    git(folder, "init", "-q")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_the_commit_is_that_of_the_checkout_or_of_the_wheel_and_else_unknown(checkout):
    package = checkout / "adbench"
    commit = git(checkout, "rev-parse", "HEAD")
    assert origin.commit(package) == commit
    assert (
        origin.commit(package / "inside" / "another") is None
    )  # not that of the repository around
    (package / "commit.txt").write_text("abc\n")
    assert origin.commit(package) == "abc"


@pytest.mark.slow
@pytest.mark.parametrize("with_git", [True, False])
def test_wheel_and_archive_carry_the_commit_where_git_knows_it(tmp_path, checkout, with_git):
    pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    for name in ("adbench", "configs"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, dirs_exist_ok=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, checkout / name)
    commit = f"{git(checkout, 'rev-parse', 'HEAD')}\n"
    if not with_git:
        shutil.rmtree(checkout / ".git")
    there = sorted(checkout.rglob("*"))
    program = "import sys, hatchling.build as b; a = sys.argv[1];"
    program += "print(b.build_wheel(a), b.build_sdist(a))"

    def built(folder: Path, place: Path) -> list[Path]:
        words = [sys.executable, "-B", "-c", program, str(place)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
        return [place / name for name in done.stdout.split()]

    def commit_in(wheel: Path) -> str | None:
        with zipfile.ZipFile(wheel) as file:
            inside = "adbench/commit.txt"
            return file.read(inside).decode() if inside in file.namelist() else None

    wheel, archive = built(checkout, tmp_path / "built")
    assert sorted(checkout.rglob("*")) == there
    assert commit_in(wheel) == (commit if with_git else None)
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    wheel, _ = built(source, tmp_path / "rebuilt")
    assert commit_in(wheel) == (commit if with_git else None)
