"""Records: what is saved is found, what was changed is refused, what lacks is completed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from made_runs import plans

from adbench.cli.job import measure
from adbench.errors import AdbenchError
from adbench.evaluation.metrics import METRICS
from adbench.evaluation.pairs import PixelPairs
from adbench.results import records
from adbench.results.records import FoldScore, ImageScore, Record, RecordError

EVERY = {metric.name: None for metric in METRICS}
PIXELS = PixelPairs(np.array([[1.0, 0.5], [0.0, 3.0]]), np.ones(2), np.full(2, 4.0))


def record(category="bottle", **changes):
    content = {
        "identity": {
            "dataset": {"name": "mvtec", "fingerprint": "abc"},
            "category": category,
            "method": {"class": "PatchCore", "settings": {"ratio": 0.1}},
        },
        "labels": {"dataset": "mvtec", "method": "patchcore", "backbone": "resnet50.a1"},
        "counts": {"train": 5, "test": 2, "anomalous": 1},
        "metrics": {**EVERY, "image_auroc": 0.12345678},
        "reasons": {"pixel_auroc": "no masks"},
        **changes,
    }
    return Record(**content)


SCORES = [
    ImageScore("test/good/0.png", "good", False, 0.1),
    ImageScore("test/a, b/1.png", "a, b", True, 1 / 3),
]


def test_what_is_saved_is_found_again_to_6_places(tmp_path):
    records.save(tmp_path, record(), SCORES, PIXELS)
    found = records.find(tmp_path, record().identity)
    assert found.metrics == {**EVERY, "image_auroc": 0.123457}
    assert found.reasons == {"pixel_auroc": "no masks"}
    assert records.load_scores(tmp_path, found) == SCORES
    pixels = records.load_pixels(tmp_path, found)
    np.testing.assert_array_equal(pixels.concordant, PIXELS.concordant)
    assert pixels.auroc() == PIXELS.auroc()
    assert records.load_all(tmp_path) == [found]


def test_another_identity_is_another_record(tmp_path):
    records.save(tmp_path, record(), SCORES)
    assert records.find(tmp_path, record("grid").identity) is None


def test_files_are_named_for_people(tmp_path):
    path = records.save(tmp_path, record(), SCORES, PIXELS)
    stem = f"mvtec-bottle-patchcore-resnet50.a1-{record().id}"
    assert sorted(file.name for file in tmp_path.glob("*-*")) == [
        f"{stem}{suffix}" for suffix in (".json", ".pixels.npz", ".scores.csv")
    ]
    assert path.stem == stem


@pytest.mark.parametrize(
    "name", ["../../../evil", "a/b\\c:d*?", "x" * 300, "..", "=SUM(A1)", "日本"]
)
@pytest.mark.fault("name", shows="inert")
def test_any_category_gives_safe_file_names(tmp_path, name):
    saved = record(name, labels={"dataset": name, "method": name, "backbone": name})
    path = records.save(tmp_path / "records", saved, SCORES)
    assert path.parent == tmp_path / "records"
    assert len(path.name) < 200
    assert set(path.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    )
    assert records.find(tmp_path / "records", saved.identity).category == name


def test_a_record_of_the_same_experiment_takes_the_place_of_the_earlier_one(tmp_path):
    records.save(tmp_path, record(), SCORES, PIXELS)
    later = record(labels={**record().labels, "method": "my_patchcore"}, notes=["measured again"])
    records.save(tmp_path, later, SCORES)
    (found,) = records.load_all(tmp_path)
    assert found.notes == ["measured again"]
    assert sorted(file.suffix for file in tmp_path.glob("*-*")) == [".csv", ".json"]
    with pytest.raises(RecordError, match=r"pixels.npz: pixel counts cannot be read"):
        records.load_pixels(tmp_path, found)


def test_what_a_record_lacked_is_added_and_its_metrics_stay(tmp_path):
    lacking = record(reasons={"pixel_auroc": "no masks", "time": "timing.enabled=false"})
    records.save(tmp_path, lacking, SCORES, PIXELS)
    found = records.find(tmp_path, lacking.identity)
    time = {"total": {"p50": 0.01, "p95": 0.02}}
    reasons = {"pixel_auroc": "no masks"}
    records.update(tmp_path, found, replace(found, time=time, reasons=reasons))
    completed = records.find(tmp_path, lacking.identity)
    assert (completed.time, completed.reasons) == (time, reasons)
    assert completed.metrics == found.metrics
    assert records.load_scores(tmp_path, completed) == SCORES
    assert records.load_pixels(tmp_path, completed).auroc() == PIXELS.auroc()


TIME = {"total": {"p50": 0.01, "p95": 0.02}}
THRESHOLD = {"kind": "folds", "value": 1.5, "alpha": 0.05}
FOLDS = [FoldScore("train/good/0.png", 0, 0.5, None), FoldScore("train/good/1.png", 1, 0.4, None)]


@pytest.mark.parametrize("first", ["time", "threshold"])
@pytest.mark.fault("record", shows="kept")
def test_what_two_processes_add_to_one_record_is_both_kept(tmp_path, first):
    reasons = {"pixel_auroc": "no masks", "seg_f1": "no threshold", "time": "refused"}
    records.save(tmp_path, record(reasons=reasons, work={"multiply_adds_per_patch": 3}), SCORES)
    (read,) = records.load_all(tmp_path)

    def add_time():
        rivals = {"multiply_adds_per_patch": 3, "rivals": {"patchcore": {"time": TIME}}}
        left = {"pixel_auroc": "no masks", "seg_f1": "no threshold"}
        timed = replace(read, time=TIME, work=rivals, reasons=left)
        records.update(tmp_path, read, timed)

    def add_threshold():
        left = {"pixel_auroc": "no masks", "time": "refused"}
        metrics = {**read.metrics, "seg_f1": 0.5}
        found = replace(read, threshold=THRESHOLD, metrics=metrics, reasons=left)
        records.update(tmp_path, read, found, FOLDS)

    steps = [add_time, add_threshold]
    for step in steps if first == "time" else reversed(steps):
        step()
    (both,) = records.load_all(tmp_path)
    assert (both.time, both.threshold, both.metrics["seg_f1"]) == (TIME, THRESHOLD, 0.5)
    assert both.work["rivals"] == {"patchcore": {"time": TIME}}
    assert both.reasons == {"pixel_auroc": "no masks"}
    assert records.load_folds(tmp_path, both) == FOLDS
    assert records.load_scores(tmp_path, both) == SCORES


@pytest.mark.fault("record", shows="kept")
def test_a_time_does_not_bring_back_a_record_that_was_measured_again(tmp_path):
    records.save(tmp_path, record(), SCORES)
    (read,) = records.load_all(tmp_path)
    newer = [replace(score, score=score.score + 1) for score in SCORES]
    records.save(tmp_path, record(notes=["again"]), newer)
    records.update(tmp_path, read, replace(read, time=TIME))
    (now,) = records.load_all(tmp_path)
    assert (now.notes, now.time) == (["again"], TIME)
    assert records.load_scores(tmp_path, now) == newer


@pytest.mark.fault("record", shows="error")
def test_a_record_that_was_deleted_meanwhile_is_not_made_of_a_time(tmp_path):
    records.save(tmp_path, record(), SCORES)
    (read,) = records.load_all(tmp_path)
    records.remove(tmp_path, read)
    with pytest.raises(RecordError, match=r"\.json: is not there any more; run again"):
        records.update(tmp_path, read, replace(read, time=TIME))
    assert not records.present(tmp_path)


@pytest.mark.fault("record", shows="kept")
def test_writers_of_one_record_take_turns(tmp_path):
    records.save(tmp_path, record(), SCORES)
    (read,) = records.load_all(tmp_path)

    def add(number):
        records.update(tmp_path, read, replace(read, work={str(number): number}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    (now,) = records.load_all(tmp_path)
    assert now.work == {str(number): number for number in range(24)}


def test_new_image_metrics_of_an_old_record_come_from_its_raw_scores(tmp_path):
    old = record(metrics={"image_auroc": 0.75, "pixel_auroc": 0.5}, reasons={})
    path = records.save(tmp_path, old, SCORES, PIXELS)
    found = records.load(path)
    assert found.metrics["image_auroc"] == 0.75, "what was measured stays"
    assert found.metrics["image_ap"] == 1.0
    assert found.metrics["image_f1_max"] == 1.0
    assert found.metrics["pixel_auroc"] == 0.5
    assert found.metrics["aupro"] is None
    assert "existing=redo" in found.reasons["aupro"]
    assert set(found.metrics) == set(EVERY)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a whole record"),
        (lambda text: "", "not a whole record"),
        (lambda text: "[]", "not a whole record"),
        (lambda text: text.replace("0.123457", "0.999999"), "was changed after it was written"),
        (lambda text: text.replace('"schema": 2', '"schema": 0'), "schema 0, this adbench reads 2"),
        (lambda text: text.replace('"schema": 2', '"schema": 1'), "adbench migrate results="),
    ],
)
@pytest.mark.fault("record", shows="error")
def test_a_record_that_cannot_be_trusted_is_refused_and_left(tmp_path, edit, message):
    path = records.save(tmp_path, record(), SCORES)
    edited = edit(path.read_text())
    path.write_text(edited)
    with pytest.raises(RecordError, match=message):
        records.load(path)
    assert path.read_text() == edited


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(AdbenchError, match="adbench run"):
        records.load_all(tmp_path)


@pytest.mark.fault("record", shows="error")
def test_scores_that_do_not_fit_the_record_are_refused(tmp_path):
    path = records.save(tmp_path, record(), SCORES[:1])
    with pytest.raises(RecordError, match="1 rows, the record has 2"):
        records.load_scores(tmp_path, records.load(path))


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
@pytest.mark.fault("record", shows="error")
def test_truncated_raw_files_are_refused(tmp_path, cut):
    path = records.save(tmp_path, record(), SCORES, PIXELS)
    found = records.load(path)
    for suffix, load in (
        (".scores.csv", records.load_scores),
        (".pixels.npz", records.load_pixels),
    ):
        beside = path.with_name(path.stem + suffix)
        beside.write_bytes(beside.read_bytes()[:cut])
        with pytest.raises(RecordError, match="not those that were measured"):
            load(tmp_path, found)


@pytest.mark.fault("record", shows="error")
def test_a_folder_with_records_of_the_first_schema_is_refused_with_the_command(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{'0' * 16}.json").write_text("{}")
    with pytest.raises(RecordError, match=rf"adbench migrate results={tmp_path}`"):
        records.find(tmp_path / "records", record().identity)


@pytest.mark.fault("results folder", shows="error")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AdbenchError, match="cannot write the record"):
        records.save(tmp_path / "file" / "records", record(), SCORES)


def test_numbers_that_json_lacks_become_null(tmp_path):
    path = records.save(tmp_path, record(metrics={**EVERY, "aupro": float("nan")}), SCORES)
    assert json.loads(path.read_text())["metrics"] == EVERY
    assert records.load(path).metrics == EVERY


def test_a_metric_that_cannot_be_added_to_an_old_record_is_none_with_the_reason(tmp_path):
    old = record(metrics={name: None for name in EVERY if name != "image_f1_max"})
    scores = [ImageScore("a", "good", False, 0.1), ImageScore("b", "cut", True, 0.9)]
    path = records.save(tmp_path, old, scores)
    assert records.load(path).metrics["image_f1_max"] == 1.0
    path.with_suffix(".scores.csv").unlink()
    loaded = records.load(path)
    assert loaded.metrics["image_f1_max"] is None
    assert "raw scores cannot be read" in loaded.reasons["image_f1_max"]


@pytest.mark.fault("record", shows="kept")
def test_json_files_of_others_are_left_out_with_one_warning_and_stay(tmp_path, caplog):
    records.save(tmp_path, record(), SCORES)
    for name in ("notes.json", "package-lock.json"):
        (tmp_path / name).write_text("{}")
    (found,) = records.load_all(tmp_path)
    assert found == records.find(tmp_path, record().identity)
    (warning,) = caplog.messages
    assert "2 files have not the name of a record" in warning
    assert "delete" not in warning
    assert (tmp_path / "notes.json").exists()


@pytest.mark.fault("record", shows="error")
def test_a_folder_with_other_files_alone_holds_no_records(tmp_path):
    (tmp_path / "notes.json").write_text("{}")
    assert not records.present(tmp_path)
    with pytest.raises(AdbenchError, match="no records there"):
        records.load_all(tmp_path)
    records.save(tmp_path, record(), SCORES)
    assert records.present(tmp_path)


@pytest.mark.fault("record", shows="error")
def test_a_folder_is_tried_before_the_work_and_not_made(tmp_path):
    records.require_writable(tmp_path / "new" / "records")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        AdbenchError, match=r"cannot write records to .*file/records: .*results=DIR"
    ):
        records.require_writable(tmp_path / "file" / "records")


@pytest.mark.fault("results folder", shows="error")
def test_results_that_cannot_be_written_are_said_before_any_image_is_read(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(AdbenchError, match="cannot write records"):
        measure(plans(tmp_path / "runs", "dataset=demo"))
    assert not (tmp_path / "runs" / "cache").exists()
