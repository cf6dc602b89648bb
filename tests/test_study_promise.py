"""The study of thresholds: what it counts, and what it says was promised."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = pytest.mark.skipif(
    not SCRIPTS.is_dir(), reason="not in a checkout: there are no scripts"
)


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import study_promise

    return study_promise


def test_the_ideal_is_that_of_exchangeable_scores(study):
    """Against draws of scores of one and the same detector."""
    fitted, new, alpha = 19, 10, 0.1  # k = 2 of 20
    random = np.random.default_rng(0)
    scores = random.random((200_000, fitted + new))
    thresholds = np.sort(scores[:, :fitted])[:, fitted - 2]
    realised = (scores[:, fitted:] > thresholds[:, None]).mean(1)
    ideal = study.ideal(alpha, fitted, new)
    assert ideal.mean == 0.1
    assert ideal.mean == pytest.approx(realised.mean(), abs=0.002)
    assert ideal.exceeds == pytest.approx((realised > alpha).mean(), abs=0.004)
    assert ideal.low < 0.1 < ideal.high


def test_a_rate_that_is_just_alpha_does_not_exceed_it(study):
    # One fitted score and alpha 1/2: k = 1, the rate is uniform, so each count of 2 has 1/3.
    assert study.ideal(0.5, 1, 2).exceeds == pytest.approx(1 / 3)


def test_the_table_counts_draws(study):
    rows = [
        study.Trial("m", i, 0.1, 19, 10, alarms, 2.0, 1.0) for i, alarms in enumerate([0, 1, 2])
    ]
    line = [cell.strip() for cell in study.table(rows).splitlines()[-1].strip("|").split("|")]
    assert line[:3] == ["m", "0.1", "3"]
    assert line[4] == "10.00 ± 5.77"  # 10 / sqrt(3)
    assert line[6:] == ["33.33", "2.000"]


@pytest.mark.slow
def test_the_script_draws_fits_and_counts(tmp_path):
    (folder := tmp_path / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(24):
        pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    words = ["--images", folder, "--fitted", "19", "--repeats", "2", "--alpha", "0.1", "0.05"]
    small = ["geometry.resize=[64,64]", "geometry.crop=null"]
    network = ["backbone=resnet18", "backbone.weights=random", *small]
    methods = ["crd", "crd_scaled", "patchcore method.ratio=0.1"]
    out = tmp_path / "trials.csv"
    done = subprocess.run(
        [
            *(sys.executable, SCRIPTS / "study_promise.py", *words, "--out", out),
            *("--methods", *methods, "--words", *network),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert {row["method"] for row in rows} == set(methods)
    assert {(row["fitted"], row["new"]) for row in rows} == {("19", "5")}  # the copy is left out
    assert all(0 <= int(row["alarms"]) <= 5 for row in rows)
    table = [line for line in done.stdout.splitlines() if line.startswith("| crd ")]
    assert [line.split("|")[2].strip() for line in table] == ["0.1", "0.05"]
