"""Bars of a run: what they are about, when they are missed, and the exit status."""

import json

import pytest
from commands import SMALL, adbench, mvtec
from made_records import made

from adbench.cli.main import main
from adbench.cli.run import _told
from adbench.cli.run_words import own_words
from adbench.cli.sweep import Done
from adbench.errors import AdbenchError
from adbench.evaluation.metrics import METRICS
from adbench.results.bars import BARRED, FRACTIONS, parse

LITE = "backbone=efficientnet_lite0"


def missed(word, *records):
    (bar,) = parse([word])
    return bar.missed(records)


def two():
    return made(LITE, "bottle", image=0.9), made(LITE, "grid", image=0.8)


def test_every_metric_and_time_can_have_a_bar():
    assert {metric.name for metric in METRICS} <= set(BARRED)
    assert {"total_p50", "fit_seconds", "state_bytes", "threshold_fpr"} <= set(BARRED)
    assert {"category", "train", "record", "image_auroc_low"}.isdisjoint(BARRED)


def test_a_metric_must_reach_its_bar_and_a_time_must_not_exceed_it():
    assert missed("bars.image_auroc=0.85", *two()) is None
    assert missed("bars.image_auroc=0.86", *two()) == (
        "image_auroc 0.85 is below its bar 0.86 (mean over bottle, grid)"
    )
    assert missed("bars.total_p50=0.02", *two()) is None
    assert missed("bars.total_p50=0.019", *two()) == (
        "total_p50 0.02 is above its bar 0.019 (mean over bottle, grid)"
    )


def test_what_was_not_measured_is_no_pass():
    assert "nothing was measured" in missed("bars.image_auroc=0")
    first, second = two()
    second.time.clear()
    second.reasons["time"] = "timing.enabled=false"
    assert missed("bars.total_p50=9", first, second) == (
        "total_p50 of grid has no number (timing.enabled=false), so that its bar 9 is missed"
    )


def test_the_time_of_folds_that_served_others_has_its_reason():
    first, _ = two()
    first.reasons["folds.seconds"] = "the fits of the folds served 2 settings"
    assert missed("bars.folds_seconds=9", first) == (
        "folds_seconds of bottle has no number (the fits of the folds served 2 settings), so that "
        "its bar 9 is missed"
    )


def test_every_column_that_is_a_share_is_held_to_one():
    """Whatever is added to the columns later has to be named among the shares or these."""
    units = ("p50", "p95", "seconds", "bytes", "adds")
    others = {name for name in BARRED if name.endswith(units)}
    assert set(BARRED) - others == FRACTIONS


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("bars.image_aurc=0.9", r"no number 'image_aurc' .* did you mean image_auroc"),
        ("bars.category=1", "no number 'category'"),
        ("bars.image_auroc=95", "a fraction between 0 and 1"),
        ("bars.threshold_fpr=5", "threshold_fpr is a fraction between 0 and 1, such as 0.05"),
        ("bars.threshold_tpr=90", "threshold_tpr is a fraction between 0 and 1, such as 0.95"),
        ("bars.threshold_promised=5", "threshold_promised is a fraction between 0 and 1"),
        ("bars.total_p50=-1", "total_p50 is never below 0"),
        ("bars.image_auroc=high", "a bar is one number, got 'high'"),
        ("bars.image_auroc=nan", "a bar is one number"),
        ("bars.image_auroc=0.8,0.9", "a bar is one number"),
        ("bars.image_auroc", "a bar is one number, got ''"),
    ],
)
def test_a_wrong_bar_is_refused_before_the_work(capsys, word, message):
    with pytest.raises(AdbenchError, match=message):
        parse([word])
    with pytest.raises(SystemExit) as end:
        main(["run", word])
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_run_fails_where_a_bar_is_missed(tmp_path, make_category):
    make_category(tmp_path / "images", "bottle", edge=64)
    words = ["run", *mvtec(tmp_path / "images"), *SMALL, "heatmaps=0"]
    done = adbench(tmp_path, *words, "bars.image_auroc=0", "bars.total_p50=60")
    assert "bar" not in done.stderr
    done = adbench(tmp_path, *words, "bars.total_p50=0.000001", check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "its bar" in line]
    assert line.startswith("adbench: total_p50 ")
    done = adbench(tmp_path, *words, "bars.total_p50=0.000001", "--json", check=False)
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["bars_missed"] == [line.removeprefix("adbench: ")]
    assert job["categories"][0]["category"] == "bottle"
    assert job["mean"]["image_auroc"] == job["categories"][0]["image_auroc"]


@pytest.mark.slow
def test_a_sweep_names_the_job_whose_bar_is_missed(tmp_path, make_category):
    make_category(tmp_path / "images", "bottle", edge=64)
    words = [*mvtec(tmp_path / "images"), *SMALL, "timing.enabled=false", "heatmaps=0"]
    words += ["method.ratio=0.05,1.0", "bars.state_bytes=100000"]
    done = adbench(tmp_path, "run", "-m", *words, "--json", check=False)
    small, large = json.loads(done.stdout)["jobs"]
    assert done.returncode == 1
    assert small["bars_missed"] == []
    assert small["mean"]["state_bytes"] <= 100000 < large["mean"]["state_bytes"]
    (line,) = [line for line in done.stderr.splitlines() if "its bar" in line]
    assert line.startswith("adbench: method.ratio=1.0: state_bytes ")


def test_a_bar_is_missed_where_every_job_was_skipped(capsys):
    skipped = Done(["seed=0"], skipped={"settings": "cannot be had"})
    _, barred = own_words(["bars.image_auroc=0.9"])
    for jobs in ([], [skipped], [skipped, skipped]):
        assert _told(jobs, barred) == 1
        assert "no job has a record, so that every bar is missed" in capsys.readouterr().err
    passed = Done(["seed=1"], records=list(two()))
    assert _told([skipped, passed], own_words(["bars.image_auroc=0.8"])[1]) == 0
    assert _told([skipped], own_words([])[1]) == 0
