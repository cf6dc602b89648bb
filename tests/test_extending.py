"""What the page on extensions tells a newcomer to add passes the suite as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "extending.md"
CONTRACTS = ["test_methods.py", "test_configs.py", "test_experiments.py", "test_tables.py"]
"""The tests that go through every preset and table there is."""

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout")


def examples():
    """Path -> text of every code block of the page whose first line names a file to add."""
    found = {}
    for text in re.findall(r"^```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        first = text.splitlines()[0]
        if place := re.search(r"((?:adbench|configs)/[\w/]+\.(?:py|yaml))$", first):
            found[place[1]] = text
    return found


def test_there_are_examples_of_a_method_and_of_a_backbone():
    groups = {str(Path(path).parent) for path in examples()}
    assert {"adbench/methods", "configs/method", "configs/backbone"} <= groups


@pytest.mark.slow
def test_the_examples_pass_the_whole_contract_as_they_stand(tmp_path):
    for name in ("adbench", "configs", "tests"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for path, text in examples().items():
        (tmp_path / path).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ADBENCH_CACHE": str(tmp_path / "c")}
    tests = [str(tmp_path / "tests" / name) for name in CONTRACTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    listed = subprocess.run(
        [sys.executable, "-m", "adbench", "list"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    for path in examples():
        if path.startswith("configs/"):
            assert f"  {Path(path).stem} " in listed.stdout.decode()
