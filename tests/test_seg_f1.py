"""The F1 of pixels at the threshold of a record, which comes after its metrics."""

from dataclasses import replace

import numpy as np
import pytest
from made_runs import plans, run_jobs

from adbench.bench.category import Category
from adbench.bench.session import Session
from adbench.results import records, summary

SMALL = (
    *("dataset=demo", "dataset.categories=[flange]", "method=padim", "method.reduction=none"),
    *("method.layers=[2]", "geometry.resize=64", "geometry.crop=null", "folds=3", "alpha=0.2"),
)


@pytest.fixture
def demo(tmp_path):
    return lambda *words: run_jobs(tmp_path, *words, common=SMALL)[0].records[0]


def test_a_run_with_folds_has_the_f1_at_the_pixel_threshold_that_they_gave(demo, tmp_path):
    record = demo("threshold=folds")
    (plan,) = Session(plans(tmp_path, "threshold=folds", common=SMALL)).plans
    session = Session([plan])
    session.begin([0])
    category = Category.load(plan, "flange")
    detector = plan.detector.fit(category.train, session)
    maps = detector.score(category.test).maps.numpy()
    masks = np.stack(category.masks(detector.geometry, maps.shape[1:]))
    called = maps > record.threshold["pixel_value"]
    expected = 2 * (called & masks).sum() / (called.sum() + masks.sum())
    assert record.metrics["seg_f1"] == pytest.approx(expected, abs=1e-6)
    assert "seg_f1" not in record.reasons
    assert summary.row(record)["seg_f1"] == record.metrics["seg_f1"]


def test_without_a_threshold_or_with_a_later_one_it_is_null_with_the_reason(demo):
    record = demo("")
    assert record.metrics["seg_f1"] is None
    assert "threshold=folds makes one" in record.reasons["seg_f1"]
    assert record.metrics["aupro_05"] is not None
    later = demo("threshold=folds")
    assert later.threshold["pixel_value"] is not None
    assert later.metrics["seg_f1"] is None
    assert "existing=redo" in later.reasons["seg_f1"]
    again = demo("threshold=folds existing=redo")
    assert again.metrics["seg_f1"] is not None
    train = demo("threshold=train")
    assert train.metrics["seg_f1"] is None
    assert "threshold=folds makes one" in train.reasons["seg_f1"]


def test_a_record_from_before_the_metric_reads_as_not_measured(demo, tmp_path):
    record = demo("")
    folder = tmp_path / "records"
    new = ("aupro_05", "aupimo", "seg_f1")
    metrics, reasons = (
        {name: value for name, value in found.items() if name not in new}
        for found in (record.metrics, record.reasons)
    )
    records.update(folder, record, replace(record, metrics=metrics, reasons=reasons))
    (old,) = records.load_all(folder)
    assert [old.metrics[name] for name in new] == [None] * 3
    assert all("existing=redo" in old.reasons[name] for name in new)
    assert summary.to_csv([old]).count("\n") == 3
