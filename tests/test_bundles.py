"""Sweeps in bundles: what is handed out, what comes back, and what is lost with a process."""

import csv
import errno
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from commands import adbench, rows
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from made_runs import plans
from omegaconf import open_dict

from adbench.bench.bundles import Bundle, bundles
from adbench.bench.run import Outcome
from adbench.cli.bundles import CONTROLLER, _collect, ended_with_the_sweep, launched_apart
from adbench.cli.main import main
from adbench.cli.seats import Seats
from adbench.features import extract
from adbench.results.records import load_all

MADE = "# A launcher of the tests.\n_target_: hydra_plugins.made.LastFirst\nlost: {lost}\n"
EXTRAS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


class LastFirst(Launcher):
    """Runs what it is given in this process, the last first; some of its jobs are lost."""

    def __init__(self, lost=()):
        self.lost = lost

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        setup_globals()
        returned = [
            self.run(initial_job_idx + place, list(words))
            for place, words in reversed(list(enumerate(job_overrides)))
            if initial_job_idx + place not in self.lost
        ]
        if self.lost:
            raise RuntimeError("a node is gone")
        return returned[::-1]

    def run(self, number, words):
        config = self.context.config_loader.load_sweep_config(self.config, words)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        return run_job(
            hydra_context=self.context,
            task_function=pickle.loads(pickle.dumps(self.task)),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


@pytest.fixture
def images(tmp_path, make_category):
    for number, category in enumerate(("bottle", "grid")):
        make_category(tmp_path / "images", category, edge=64 + 16 * number)
    return [
        "dataset=mvtec",
        f"dataset.root={tmp_path / 'images'}",
        "dataset.categories=[bottle,grid]",
        "geometry.resize=64",
        "geometry.crop=64",
    ]


@pytest.fixture
def command(tmp_path, images, monkeypatch):
    """Runs ``adbench`` with words and the launcher ``made``; gives the exit status."""
    monkeypatch.setitem(
        Plugins.instance().class_name_to_class, "hydra_plugins.made.LastFirst", LastFirst
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))

    def run(*words, lost=()):
        folder = tmp_path / "configs" / "hydra" / "launcher"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "made.yaml").write_text(MADE.format(lost=list(lost)))
        with pytest.raises(SystemExit) as ended:
            main([*words, *images, "heatmaps=0", "--config-dir", str(tmp_path / "configs")])
        return ended.value.code

    return run


def numbers(folder):
    """What the records of a folder of results say, but for what depends on the clock."""
    return {r.id: (r.identity, r.metrics, r.intervals) for r in load_all(folder / "records")}


def tables(folder):
    found = {path.name: rows(path) for path in (folder / "tables").glob("*.csv")}
    (sweep,) = (folder / "sweeps").glob("*/sweep.csv")
    return found | {"sweep": rows(sweep)}


def test_a_bundle_is_a_category_and_all_settings_that_read_the_same_features(tmp_path, images):
    jobs = plans(
        tmp_path,
        "method=patchcore method.layers=[2,3]",
        "method=padim method.layers=[1,2]",
        "method=padim geometry.crop=32",
        "method=crd method.lambda_=2",
        common=images,
    )
    numbered = dict(zip((0, 1, 4, 7), jobs, strict=True))  # the others were impossible
    whole, crop = ([1, 2, 3], False), (jobs[2].detector.reads()[0], False)
    assert bundles(numbered) == [
        Bundle("bottle", (0, 1, 7), whole),
        Bundle("grid", (0, 1, 7), whole),
        Bundle("bottle", (4,), crop),
        Bundle("grid", (4,), crop),
    ]
    assert [(b.category, b.jobs) for b in bundles(numbered, "settings")] == [
        *(("bottle", (job,)) for job in (0, 1, 7)),
        *(("grid", (job,)) for job in (0, 1, 7)),
        ("bottle", (4,)),
        ("grid", (4,)),
    ]
    assert all(b.reads == whole for b in bundles(numbered, "settings")[:6])


