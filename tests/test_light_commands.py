"""What needs no network loads no network library: commands that read configs and records."""

import os
import subprocess
import sys

import pytest
from made_records import made, saved

HEAVY = ("torch", "timm", "numba", "sklearn")
PROGRAM = f"""
import sys
from adbench.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
print("LOADED", code, *(name for name in {HEAVY!r} if name in sys.modules))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with two settings on the same images."""
    folder = tmp_path_factory.mktemp("results")
    for ratio in (0.1, 0.2):
        for category in ("bottle", "grid"):
            saved(folder / "records", made(f"method.ratio={ratio}", category))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["table", "--help"],
        ["list"],
        ["list", "tables", "results=RESULTS"],
        ["table", "all", "results=RESULTS"],
        ["compare", "method.ratio=0.1", "method.ratio=0.2", "results=RESULTS"],
        ["claims", "results=RESULTS"],
        ["plot", "method.ratio=0.1", "method.ratio=0.2", "results=RESULTS"],
        ["plot", "--x", "method.ratio", "results=RESULTS"],
        ["report", "results=RESULTS"],
        ["migrate", "results=RESULTS"],
        ["run", "--help"],
        ["run", "--cfg", "job"],
    ],
    ids=" ".join,
)
def test_a_command_without_networks_loads_no_network_library(tmp_path, results, words):
    words = [word.replace("RESULTS", str(results)) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        env={**os.environ, "ADBENCH_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1:] == ["LOADED 0"], done.stdout[-2000:] + done.stderr[-2000:]


def test_the_check_would_notice(tmp_path):
    """The program above reports a library that is loaded."""
    program = PROGRAM.replace("import sys\n", "import sys, numba\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED 0 numba"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak since the start is read from /proc")
def test_help_takes_little_memory_and_no_other_library():
    program = (
        "import sys\n"
        "from adbench.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(*(line.split()[1] for line in lines if line.startswith('VmHWM')),\n"
        "      *(m for m in ('hydra', 'numpy', 'pydantic', 'omegaconf') if m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    peak, *loaded = done.stdout.splitlines()[-1].split()
    assert int(peak) * 1024 <= 80e6
    assert loaded == []
