"""Commands that are killed at random moments end with the files of an undisturbed run."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "kill_often.py"


@pytest.mark.slow
@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("command", ["run", "fit"])
def test_kills_lose_nothing_and_leave_nothing(command):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "3", command], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, kills, _, problems = done.stdout.splitlines()[-1].split()
    assert (name, kills, problems) == (command, "3", "none")
