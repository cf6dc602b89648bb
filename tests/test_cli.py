"""The commands as a user runs them: in an empty folder, and in processes of their own."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import SMALL, adbench, mvtec, table
from made_plugin import install, presets
from sklearn.metrics import roc_auc_score

from adbench.cli.main import COMMANDS, LISTED, main
from adbench.config.compose import Configs
from adbench.evaluation.metrics import METRICS


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def inside(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, which saves the seconds that importing torch takes."""
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


@pytest.fixture
def mvtec_root(tmp_path, make_category):
    """Two small categories of random pixels."""
    for category in ("bottle", "grid"):
        make_category(tmp_path / "images", category, edge=64)
    return tmp_path / "images"


@pytest.mark.slow
def test_run_measures_writes_and_the_second_run_skips(tmp_path, mvtec_root):
    first = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL)
    assert "image AUROC" in first.stdout
    found = table(tmp_path)
    assert [r["category"] for r in found] == ["bottle", "mean"]
    (raw,) = (tmp_path / "runs" / "records").glob("*.scores.csv")
    with raw.open() as file:
        scores = list(csv.DictReader(file))
    labels, values = zip(*((int(s["anomalous"]), float(s["score"])) for s in scores), strict=True)
    assert float(found[0]["image_auroc"]) == pytest.approx(roc_auc_score(labels, values), abs=1e-6)
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
        (["method.k=three"], "method.k: must be an integer, got 'three'"),
        (["method.ratio=0"], "method.ratio: must be greater than 0, got 0"),
        (
            ["method.projection=gaussian"],
            "method.projection=gaussian: unknown setting; did you mean method.coreset.projection?",
        ),
        (["method.eps=0.7"], "method.eps=0.7: eps is read only where"),
        (["colour=red"], "colour=red: unknown setting"),
        (["seed=-1"], "seed: must be greater than or equal to 0, got -1"),
        (
            ["-m", "method.ratio=0.1,2"],
            "method.ratio: must be less than or equal to 1, got 2",
        ),
        (
            ["method.ratio=0.1,2", "-m"],
            "method.ratio: must be less than or equal to 1, got 2",
        ),
        (["device=gpu"], "device"),
        (["dataset=mvtec", "dataset.root=nowhere"], "nowhere"),
        (["method.ratio=[0.1"], "method.ratio"),
        (["hydra.swep.dir=x"], "hydra.swep.dir"),
        (["--config-dir", "nowhere"], "nowhere: there is no such folder"),
        (["--config-dir"], "a folder must follow"),
        (["run.seed=3"], "run.seed=3: unknown setting; did you mean seed?"),
        (
            ["+experiment.seed=5"],
            "experiment: nothing reads seed below it; leave 'experiment.' out",
        ),
        (["+other=3"], "other: unknown setting; the config has "),
        (["+method.other=3"], "method.other: unknown setting"),
        (["dataset.categories=[5]"], """quoted twice: "dataset.categories=['5']\""""),
        (["dataset.categories=[01]"], "must be 'denim' or 'flange', got '01'"),
        (["results=a,b"], """one text with a comma is quoted twice: "results='a,b'\""""),
        (["--help", "x"], "x: not key=value"),
        (["--cfg"], "--cfg/-c: expected one argument"),
        (["--cfg", "jobs"], "no 'jobs'; did you mean job?"),
        (["--multi-run"], "no '--multi-run'; did you mean --multirun?"),
        (["--config-name", "none_such"], "none_such.yaml: there is no such file"),
        (["hydra/launcher=joblib"], "spreads a sweep, which needs -m: adbench run -m hydra/launch"),
        (["launcher=joblib"], "launcher=joblib: is a word of reproduce; here it is hydra/launcher"),
        (["-m", "hydra/launcher=slrum"], "there is no such launcher; did you mean slurm"),
        (["--experimental-rerun", "x"], "--experimental-rerun: a pickled config"),
    ],
)
def test_a_wrong_word_is_refused_before_any_work(tmp_path, inside, words, message):
    done = inside("run", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    for theirs in ("Traceback", "Input should", "hydra.cc", "Config search path", "override '"):
        assert theirs not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [["method.ratio=0.25", "--cfg", "job"], ["--cfg", "job", "method.ratio=0.25"]],
)
def test_hydras_own_flags_work_in_any_order(inside, words):
    assert "ratio: 0.25" in inside("run", *words).stdout


def test_hydras_help_is_ours(inside):
    assert "adbench list methods" in inside("run", "--help").stdout