@pytest.mark.slow
@pytest.mark.parametrize("split", ["features", "settings"])
def test_bundles_in_any_order_give_what_one_process_gives(
    tmp_path, command, monkeypatch, capsys, split
):
    words = ["run", "-m", "method=padim", "method.layers=[2,3],[1,2]", "timing.enabled=false"]
    assert command(*words, "results=one") == 0
    alone = capsys.readouterr()
    made = []
    writer = extract.writer
    monkeypatch.setattr(
        extract, "writer", lambda path, shape: made.append(path) or writer(path, shape)
    )
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "fresh"))
    assert command(*words, "results=many", "hydra/launcher=made", f"split={split}") == 0
    found = capsys.readouterr()
    assert f"in {2 if split == 'features' else 4} bundles" in found.out
    assert len(made) == len(set(made)) == 2 * 2 * 3  # category, train and test, layer
    assert len({path.parent for path in made}) == 4
    assert numbers(tmp_path / "many") == numbers(tmp_path / "one")
    for here, there in zip(
        *(tables(tmp_path / name).items() for name in ("one", "many")), strict=True
    ):
        assert here == there
    jobs = ["job 0: ", "job 1: "]
    for shown in (alone, found):
        assert [line[:7] for line in shown.out.splitlines() if line[:7] in jobs] == jobs
    (sweep,) = (tmp_path / "many" / "sweeps").iterdir()
    (other,) = (tmp_path / "one" / "sweeps").iterdir()
    assert sorted(p.name for p in sweep.iterdir()) == sorted(p.name for p in other.iterdir())
    assert any("job 1" in line for line in found.out.splitlines() if "image AUROC " in line)


@pytest.mark.slow
def test_what_is_lost_with_a_process_is_named_and_the_same_command_goes_on(
    tmp_path, command, capsys
):
    words = ["run", "-m", "method=padim", "seed=0,1", "hydra/launcher=made"]
    assert command(*words, lost=[0]) == 1
    told = capsys.readouterr().err
    assert "bottle, jobs 0, 1: no result: the launcher ended with RuntimeError: a node is" in told
    assert "the same command goes on from there" in told
    assert "2 failures in this sweep" in told
    assert {r.category for r in load_all(tmp_path / "runs" / "records")} == {"grid"}
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    with (sweep / "sweep.csv").open() as file:
        assert {row["category"] for row in csv.DictReader(file)} <= {"grid", "mean"}
    assert command(*words, "--json") == 0
    shown = capsys.readouterr()
    jobs = json.loads(shown.out)["jobs"]
    assert [[c["category"] for c in job["categories"]] for job in jobs] == [["bottle", "grid"]] * 2
    assert "grid, job 0: has a record, skipped" in shown.err


@pytest.mark.slow
def test_a_failure_in_a_bundle_keeps_its_reason_and_the_rest(tmp_path, command, capsys):
    sweep = ["method=patchcore", "method.ratio=0.0001,0.5", "timing.enabled=false"]
    assert command("run", "-m", *sweep, "hydra/launcher=made") == 1
    assert "bottle, job 0: " in (told := capsys.readouterr().err)
    assert "keeps 0 of" in told
    assert len(load_all(tmp_path / "runs" / "records")) == 2
    (job,) = (tmp_path / "runs" / "sweeps").glob("*/job-0.json")
    assert "keeps 0 of" in json.loads(job.read_text())["failures"]["grid"]


@pytest.mark.slow
def test_a_table_is_reproduced_by_a_launcher(tmp_path, command, capsys):
    words = ["reproduce", "belloni2023_table1", "backbone=efficientnet_lite0", "threshold=none"]
    words += ["timing.enabled=false", "method.ratio=0.5"]
    assert command(*words, "launcher=made", "results=many") == 0
    assert "2 jobs in 2 bundles" in capsys.readouterr().out
    assert command(*words, "results=one") == 0
    assert numbers(tmp_path / "many") == numbers(tmp_path / "one")
    assert command(*words, "split=settings") == 2
    assert "side by side" in capsys.readouterr().err


