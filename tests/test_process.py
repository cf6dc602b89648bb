"""The process around a command: its streams, the signals that end it, and whose package it is."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SMALL, adbench, mvtec

from adbench.cli import process

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and descriptors of POSIX")
PACKAGE = Path(process.__file__).parents[1]


def shell(folder, line, **variables):
    """Run a line of bash in which $ADBENCH is the command."""
    environment = {**os.environ, "ADBENCH": f"{sys.executable} -m adbench", **variables}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, timeout=120
    )


@POSIX
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("$ADBENCH list metrics >&-", 0),
        ("$ADBENCH list metricz 2>&-", 2),
        ("$ADBENCH list metrics <&- >&- 2>&-", 0),
        ("$ADBENCH list | head -1; exit ${PIPESTATUS[0]}", 141),
        ("$ADBENCH list > /dev/full", 1),
        ("$ADBENCH list metrics > /dev/full", 1),
    ],
)
def test_a_closed_stream_is_no_fault_of_the_command(tmp_path, line, status):
    done = shell(tmp_path, line)
    assert done.returncode == status, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@POSIX
def test_a_closed_stream_gives_its_number_to_no_other_file(tmp_path):
    program = (
        "from adbench.cli.process import prepare_streams; prepare_streams();"
        "file = open('record', 'w'); print(file.fileno() > 2, file=file)"
    )
    shell(tmp_path, f'{sys.executable} -c "{program}" <&- >&- 2>&-')
    assert (tmp_path / "record").read_text() == "True\n"


@POSIX
def test_signs_that_the_terminal_lacks_are_replaced(tmp_path):
    lacking = {"PYTHONIOENCODING": "ascii"}
    done = shell(tmp_path, "$ADBENCH list metric_größe", **lacking)
    assert (done.returncode, b"metric_gr\\xf6\\xdfe" in done.stderr) == (2, True)
    folder = tmp_path / "größe" / "method"
    folder.mkdir(parents=True)
    (folder / "über.yaml").write_text("# Für das Maß.\n", encoding="utf-8")
    done = shell(tmp_path, "$ADBENCH list methods --config-dir größe", **lacking)
    assert (done.returncode, b"\\xfcber" in done.stdout) == (0, True)


@POSIX
def test_words_that_are_no_text_are_named(tmp_path):
    done = shell(tmp_path, "$ADBENCH run results=$'\\xfc'")
    assert (done.returncode, b"not a text in utf-8" in done.stderr) == (2, True)


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
@pytest.mark.fault("results folder", shows="kept")
def test_a_signal_ends_a_run_in_one_line_and_finished_categories_are_kept(
    tmp_path, make_category, request, name, status
):
    for category in ("bottle", "grid"):
        make_category(tmp_path / "images", category, edge=64)
    words = [*mvtec(tmp_path / "images"), *SMALL, "dataset.categories=[bottle,grid]"]
    words += ["timing.repeats=100000"]
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # tests may be started with it ignored
    request.addfinalizer(lambda: signal.signal(number, before))
    with (tmp_path / "err").open("w") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", "adbench", "run", *words],
            cwd=tmp_path,
            env={**os.environ, "ADBENCH_CACHE": str(tmp_path / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        records = tmp_path / "runs" / "records"
        while running.poll() is None and not list(records.glob("*.json")):
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait(60) == status
    last = (tmp_path / "err").read_text().splitlines()[-1]
    what = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert last == f"adbench: {what}; the same command goes on where it stopped"
    assert list(records.glob("*.json"))
    assert not list(tmp_path.rglob("*.tmp"))


@POSIX
def test_a_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(process.Ended) as ended:
                os.kill(os.getpid(), signal.SIGTERM)
            assert ended.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


# Whose package it is: on the index, ``adbench`` is another project with the same import name.


def site(folder):
    """A folder as an installer leaves it, with this package."""
    shutil.copytree(PACKAGE, folder / "adbench", ignore=shutil.ignore_patterns("__pycache__"))
    configs = PACKAGE.parent / "configs"
    if configs.is_dir():
        shutil.copytree(configs, folder / "adbench" / "configs")
    (folder / "adbench_vision-0.1.0.dist-info").mkdir()
    return folder


@pytest.mark.parametrize("other", ["adbench-0.1.11.dist-info", "the file that both have"])
def test_the_other_adbench_over_this_one_is_named(tmp_path, other):
    folder = site(tmp_path / "site")
    where = {"PYTHONPATH": str(folder)}
    assert adbench(tmp_path, "list", "metrics", env=where).returncode == 0
    if other.startswith("adbench"):
        (folder / other).mkdir()
    else:
        (folder / "adbench" / "__init__.py").write_text('__version__ = "0.1.11"\n')
    done = adbench(tmp_path, "list", "metrics", env=where, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert "another project's distribution 'adbench'" in line
    assert "pip uninstall adbench" in line
    assert "adbench-vision" in line
