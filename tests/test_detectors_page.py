"""The README's way of an engineer and the page on detectors name what the commands have."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adbench.cli import export, fit, predict
from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.data.demo import Demo
from adbench.detectors.onnx_metadata import preparation

REPOSITORY = Path(__file__).parents[1]
README, PAGE = REPOSITORY / "README.md", REPOSITORY / "docs" / "detectors.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout")


def section(title):
    return PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(title):
    """What stands in code signs in the first column of the tables of a section."""
    rows = [line for line in section(title).splitlines() if line.startswith("| ")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("title", "usage"),
    [("Fit", fit.USAGE), ("Predict", predict.USAGE), ("Export", export.USAGE)],
)
def test_the_help_of_a_command_has_every_word_of_the_page(title, usage):
    words = {word.partition("=")[0] for word in first_cells(title) if "=" in word or "--" in word}
    assert words or title == "Export"
    assert [word for word in words if not re.search(rf"(?<!\w){word}\b", usage)] == []


def test_the_lines_of_pillow_are_those_that_a_graph_holds():
    [shown] = re.findall(r"```python\n(.*?)```", section("Export"), re.DOTALL)
    geometry = build(Configs().compose(["geometry=square256"])["geometry"], "geometry")
    lines = preparation(geometry, (256, 256)).splitlines()
    held = [line.partition("  #")[0].replace("'", '"') for line in lines]
    assert [line for line in shown.splitlines() if line] == held


@pytest.mark.slow
def test_the_five_commands_of_the_readme_lead_to_decisions(tmp_path):
    pytest.importorskip("onnxscript")
    demo = Demo(categories=("flange",), size=96, train=24, test=10, cache=str(tmp_path / "cache"))
    drawn = demo.load("flange").train[0].path.parents[2]
    shutil.copytree(drawn / "train" / "good", tmp_path / "photos" / "good")
    shutil.copytree(drawn / "test", tmp_path / "photos" / "new")
    text = README.read_text().partition("in five commands")[2]
    install, *commands = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert install.startswith("pip install")
    assert len(commands) == 4
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in commands:
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": paths, "ADBENCH_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = re.findall(r"^\| `(\w+)` \|", section("Predict"), re.MULTILINE)
    assert list(rows[0]) == columns[: len(rows[0])]
    assert len(rows) == len(list((tmp_path / "photos" / "new").rglob("*.png")))
    for row in rows:
        above = float(row["score"]) > float(row["threshold"])
        assert row["decision"] == ("anomalous" if above else "normal")
    assert len(list((tmp_path / "seen").rglob("*.png"))) == len(rows)
    assert (tmp_path / "part.onnx").is_file()