@pytest.mark.slow
def test_time_alone_is_added_to_what_exists_and_makes_nothing(tmp_path, command, capsys):
    quick = ["method=padim", "timing.repeats=2", "timing.warmup=0"]
    assert command("run", *quick, "timing=only") == 1
    assert "2 records do not exist" in capsys.readouterr().err
    assert not list((tmp_path / "runs").rglob("*.json"))
    assert command("run", "-m", *quick, "hydra/launcher=made") == 0
    before = {r.id: r for r in load_all(tmp_path / "runs" / "records")}
    assert not any(r.time for r in before.values())
    said = "not taken beside other jobs (LastFirst); {} without a launcher {}"
    hints = {"time": ("timing=only", "adds it"), "fit": ("existing=redo", "measures all again")}
    for name, hint in hints.items():
        key = name if name == "time" else f"seconds.{name}"
        assert {r.reasons[key] for r in before.values()} == {said.format(*hint)}
    assert command("run", "-m", *quick, "method.layers=[1,2,3],[2,3]", "timing=only") == 0
    shown = capsys.readouterr()
    assert "bottle, job 0: has a record, completed with what it lacked" in shown.out
    assert "grid, job 1: has no record to which time could be added" in shown.out
    assert "2 records do not exist" in shown.err
    after = {r.id: r for r in load_all(tmp_path / "runs" / "records")}
    assert after.keys() == before.keys()
    assert all(r.time and r.metrics == before[name].metrics for name, r in after.items())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-m", "timing=only", "hydra/launcher=made"], "one job after the other"),
        (["timing=only", "timing.enabled=false"], "timing.enabled=false is set"),
        (["timing=only", "existing=redo"], "leave existing=redo out"),
        (["-m", "split=settings"], "choose one, such as joblib"),
        (["-m", "split=seeds", "hydra/launcher=made"], "split=features or split=settings"),
    ],
)
def test_words_that_contradict_each_other_are_refused_before_any_work(
    tmp_path, command, capsys, words, why
):
    assert command("run", *words) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.fault("words", shows="error")
@pytest.mark.parametrize(
    ("launcher", "word", "why"),
    [
        ("joblib", "n_jobs", "is a number of processes, or -1"),
        ("slurm", "array_parallelism", "is how many jobs are in the queue at a time, 1 or more"),
    ],
)
def test_room_for_no_bundle_is_refused(command, capsys, monkeypatch, launcher, word, why):
    pytest.importorskip(EXTRAS[launcher])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    zero = f"hydra.launcher.{word}=0"
    assert command("run", "-m", f"hydra/launcher={launcher}", zero) == 2
    assert f"{zero}: {why}" in capsys.readouterr().err


