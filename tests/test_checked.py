"""``--check``: what passes, what fails, and the workflow that uses it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from made_records import made, saved

from adbench.cli.main import main

BASE = "experiment=belloni2023_resnet50"
PRINTED = {"bottle": 1.0, "cable": 0.98}
CI = Path(__file__).parents[1] / "docs" / "ci"
RESULTS = Path(__file__).parents[1] / "results" / "records"


def check(folder, *words):
    """The exit status of ``table --check``."""
    with pytest.raises(SystemExit) as end:
        main(["table", "belloni2023_table4", "--check", f"results={folder}", *words])
    return end.value.code


def write(folder, **image):
    for category, value in image.items():
        pixel = {"bottle": 0.97, "cable": 0.97}[category]
        saved(folder / "records", made(BASE, category, image=value, pixel=pixel))


def test_numbers_within_their_bands_pass_and_are_counted(tmp_path, capsys):
    write(tmp_path, bottle=0.995, cable=0.985)
    assert check(tmp_path) == 0
    assert (
        "belloni2023_table4: 6 numbers compared: 6 within their bands, 0 inconclusive, 0 outside; "
        "12 of 14 cells have no record"
    ) in capsys.readouterr().out


def test_a_number_outside_its_band_fails_in_one_line(tmp_path, capsys):
    write(tmp_path, bottle=0.9, cable=0.98)
    assert check(tmp_path, "dataset.categories=[bottle,cable]") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "bottle" in line]
    assert lines == [
        "adbench: belloni2023_table4: ResNet50, bottle: image AUROC 90.00 is outside 100 ±1; its "
        "95% interval, 88.00 to 91.00, leaves the printed number out"
    ]


def test_what_the_noise_leaves_open_does_not_fail(tmp_path, capsys):
    record = made(BASE, "bottle", image=0.985, pixel=0.97)
    record.intervals["image_auroc"] = [0.9, 1.0]
    saved(tmp_path / "records", record)
    assert check(tmp_path) == 0
    assert "2 inconclusive" in capsys.readouterr().out  # bottle, and the mean over bottle alone


def test_where_nothing_could_be_compared_the_check_fails(tmp_path, capsys):
    saved(tmp_path / "records", made(f"{BASE} backbone=efficientnet_lite0", "bottle"))
    assert check(tmp_path, "backbone=efficientnet_lite0") == 1
    told = capsys.readouterr()
    assert "0 numbers compared" in told.out
    assert "none of 14 cells could be compared with its printed number" in told.err


def test_the_document_of_a_check(tmp_path, capsys):
    write(tmp_path, bottle=0.9)
    assert check(tmp_path, "--json", "--measured") == 1
    told = capsys.readouterr()
    (found,) = json.loads(told.out)["tables"]
    assert (found["check"]["passed"], found["check"]["compared"]) == (False, 4)
    assert {number["category"] for number in found["numbers"]} == {"bottle", "mean"}
    bottle = found["numbers"][0]
    assert (bottle["verdict"], bottle["band"], bottle["images"]) == ("outside", 1.0, 83)
    assert f"adbench: {found['check']['failures'][0]}" in told.err


@pytest.mark.parametrize("words", [["claims"], ["list", "tables"], ["list", "methods"], ["list"]])
def test_one_json_document_on_standard_output(tmp_path, capsys, monkeypatch, words):
    write(tmp_path / "runs", bottle=1.0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*words, "--json"])
    assert end.value.code == 0
    content = json.loads(capsys.readouterr().out)
    assert all(content.values())


@pytest.mark.parametrize("words", [["table", "belloni2023_table4"], ["claims"]])
def test_results_that_cannot_be_written_are_a_message(tmp_path, capsys, words):
    write(tmp_path, bottle=1.0)
    for name in ("published", "claims.md"):
        place = tmp_path / name
        place.mkdir() if name == "claims.md" else place.write_text("in the way")
    with pytest.raises(SystemExit) as end:
        main([*words, f"results={tmp_path}"])
    assert end.value.code == 2
    assert "results=DIR" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not CI.is_dir(), reason="not in a checkout")
def test_the_example_workflow_passes_and_notices_a_number_that_changed(tmp_path):
    shutil.copytree(CI, tmp_path, dirs_exist_ok=True)
    steps = yaml.safe_load((CI / "workflow.yml").read_text())["jobs"]["reproduce"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("adbench ")]
    assert len(commands) >= 2
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": places, "ADBENCH_CACHE": str(tmp_path / "cache")}

    def status(command):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    for command in commands:
        code, told = status(command)
        assert code == 0, told
    path = tmp_path / "configs" / "table" / "my_table.yaml"
    content = yaml.safe_load(path.read_text())
    numbers = content["rows"][0]["published"][0]["numbers"]["image_auroc"]
    numbers |= {category: value - 40 for category, value in numbers.items()}
    path.write_text(yaml.safe_dump(content))
    code, told = status(commands[0])
    assert (code, "is outside" in told) == (1, True)


@pytest.mark.skipif(not RESULTS.exists(), reason="not in a checkout")
def test_the_reason_is_that_of_what_was_measured(tmp_path, capsys):
    """Of a table whose first rows are quoted or were not run."""
    shutil.copytree(RESULTS, tmp_path / "records")
    with pytest.raises(SystemExit) as end:
        main(["table", "han2024_table1", "--check", f"results={tmp_path}"])
    assert end.value.code == 1
    assert "efficientnet_lite0 in place of wide_resnet50" in capsys.readouterr().err
