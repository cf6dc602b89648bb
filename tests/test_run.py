"""Runs on data that leaves something out."""

import shutil

import pytest

from adbench import machine, records
from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.fitting import Fits
from adbench.methods.patchcore import PatchCore
from adbench.run import plan, run

QUICK = ["timing.enabled=false", "heatmaps=0"]


@pytest.fixture
def measure(tmp_path, make_category):
    """Runs PatchCore on the user's own folders made from a small category."""
    bottle = make_category(tmp_path / "images", "bottle", edge=64)

    def one(*overrides):
        words = ["dataset=folder", f"dataset.normal={bottle / 'train' / 'good'}", *QUICK, *overrides]
        return run(
            plan(compose([*words, f"results={tmp_path}", f"cache={tmp_path / 'cache'}"])), Fits(), progress=False
        )

    return bottle, one


def test_normal_test_images_alone_give_null_metrics_and_the_reason(measure):
    bottle, one = measure
    outcome = one(f"dataset.normal_test={bottle / 'test' / 'good'}")
    (record,) = outcome.records
    assert set(record.metrics.values()) == {None}
    assert "anomalous" in record.reasons["image_auroc"]
    assert "anomalous" in record.reasons["pixel_auroc"]
    assert record.threshold["true_positive_rate"] is None
    assert record.threshold["false_positive_rate"] is not None
    assert record.reasons["time"] == "timing.enabled=false"


def test_defects_without_masks_have_image_metrics_only(measure):
    bottle, one = measure
    (record,) = one(
        f"dataset.normal_test={bottle / 'test' / 'good'}", f"dataset.abnormal={bottle / 'test' / 'crack'}"
    ).records
    assert record.metrics["image_auroc"] is not None
    assert record.metrics["pixel_auroc"] is None
    assert "no mask" in record.reasons["pixel_auroc"]


def test_a_mask_of_another_size_fails_its_category_by_name(tmp_path, measure):
    from PIL import Image

    bottle, _ = measure
    mask = sorted((bottle / "ground_truth" / "crack").iterdir())[0]
    Image.new("L", (32, 16), 255).save(mask)
    words = ["dataset=mvtec", f"dataset.root={bottle.parent}", *QUICK, f"results={tmp_path}", f"cache={tmp_path}"]
    outcome = run(plan(compose(words)), Fits(), progress=False)
    assert outcome.records == []
    assert mask.name in outcome.failures["bottle"]


def test_an_empty_training_folder_is_named(tmp_path, measure):
    bottle, _ = measure
    shutil.rmtree(bottle / "train" / "good")
    (bottle / "train" / "good").mkdir()
    words = ["dataset=mvtec", f"dataset.root={bottle.parent}", *QUICK, f"results={tmp_path}", f"cache={tmp_path}"]
    outcome = run(plan(compose(words)), Fits(), progress=False)
    assert "train" in outcome.failures["bottle"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.ratio=0.00001", "keeps 0 of 2352 patches; use at least"),
        ("method.k=500", "k 500 is larger than the bank of 235"),
        ("method.layers=[2,9]", "9"),
    ],
)
def test_what_the_method_cannot_do_fails_with_its_reason_and_leaves_no_record(tmp_path, measure, override, message):
    bottle, one = measure
    outcome = one(f"dataset.normal_test={bottle / 'test' / 'good'}", override)
    assert message in outcome.failures["parts"]
    assert not list(tmp_path.glob("records/*"))


def test_original_pixels_can_be_compared_instead(measure):
    bottle, one = measure
    folders = [f"dataset.normal_test={bottle / 'test' / 'good'}", f"dataset.abnormal={bottle / 'test' / 'crack'}"]
    folders.append(f"dataset.masks={bottle / 'ground_truth' / 'crack'}")
    found = [one(*folders, f"geometry.evaluate_at={where}").records[0] for where in ("input", "original")]
    assert all(0 <= r.metrics["aupro"] <= 1 for r in found)
    assert found[0].id != found[1].id
    assert found[0].metrics["image_auroc"] == found[1].metrics["image_auroc"]