@pytest.mark.slow
def test_bundles_with_screens_of_their_own_are_told_to_machines(tmp_path, images):
    pytest.importorskip(EXTRAS["slurm"])
    words = ["run", "-m", *images, "method=padim,crd", "timing.enabled=false", "heatmaps=0"]
    (tmp_path / "images" / "grid" / "train" / "good" / "000.png").write_bytes(b"")
    done = adbench(
        tmp_path, *words, "hydra/launcher=slurm_local", "progress=json", check=False,
        env={"PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    told = [json.loads(line) for line in done.stderr.splitlines()]
    of = {kind: {(e["category"], *e["jobs"]) for e in told if e["event"] == kind}
          for kind in ("record", "failure")}  # fmt: skip
    assert of["record"] == {("bottle", 0), ("bottle", 1)}
    assert of["failure"] == {("grid", 0), ("grid", 1)}
    assert (told[-1]["event"], told[-1]["status"]) == ("exit", 1)


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(
    command, capsys, monkeypatch, extra
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in EXTRAS.values() else find(name)
    )
    assert command("run", "-m", f"hydra/launcher={extra}") == 2
    assert f"run pip install 'adbench-vision[{extra}]'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_who_waits_for_a_process_that_is_killed_goes_on(tmp_path):
    code = (
        "import sys, time; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(100)"
    )
    path = tmp_path / "lock"
    maker = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    maker.stdout.readline()
    waiter = (
        "import sys; from filelock import FileLock; from adbench.system.waiting import turn\n"
        "with turn(FileLock(sys.argv[1]), 'makes features', 0.1): print('mine')"
    )
    waits = subprocess.Popen(
        [sys.executable, "-c", waiter, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert b"waiting for another process that makes features" in waits.stderr.readline()
    os.kill(maker.pid, signal.SIGKILL)
    assert waits.communicate()[0] == b"mine\n"
    maker.communicate()


class Queue:
    """A launcher that ends the thread with one bundle, and loses another."""

    def launch(self, job_overrides, initial_job_idx):
        if initial_job_idx == 1:
            raise SystemExit(3)
        if initial_job_idx == 2:
            return []
        return [JobReturn(overrides=job_overrides[0], status=JobStatus.COMPLETED)]


@pytest.mark.fault("process", shows="kept")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("together", [1, 2, 9])
def test_a_bundle_that_ends_its_thread_keeps_no_other_waiting(together):
    heads = {number: ["seed=0"] for number in range(5)}
    found = dict(launched_apart(Queue(), heads, Seats(together, apart=True)))
    assert {number for number, why in found.items() if why is None} == {0, 3, 4}
    assert found[1] == "the launcher ended with SystemExit: 3"
    assert found[2].startswith("the launcher ended with ValueError: ")


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_the_bundles_of_a_sweep_that_is_ended_end_with_it():
    sleeps = "import time; print('up', flush=True); time.sleep(100)"
    starts = (
        "import subprocess, sys; task = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "print(task.pid, flush=True); task.wait()"
    )
    words = [sys.executable, "-c", starts, sleeps, CONTROLLER]
    other = [sys.executable, "-c", sleeps]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE) as controller,
        subprocess.Popen(other, stdout=subprocess.PIPE) as stranger,
    ):
        told = {controller.stdout.readline().strip() for _ in range(2)}
        task = psutil.Process(int(next(line for line in told if line != b"up")))
        stranger.stdout.readline()
        with pytest.raises(KeyboardInterrupt), ended_with_the_sweep():
            raise KeyboardInterrupt
        assert controller.wait(10) == -signal.SIGKILL
        psutil.wait_procs([task], 10)
        assert not task.is_running() or task.status() == psutil.STATUS_ZOMBIE
        assert stranger.poll() is None
        stranger.kill()


def test_no_bundle_begins_after_the_end_of_a_sweep():
    begun, gate = [], threading.Event()

    class Slow:
        def launch(self, job_overrides, initial_job_idx):
            begun.append(initial_job_idx)
            if initial_job_idx:
                gate.wait(60)
            return [JobReturn(overrides=job_overrides[0], status=JobStatus.COMPLETED)]

    heads = {number: ["seed=0"] for number in range(4)}
    ended = launched_apart(Slow(), heads, Seats(1, apart=True))
    assert next(ended) == (0, None)
    ended.close()  # as an interrupt does
    before = set(threading.enumerate())
    gate.set()
    for thread in before - {threading.main_thread()}:
        if thread.name.endswith("(wait)"):
            thread.join(60)
    assert set(begun) <= {0, 1}


REAL = {"joblib": "joblib", "slurm_local": "slurm", "ray": "ray"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", REAL)
def test_real_launchers_give_what_one_process_gives(tmp_path, images, launcher):
    pytest.importorskip(EXTRAS[REAL[launcher]])
    common = ["run", "-m", *images, "method=padim,crd", "timing.enabled=false", "heatmaps=0"]
    where = {"PYTHONWARNINGS": "ignore"}
    adbench(tmp_path, *common, "results=one")
    (tmp_path / "cache").rename(tmp_path / "kept")
    done = adbench(tmp_path, *common, "results=many", f"hydra/launcher={launcher}", env=where)
    assert "2 jobs in 2 bundles" in done.stdout
    assert numbers(tmp_path / "many") == numbers(tmp_path / "one")
    assert tables(tmp_path / "many") == tables(tmp_path / "one")
    features = [sorted(p.name for p in (tmp_path / f).rglob("*.npy")) for f in ("kept", "cache")]
    assert features[0] == features[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "OSError: [Errno 116] Stale file handle"),
        ("cut {", "JSONDecodeError"),
        ("{}", "KeyError: '0'"),
        ("null", "TypeError"),
    ],
)
@pytest.mark.fault("results folder", shows="kept")
def test_a_result_that_cannot_be_read_costs_its_own_bundle_alone(
    tmp_path, images, monkeypatch, capsys, text, said
):
    (job,) = plans(tmp_path, "method=padim", common=images)
    outcomes = {0: Outcome()}
    answer = tmp_path / "bundle-0-done.json"
    answer.write_text(text or "{}")
    whole = {"0": {"records": [], "failures": {"grid": "is empty"}, "impossible": []}}
    (tmp_path / "bundle-1-done.json").write_text(json.dumps(whole))
    read = Path.read_text

    def stale(path, *rest, **more):
        if path == answer and text is None:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path, *rest, **more)

    monkeypatch.setattr(Path, "read_text", stale)
    for number, category in enumerate(("bottle", "grid")):
        bundle = Bundle(category, (0,), None)
        _collect(tmp_path, number, bundle, {0: job}, outcomes, None, tell=True)
    failures = outcomes[0].failures
    assert failures["grid"] == "is empty"
    assert failures["bottle"].startswith(f"no result: {answer} cannot be read ({said}")
    assert "the same command goes on from there" in failures["bottle"]
    assert "bottle, job 0: no result: " in capsys.readouterr().err
