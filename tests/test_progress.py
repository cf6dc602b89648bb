"""What a run tells on standard error while it works, and what it tells of the machine."""

import io
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from filelock import FileLock
from made_runs import plans

from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.results.disturbed import disturbed
from adbench.results.record import Record
from adbench.system import load, progress, waiting


def test_outside_of_a_terminal_a_stage_is_a_line_with_the_records_that_are_left(capsys):
    with progress.progress("lines", total=3, interval=0):
        progress.at("bottle, job 3")
        with progress.doing("fit"):
            pass
        progress.finished()
        progress.at("grid")
        with progress.doing("score"), progress.doing("features"):
            pass
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("adbench: bottle, job 3: fit (0 of 3 records after")
    assert "left" not in first
    assert [line.split(" (")[0] for line in rest] == [
        "adbench: grid: score",
        "adbench: grid: features",
        "adbench: grid: score",
    ]
    assert all("1 of 3 records" in line and "left)" in line for line in rest)


def test_lines_are_limited_and_the_first_comes_at_once(capsys):
    with progress.progress("lines", total=1, interval=3600):
        progress.at("bottle")
        for stage in ("images", "fit", "score"):
            with progress.doing(stage):
                pass
    assert capsys.readouterr().err == "adbench: bottle: images\n"


def test_in_a_terminal_bars_name_category_job_and_stage(capsys):
    with progress.progress("bars", total=2):
        progress.at("bottle, job 3")
        with progress.doing("fit"), progress.bar(5, "coreset", "pick") as bar:
            bar.update(5)
        with progress.aside():
            print("a line")
    shown = capsys.readouterr()
    assert "bottle, job 3: fit" in shown.err
    assert "bottle, job 3: coreset" in shown.err
    assert shown.out == "a line\n"


def test_nothing_is_shown_unless_it_is_asked_for(capsys):
    with progress.doing("fit"), progress.bar(2, "features", "img"):
        progress.finished()
    with progress.progress("nothing", total=2), progress.doing("fit"):
        progress.finished()
    assert capsys.readouterr() == ("", "")


def test_how_progress_is_shown_depends_on_standard_error():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    closed = io.StringIO()
    closed.close()
    kinds = [progress.kind_for(s) for s in (Terminal(), io.StringIO(), closed, None)]
    assert kinds == ["bars", "lines", "nothing", "nothing"]


@pytest.mark.parametrize("broken", ["sys.stderr.close()", "sys.stderr = None", "os.close(2)"])
def test_a_standard_error_that_breaks_on_the_way_costs_the_lines_alone(broken):
    code = (
        "import os, sys\n"
        "from adbench.system.progress import at, doing, progress\n"
        "with progress('lines', 2, 0):\n"
        f"    {broken}\n"
        "    at('b\\xf6ttle')\n"
        "    with doing('fit'): print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_run_tells_its_stages_for_each_category(tmp_path, make_category, capsys):
    for name in ("bottle", "grid"):
        make_category(tmp_path / "images", name, edge=64)
    words = ["dataset=mvtec", f"dataset.root={tmp_path / 'images'}", "threshold=folds folds=2"]
    words += ["geometry.resize=[64,64] geometry.crop=null"]
    words += ["timing.enabled=true timing.repeats=2 timing.warmup=0"]
    made = plans(tmp_path, " ".join(words), common=["dataset.categories=[bottle,grid]"])
    lines = []
    session = Session(made, "lines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adbench.bench.run.progress", _without_limit)
        run(session, lines.append)
    shown = capsys.readouterr()
    assert shown.out == ""
    told = [line.split(" (")[0] for line in shown.err.splitlines()]
    for category in ("bottle", "grid"):
        stages = {line.split(": ")[2] for line in told if f" {category}: " in line}
        wanted = {"images", "features", "fit", "score", "metrics", "time", "fold 2 of 2"}
        assert wanted <= stages


def _without_limit(kind, total):
    return progress.progress(kind, total, 0)


def test_who_waits_long_for_a_lock_says_so(tmp_path, caplog):
    path = tmp_path / "lock"
    taken, told = threading.Event(), threading.Event()

    def hold():
        with FileLock(path):
            taken.set()
            told.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    taken.wait(30)
    caplog.handler.emit = lambda record, emit=caplog.handler.emit: (emit(record), told.set())
    with waiting.turn(FileLock(path), "makes features", patience=0.05):
        assert told.is_set()
    other.join()
    assert caplog.messages == [f"waiting for another process that makes features ({path})"]


def test_a_lock_that_is_free_is_taken_silently(tmp_path, caplog):
    with waiting.turn(FileLock(tmp_path / "lock"), "makes features"):
        pass
    assert caplog.messages == []


def record(p95=0.011, others=0.0, threads=2, cores=2):
    return Record(
        identity={"category": "bottle"},
        labels={},
        counts={},
        metrics={},
        time={"total": {"p50": 0.01, "p95": p95}},
        environment={"cores": cores, "threads": threads, "load": {"average": 1, "others": others}},
    )


def test_time_beside_other_work_or_with_a_wide_spread_is_told():
    assert disturbed(record()) is None
    assert disturbed(record(others=1.4)) == "other work kept 1.4 of 2 cores busy"
    assert disturbed(record(others=1.4, threads=4, cores=16)) is None  # there was room for both
    assert disturbed(record(others=14, threads=4, cores=16)) is not None
    assert disturbed(record(p95=0.05)) == "the 95th percentile is 5.0 times the median"
    assert " and " in disturbed(record(p95=0.05, others=2))
    assert disturbed(replace(record(), time={}, environment={})) is None


def test_the_load_counts_the_work_of_other_processes():
    busy = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    )
    try:
        busy.stdout.readline()
        with load.load() as found:
            threading.Event().wait(0.5)
    finally:
        busy.kill()
        busy.communicate()
    assert found["others"] > 0.2
    assert found["average"] >= 0


def test_the_record_holds_the_load_at_the_time_of_timing(tmp_path, make_category):
    folder = make_category(tmp_path / "images", "bottle", edge=64)
    words = f"dataset=mvtec dataset.root={folder.parent} timing.enabled=true timing.repeats=2"
    words += " geometry.resize=[64,64] geometry.crop=null"
    session = Session(plans(tmp_path, words))
    lines = []
    (outcome,) = run(session, lines.append)
    (found,) = outcome.records
    assert set(found.environment["load"]) == {"average", "others"}
    why = disturbed(found)
    assert any("the machine was busy" in line for line in lines) == (why is not None)