def test_a_record_that_cannot_be_trusted_is_not_overwritten(tmp_path, measure):
    bottle, one = measure
    one(f"dataset.normal_test={bottle / 'test' / 'good'}")
    (path,) = (tmp_path / "records").glob("*.json")
    path.write_text(path.read_text()[:100])
    outcome = one(f"dataset.normal_test={bottle / 'test' / 'good'}")
    assert "not a whole record" in outcome.failures["parts"]
    with pytest.raises(AdbenchError, match="not a whole record"):
        records.load(path)


def test_measuring_again_replaces_the_record(tmp_path, measure):
    bottle, one = measure
    words = [f"dataset.normal_test={bottle / 'test' / 'good'}", f"dataset.abnormal={bottle / 'test' / 'crack'}"]
    first = one(*words).records[0]
    again = one(*words, "existing=redo").records[0]
    assert again.metrics == first.metrics
    assert len(list((tmp_path / "records").glob("*.json"))) == 1


def test_a_method_that_would_not_fit_the_memory_fails_before_its_fit(tmp_path, measure, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    outcome = measure[1]()
    assert not outcome.records
    (message,) = outcome.failures.values()
    assert "PatchCore on" in message
    assert "GB are free" in message
    assert not list(tmp_path.rglob("greedy-*"))


def test_what_is_coming_shares_one_fit_unless_it_has_a_record(tmp_path, measure, monkeypatch):
    bottle, _ = measure
    words = ["dataset=mvtec", f"dataset.root={bottle.parent}", *QUICK, f"results={tmp_path}", f"cache={tmp_path / 'c'}"]
    plans = [plan(compose([*words, f"method.ratio={ratio}"])) for ratio in (0.1, 0.3, 0.2)]
    elsewhere = plan(compose([*words, "method.ratio=0.9", "geometry.crop=192"]))
    fitted = []
    gather = PatchCore._gather
    monkeypatch.setattr(PatchCore, "_gather", lambda self, *a: fitted.append(len(a[1])) or gather(self, *a))
    run(plans[1], Fits(), progress=False)
    fits = Fits()
    outcomes = [run(p, fits, progress=False, coming=[*plans, elsewhere]) for p in plans]
    assert fitted[0] > fitted[1]  # 0.3 has its record and is not made again for 0.1's sake
    assert len(fitted) == 2
    assert [len(o.records) for o in outcomes] == [1, 1, 1]
    notes = {o.records[0].identity["method"]["settings"]["ratio"]: o.records[0].notes for o in outcomes}
    assert "one fit and one search" in notes[0.1][0]
    assert notes[0.2] == notes[0.1]
    assert notes[0.3] == []


def test_what_is_coming_and_wrong_fails_no_other_job(tmp_path, measure):
    bottle, _ = measure
    words = ["dataset=mvtec", f"dataset.root={bottle.parent}", *QUICK, f"results={tmp_path}", f"cache={tmp_path / 'c'}"]
    first, broken, *others = (
        plan(compose([*words, *more]))
        for more in (
            ["method.ratio=0.1"],
            ["method.ratio=0.2"],
            ["method.ratio=0.00001"],
            ["method.ratio=0.1", "method.k=5000"],
            ["method.ratio=0.3", "method.projection=jl_sparse", "method.eps=0.05"],
            ["method.ratio=0.3", "method.layers=[1]"],
            ["method.ratio=0.3", "backbone.weights=/nowhere.pt"],
            ["method.ratio=0.3", "dataset.root=/nowhere"],
            ["method=padim"],
            ["method=spade"],
        )
    )
    (record,) = run(broken, Fits(), progress=False).records
    path = tmp_path / "records" / f"{record.id}.json"
    path.write_text(path.read_text()[:100])
    fits = Fits()
    assert not run(first, fits, progress=False, coming=[first, broken, *others]).failures
    assert [len(together) for together in fits.kept] == [1]
