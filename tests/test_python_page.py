"""The page on Python holds examples that run as they stand, one after the other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adbench.data.demo import Demo

PAGE = Path(__file__).parents[1] / "docs" / "python.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout")


@pytest.fixture
def folder(tmp_path):
    """The folders that the page names, with small drawn images: ``photos`` and ``bottle``."""
    demo = Demo(categories=("flange",), size=96, train=24, test=10, cache=str(tmp_path / "cache"))
    drawn = demo.load("flange").train[0].path.parents[2]
    shutil.copytree(drawn, tmp_path / "bottle")
    shutil.copytree(drawn / "train" / "good", tmp_path / "photos" / "good")
    shutil.copytree(drawn / "test" / "good", tmp_path / "photos" / "new")
    (tmp_path / "photos" / "new" / "999.png").write_text("no image")
    return tmp_path


@pytest.mark.slow
def test_the_examples_run(folder):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=folder,
        env={**os.environ, "ADBENCH_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    score, threshold, anomalous, p = done.stdout.splitlines()[0].split()
    assert (float(score) > float(threshold)) == (anomalous == "True")
    assert 1 / 25 <= float(p) <= 1
    assert "999.png" in done.stdout
    assert "not an image" in done.stdout
    shown = re.findall(r"^(\w+) +\d\.\d+ (?:None|\d)", done.stdout, re.MULTILINE)
    assert {"image_auroc", "pixel_auroc", "aupro"} <= set(shown)
    assert (folder / "part.safetensors").is_file()
