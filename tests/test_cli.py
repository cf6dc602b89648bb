"""The commands as a user runs them: in an empty folder, and what works in a process of its own where that matters."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from adbench.cli import main

TIMES = ("_p50", "_p95", "_seconds", "_bytes")
SMALL = ["dataset.categories=[bottle]", "timing.repeats=2", "timing.warmup=0", "heatmaps=2"]


def adbench(folder, *words, check=True, env=None, **options):
    program = "import sys; from adbench.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "ADBENCH_CACHE": str(folder / "cache"), **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def inside(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, which spares the seconds that importing torch takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))

    def run(*words, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["adbench", *words])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Done(end.value.code or 0, captured.out, captured.err)

    return run


def table(folder, name="*.csv"):
    """The rows of the only table, without times and sizes, which differ from run to run."""
    (path,) = (folder / "runs" / "tables").glob(name)
    with path.open() as file:
        return [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in csv.DictReader(file)]


@pytest.fixture
def mvtec_root(tmp_path, make_category):
    """Two small categories of random pixels."""
    for category in ("bottle", "grid"):
        make_category(tmp_path / "images", category, edge=64)
    return tmp_path / "images"


def mvtec(root):
    return ["dataset=mvtec", f"dataset.root={root}"]


def test_run_measures_writes_and_the_second_run_skips(tmp_path, mvtec_root):
    first = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL)
    assert "image AUROC" in first.stdout
    rows = table(tmp_path)
    assert [r["category"] for r in rows] == ["bottle", "mean"]
    assert 0 <= float(rows[0]["image_auroc"]) <= 1
    assert len(list((tmp_path / "runs" / "heatmaps").rglob("*.png"))) == 2
    (csv_path,) = (tmp_path / "runs" / "tables").glob("*.csv")
    before = csv_path.read_bytes()
    second = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL)
    assert "has a record, skipped" in second.stdout
    assert csv_path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=patchcor"], "patchcor"),
        (["method.kk=3"], r"method.kk=3: unknown setting; did you mean k?"),
        (["method.k=three"], "method.k: Input should be a valid integer, got 'three'"),
        (["method.ratio=0"], "method.ratio: Input should be greater than 0"),
        (["colour=red"], "colour=red: unknown setting"),
        (["seed=-1"], "run.seed: Input should be greater than or equal to 0, got -1"),
        (["-m", "method.ratio=0.1,2"], "method.ratio: Input should be less than or equal to 1, got 2"),
        (["device=gpu"], "device"),
        (["dataset=mvtec", "dataset.root=nowhere"], "nowhere"),
        (["method.ratio=[0.1"], "method.ratio"),
    ],
)
def test_a_wrong_word_is_refused_before_any_work(tmp_path, inside, words, message):
    done = inside("run", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "records").exists()


def test_hydras_own_flags_work(inside):
    assert "ratio: 0.25" in inside("run", "method.ratio=0.25", "--cfg", "job").stdout
    assert "adbench list methods" in inside("run", "--help").stdout


@pytest.mark.parametrize(
    ("line", "completion"),
    [("adbench r", "run"), ("adbench run method=", "method=padim"), ("adbench run method.ra", "method.ratio=")],
)
def test_completion_knows_commands_groups_and_settings(inside, line, completion):
    assert completion in inside("-sc", "query=bash", COMP_LINE=line).stdout.split()


def test_list_names_every_preset(inside):
    listed = inside("list").stdout
    for choice in ("demo", "mvtec", "efficientnet_lite0", "patchcore", "padim", "spade", "crd", "crop224"):
        assert choice in listed


def test_data_check_counts_and_names_problems(inside, mvtec_root):
    good = inside("data", "check", *mvtec(mvtec_root))
    assert (good.returncode, "no problems found" in good.stdout) == (0, True)
    next((mvtec_root / "bottle" / "ground_truth").rglob("*.png")).unlink()
    bad = inside("data", "check", *mvtec(mvtec_root))
    assert bad.returncode == 1
    assert "bottle: " in bad.stdout
    assert "mask" in bad.stdout


def test_a_broken_category_does_not_lose_the_others(tmp_path, mvtec_root):
    victim = sorted((mvtec_root / "grid" / "test").rglob("*.png"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    done = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL, "dataset.categories=[grid,bottle]", check=False)
    assert done.returncode == 1
    assert victim.name in done.stderr
    assert [r["category"] for r in table(tmp_path)] == ["bottle", "mean"]


def test_a_results_folder_that_cannot_be_written_is_named(tmp_path, mvtec_root):
    (tmp_path / "runs").write_text("in the way")
    done = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL, check=False)
    assert done.returncode != 0
    assert "runs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
def test_a_full_disk_costs_the_cache_but_no_number(tmp_path, mvtec_root):
    import resource

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL)
    undisturbed = table(tmp_path)
    (tmp_path / "full").mkdir()
    done = adbench(tmp_path / "full", "run", *mvtec(mvtec_root), *SMALL, preexec_fn=small_files_only)
    assert "cannot keep features" in done.stderr
    assert table(tmp_path / "full") == undisturbed


def test_a_damaged_cache_is_made_again(tmp_path, mvtec_root):
    adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL)
    undisturbed = table(tmp_path)
    for path in (tmp_path / "cache" / "features").rglob("*.npy"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    done = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL, "existing=redo")
    assert "is damaged" in done.stderr
    assert table(tmp_path) == undisturbed


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_run_goes_on_and_ends_with_the_same_table(tmp_path, mvtec_root):
    words = ["run", *mvtec(mvtec_root), *SMALL, "dataset.categories=[bottle,grid]"]
    (tmp_path / "undisturbed").mkdir()
    adbench(tmp_path / "undisturbed", *words)
    program = "import sys; from adbench.cli import main; main(sys.argv[1:])"
    env = {**os.environ, "ADBENCH_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL
    )
    records = tmp_path / "runs" / "records"
    while process.poll() is None and not list(records.glob("*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = adbench(tmp_path, *words)
    assert "bottle: has a record, skipped" in done.stdout
    assert table(tmp_path) == table(tmp_path / "undisturbed")


def test_a_sweep_extracts_and_selects_once_and_ends_with_a_table(tmp_path, mvtec_root):
    done = adbench(tmp_path, "run", "-m", *mvtec(mvtec_root), *SMALL, "method.ratio=0.05,0.2", "method.k=1,3")
    assert "sweep.csv" in done.stdout
    (sweep,) = (tmp_path / "runs" / "sweeps").rglob("sweep.csv")
    with sweep.open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["method.ratio"], r["method.k"]) for r in rows] == [
        ("0.05", "1"),
        ("0.05", "3"),
        ("0.2", "1"),
        ("0.2", "3"),
    ]
    assert len({r["record"] for r in rows}) == 4
    features = list((tmp_path / "cache" / "features").iterdir())
    assert len(features) == 2  # training and test images
    assert len(list((tmp_path / "cache" / "derived").glob("greedy-*.memo"))) == 1


def test_a_sweep_whose_job_fails_says_so_and_keeps_the_rest(tmp_path, mvtec_root):
    done = adbench(tmp_path, "run", "-m", *mvtec(mvtec_root), *SMALL, "method.ratio=0.00001,0.1", check=False)
    assert done.returncode == 1
    assert "keeps 0 of" in done.stderr
    assert [r["category"] for r in table(tmp_path)] == ["bottle", "mean"]


def test_one_and_two_threads_give_the_same_numbers(tmp_path, mvtec_root):
    found = []
    for threads in (1, 2):
        (tmp_path / str(threads)).mkdir()
        adbench(tmp_path / str(threads), "run", *mvtec(mvtec_root), *SMALL, f"threads={threads}")
        found.append([{k: v for k, v in r.items() if k != "threshold"} for r in table(tmp_path / str(threads))])
    assert found[0] == found[1]


def test_a_wheel_runs_in_an_empty_folder(tmp_path):
    """The wheel holds the configs: unpacked alone, it composes and lists."""
    hatchling = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    root = Path(__file__).parent.parent
    here = os.getcwd()
    os.chdir(root)
    try:
        wheel = hatchling.build_wheel(str(tmp_path))
    finally:
        os.chdir(here)
    import zipfile

    zipfile.ZipFile(tmp_path / wheel).extractall(tmp_path / "site")
    program = "from adbench.cli import main; main(['run', '--cfg', 'job'])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "empty", env=environment, capture_output=True, text=True
    )
    assert "PatchCore" in done.stdout, done.stderr