@pytest.mark.parametrize(
    ("line", "completion"),
    [
        ("adbench r", "run"),
        ("adbench run method=", "method=padim"),
        ("adbench run method.ra", "method.ratio="),
    ],
)
def test_completion_knows_commands_groups_and_settings(inside, line, completion):
    assert completion in inside("-sc", "query=bash", COMP_LINE=line).stdout.split()


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_names_every_command(inside, words):
    done = inside(*words)
    lines = [line for line in done.stdout.splitlines() if line.startswith("    ")]
    assert {line.split()[0] for line in lines} >= set(COMMANDS)
    assert done.returncode == 0


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_help_tells_the_exit_statuses(inside, command):
    shown = " ".join(inside(*filter(None, [command]), "--help").stdout.split()).lower()
    own = {
        "fit": "0 the file is written, 2 a word or a setting is wrong",
        "predict": "0 every row is without an error, 1 some have one, 2 a word or the detector is",
        "export": "0 the graph is written, 2 a word is wrong",
        "score": "0 all categories have a record, 1 some have not, 2 a word is wrong",
    }
    assert f"exit status: {own.get(command, '0 all went well, 1 something failed')}" in shown
    assert command in own or "2 a word or a setting is wrong" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "no 'lst'; did you mean list?"),
        (["list", "metods"], "list: no 'metods'; did you mean methods?"),
        (["table"], "table: the following arguments are required: table;"),
        (["data", "chek"], "data: no 'chek'; did you mean check?"),
        (["table", "all", "--jsn"], "no '--jsn'"),
        (["table", "all", "resultz=x"], "resultz=x: unknown setting; did you mean results?"),
        (["claims", "results=a,b"], "results=a,b: several values make a sweep"),
    ],
)
def test_a_wrong_word_of_any_command_is_answered_with_the_nearest(inside, words, message):
    done = inside(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "usage:" not in done.stderr


def test_a_group_is_listed_by_its_own_name_too(inside):
    for one, many in (("method", "methods"), ("geometry", "geometries")):
        assert inside("list", one).stdout == inside("list", many).stdout


def test_the_version_names_the_distribution_and_the_commit(inside):
    shown = inside("--version").stdout
    commit = "(commit [0-9a-f]{40}|of an unknown commit)"
    assert re.fullmatch(rf"adbench \S+ \(distribution adbench-vision, {commit}\)\n", shown)
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["name"] == "adbench-vision"


def test_list_names_all_there_is(inside):
    listed = [line.split()[0] for line in inside("list").stdout.splitlines()]
    groups = ("dataset", "geometry", "backbone", "method", "experiment", "table")
    for group in groups:
        assert set(Configs().choices(group)) <= set(listed)
    assert {metric.name for metric in METRICS} <= set(listed)
    assert set(LISTED) <= set(listed)


def test_data_check_counts_and_names_problems(inside, mvtec_root):
    good = inside("data", "check", *mvtec(mvtec_root))
    assert (good.returncode, "no problems found" in good.stdout) == (0, True)
    next((mvtec_root / "bottle" / "ground_truth").rglob("*.png")).unlink()
    bad = inside("data", "check", *mvtec(mvtec_root))
    assert bad.returncode == 1
    assert "bottle: " in bad.stdout
    assert "mask" in bad.stdout


def test_data_check_names_a_wrong_word(inside, mvtec_root):
    done = inside("data", "check", *mvtec(mvtec_root), "dataset.rot=x")
    assert done.returncode == 2
    assert "dataset.rot=x: unknown setting; did you mean root?" in done.stderr


@pytest.mark.slow
@pytest.mark.fault("image", shows="kept")
def test_a_broken_category_does_not_lose_the_others(tmp_path, mvtec_root):
    victim = sorted((mvtec_root / "grid" / "test").rglob("*.png"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    words = [*mvtec(mvtec_root), *SMALL, "dataset.categories=[grid,bottle]"]
    done = adbench(tmp_path, "run", *words, check=False)
    assert done.returncode == 1
    assert victim.name in done.stderr
    assert [r["category"] for r in table(tmp_path)] == ["bottle", "mean"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
@pytest.mark.fault("results folder", shows="error")
def test_a_results_folder_that_cannot_be_written_is_named(tmp_path, mvtec_root, more):
    (tmp_path / "runs").write_text("in the way")
    done = adbench(tmp_path, "run", *mvtec(mvtec_root), *SMALL, *more, check=False)
    assert done.returncode != 0
    assert "runs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
@pytest.mark.fault("cache", shows="kept")
def test_a_full_disk_costs_the_cache_but_no_number(tmp_path, mvtec_root):
    import resource

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    words = ["run", *mvtec(mvtec_root), *SMALL]
    adbench(tmp_path, *words)
    undisturbed = table(tmp_path)
    (tmp_path / "full").mkdir()
    done = adbench(tmp_path / "full", *words, preexec_fn=small_files_only)
    assert "cannot keep features" in done.stderr
    assert table(tmp_path / "full") == undisturbed


@pytest.mark.slow
@pytest.mark.fault("cache", shows="kept")
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
@pytest.mark.fault("results folder", shows="kept")
def test_a_killed_run_goes_on_and_ends_with_the_same_table(tmp_path, mvtec_root):
    words = ["run", *mvtec(mvtec_root), *SMALL, "dataset.categories=[bottle,grid]"]
    (tmp_path / "undisturbed").mkdir()
    adbench(tmp_path / "undisturbed", *words)
    process = subprocess.Popen(
        [sys.executable, "-m", "adbench", *words],
        cwd=tmp_path,
        env={**os.environ, "ADBENCH_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
    )
    records = tmp_path / "runs" / "records"
    while process.poll() is None and not list(records.glob("*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = adbench(tmp_path, *words)
    assert "bottle: has a record, " in done.stdout  # skipped, or completed with its time
    assert table(tmp_path) == table(tmp_path / "undisturbed")


@pytest.mark.slow
def test_one_and_two_threads_give_the_same_numbers(tmp_path, mvtec_root):
    """Every number but times and sizes: the metrics, their intervals and the threshold."""
    found = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        words = [*mvtec(mvtec_root), *SMALL, "threshold=train", f"threads={threads}"]
        adbench(folder, "run", *words)
        found.append(table(folder))
    assert float(found[0][0]["threshold"]) > 0
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_registered_package_adds_a_method_to_every_command(tmp_path, mvtec_root):
    """Its preset is listed, shown by Hydra and measured like ours, through --config-dir."""
    where = {"PYTHONPATH": str(install(tmp_path / "site"))}
    mine = ["--config-dir", str(presets(tmp_path / "mine"))]
    listed = adbench(tmp_path, "list", "methods", *mine, env=where).stdout
    assert "  widget " in listed
    shown = adbench(tmp_path, "run", *mine, "method=widget", "--cfg", "job", env=where).stdout
    assert "_target_: adbench_widget.method.Method" in shown
    words = ["method=widget", "method.n=2", *mvtec(mvtec_root), *SMALL]
    done = adbench(tmp_path, "run", *words, *mine, env=where)
    assert "widget" in done.stdout
    assert [r["category"] for r in table(tmp_path, "*widget*.csv")] == ["bottle", "mean"]


@pytest.mark.parametrize(
    "words",
    [
        "report results=empty out=new/x.html",
        "plot results=new method=crd method=padim",
        "score empty name=tool version=1 dataset=demo results=new",
        "fit dataset=folder dataset.normal=photos out=new/x.safetensors",
        "run dataset=mvtec dataset.root=empty results=new",
        "data prepare mpdd broken.zip out=new/inner/MPDD",
    ],
)
@pytest.mark.fault("results folder", shows="error")
def test_a_command_that_cannot_begin_leaves_no_folder(inside, tmp_path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and no more")
    assert inside(*words.split()).returncode == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {"cache"} == {"empty", "photos", "broken.zip"}


@pytest.mark.slow
@pytest.mark.fault("YAML", shows="inert")
def test_an_unregistered_package_is_refused_and_not_imported(tmp_path):
    where = {"PYTHONPATH": str(install(tmp_path / "site", registered=False))}
    mine = ["--config-dir", str(presets(tmp_path / "mine"))]
    assert "  widget " in adbench(tmp_path, "list", "methods", *mine, env=where).stdout
    done = adbench(tmp_path, "run", "method=widget", *mine, env=where, check=False)
    assert done.returncode == 2
    assert "entry point of the group adbench.plugins" in done.stderr
    assert not list(tmp_path.rglob("imported"))


@pytest.mark.slow
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
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    where = {"PYTHONPATH": str(tmp_path / "site")}
    shown = adbench(tmp_path / "empty", "run", "--cfg", "job", env=where).stdout
    assert "PatchCore" in shown
