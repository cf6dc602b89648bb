"""Runs on data that leaves something out, and on jobs that share work."""

import json
import shutil
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from made_runs import plans, run_jobs
from PIL import Image

from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.data.geometry import Geometry
from adbench.data.images import read_image
from adbench.errors import AdbenchError
from adbench.methods.method import Scores
from adbench.results import records
from adbench.system import machine
from adbench.system.stages import stage


@pytest.fixture
def bottle(tmp_path, make_category):
    """A small category of random pixels in MVTec's layout."""
    return make_category(tmp_path / "images", "bottle", edge=64)


@pytest.fixture
def own(tmp_path, bottle):
    """Runs PatchCore on the user's own folders, with more words."""

    def one(*words):
        common = ["dataset=folder", f"dataset.normal={bottle / 'train' / 'good'}", *words]
        return run_jobs(tmp_path, "", common=common)[0]

    return one


@pytest.fixture
def mvtec(tmp_path, bottle):
    """Runs jobs on the category in MVTec's layout."""

    def jobs(*words, results=tmp_path):
        common = ["dataset=mvtec", f"dataset.root={bottle.parent}"]
        return run_jobs(results, *words, common=common)

    return jobs


@pytest.fixture
def extracted(monkeypatch):
    """The numbers of images that the network was given, call by call."""
    from adbench.backbones.network_maps import NetworkMaps

    seen = []
    extract = NetworkMaps.extract

    def counted(self, images, *rest):
        seen.append(len(images))
        return extract(self, images, *rest)

    monkeypatch.setattr(NetworkMaps, "extract", counted)
    return seen


def test_normal_test_images_alone_give_null_metrics_and_the_reason(own, bottle):
    outcome = own(f"dataset.normal_test={bottle / 'test' / 'good'}", "threshold=train")
    (record,) = outcome.records
    assert set(record.metrics.values()) == {None}
    assert "anomalous" in record.reasons["image_auroc"]
    assert "anomalous" in record.reasons["pixel_auroc"]
    assert record.threshold["true_positive_rate"] is None
    assert record.threshold["false_positive_rate"] is not None
    assert record.reasons["time"] == "timing.enabled=false"


def test_defects_without_masks_have_image_metrics_only(own, bottle):
    (record,) = own(
        f"dataset.normal_test={bottle / 'test' / 'good'}",
        f"dataset.abnormal={bottle / 'test' / 'crack'}",
    ).records
    assert record.metrics["image_auroc"] is not None
    assert record.metrics["pixel_auroc"] is None
    assert "no mask" in record.reasons["pixel_auroc"]


@pytest.mark.fault("mask", shows="error")
def test_a_mask_of_another_size_fails_its_category_by_name(mvtec, bottle):
    mask = sorted((bottle / "ground_truth" / "crack").iterdir())[0]
    Image.new("L", (32, 16), 255).save(mask)
    (outcome,) = mvtec("")
    assert outcome.records == []
    assert mask.name in outcome.failures["bottle"]


def test_an_empty_training_folder_is_named(mvtec, bottle):
    shutil.rmtree(bottle / "train" / "good")
    (bottle / "train" / "good").mkdir()
    (outcome,) = mvtec("")
    assert "train" in outcome.failures["bottle"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.ratio=0.00001", "keeps 0 of 3072 patches; use at least"),
        ("method.k=500", "k 500 is larger than the bank of 307"),
        ("method.layers=[2,9]", "9"),
    ],
)
def test_what_the_method_cannot_do_fails_with_its_reason_and_leaves_no_record(
    tmp_path, own, bottle, override, message
):
    outcome = own(f"dataset.normal_test={bottle / 'test' / 'good'}", override)
    assert message in outcome.failures["parts"]
    assert not list(tmp_path.glob("records/*"))


def test_original_pixels_can_be_compared_instead(own, bottle):
    folders = [
        f"dataset.normal_test={bottle / 'test' / 'good'}",
        f"dataset.abnormal={bottle / 'test' / 'crack'}",
        f"dataset.masks={bottle / 'ground_truth' / 'crack'}",
    ]
    found = [own(*folders, f"geometry.evaluate_at={w}").records[0] for w in ("input", "original")]
    assert all(0 <= r.metrics["aupro"] <= 1 for r in found)
    assert found[0].id != found[1].id
    assert found[0].metrics["image_auroc"] == found[1].metrics["image_auroc"]


@pytest.mark.fault("record", shows="error")
def test_a_record_that_cannot_be_trusted_is_not_overwritten(tmp_path, own, bottle):
    own(f"dataset.normal_test={bottle / 'test' / 'good'}")
    (path,) = (tmp_path / "records").glob("*.json")
    path.write_text(path.read_text()[:100])
    outcome = own(f"dataset.normal_test={bottle / 'test' / 'good'}")
    assert "not a whole record" in outcome.failures["parts"]
    with pytest.raises(AdbenchError, match="not a whole record"):
        records.load(path)


def test_measuring_again_replaces_the_record(tmp_path, own, bottle):
    words = [
        f"dataset.normal_test={bottle / 'test' / 'good'}",
        f"dataset.abnormal={bottle / 'test' / 'crack'}",
    ]
    first = own(*words).records[0]
    again = own(*words, "existing=redo").records[0]
    assert again.metrics == first.metrics
    assert len(list((tmp_path / "records").glob("*.json"))) == 1


def cut(path):
    path.write_text(path.read_text()[:100])


def edited(path):
    path.write_text(path.read_text().replace("bottle", "bottles").replace("parts", "part"))


@pytest.mark.parametrize("damage", [cut, edited])
@pytest.mark.fault("record", shows="kept")
def test_measuring_again_replaces_a_damaged_record(tmp_path, own, bottle, damage):
    words = [
        f"dataset.normal_test={bottle / 'test' / 'good'}",
        f"dataset.abnormal={bottle / 'test' / 'crack'}",
    ]
    first = own(*words).records[0]
    (path,) = (tmp_path / "records").glob("*.json")
    damage(path)
    with pytest.raises(records.RecordError):
        records.load(path)
    outcome = own(*words, "existing=redo")
    assert not outcome.failures
    assert outcome.records[0].metrics == first.metrics
    assert [r.id for r in records.load_all(tmp_path / "records")] == [first.id]


def test_a_damaged_record_stays_until_it_can_be_replaced(tmp_path, own, monkeypatch):
    own()
    (path,) = (tmp_path / "records").glob("*.json")
    cut(path)
    before = path.read_bytes()
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    assert "GB are free" in own("existing=redo").failures["parts"]
    assert path.read_bytes() == before


@pytest.mark.fault("record", shows="error")
def test_a_record_of_a_newer_adbench_is_not_replaced(tmp_path, own):
    own()
    (path,) = (tmp_path / "records").glob("*.json")
    content = {**json.loads(path.read_text()), "schema": 99}
    path.write_text(json.dumps(content))
    outcome = own("existing=redo")
    assert "schema 99, this adbench reads" in outcome.failures["parts"]
    assert json.loads(path.read_text()) == content


def test_a_method_that_would_not_fit_the_memory_fails_before_its_fit(tmp_path, own, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    outcome = own()
    assert not outcome.records
    (message,) = outcome.failures.values()
    assert "PatchCore on" in message
    assert "GB are free" in message
    assert not list(tmp_path.rglob("orders/*"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("2 GiB more than there are"),
        np.linalg.LinAlgError("2 GiB more than there are"),
        MemoryError("2 GiB more than there are"),
    ],
)
@pytest.mark.fault("results folder", shows="kept")
def test_an_unforeseen_error_fails_its_category_alone_and_leaves_a_traceback(
    tmp_path, mvtec, make_category, bottle, monkeypatch, error
):
    make_category(bottle.parent, "grid", edge=64)
    from adbench.methods.patchcore import PatchCore

    fit, calls = PatchCore.fit, []

    def out_of_memory(self, normal, *order):
        calls.append(len(normal))
        if len(calls) == 1:
            raise error
        return fit(self, normal, *order)

    monkeypatch.setattr(PatchCore, "fit", out_of_memory)
    (outcome,) = mvtec("dataset.categories=[bottle,grid]")
    assert "2 GiB more than there are" in outcome.failures["bottle"]
    assert [r.category for r in outcome.records] == ["grid"]
    assert "out_of_memory" in (tmp_path / "errors.log").read_text()


def test_jobs_of_one_network_make_features_once_whatever_layers_they_read(mvtec, extracted):
    outcomes = mvtec("method=patchcore", "method=padim method.dims=8", "method=spade")
    assert [len(o.records) for o in outcomes] == [1, 1, 1]
    assert sum(extracted) == 3 + 6  # training and test images, each once


def test_one_fit_serves_every_ratio_and_k_in_any_order(tmp_path, mvtec, monkeypatch):
    from adbench.kernels.neighbors import Neighbors
    from adbench.methods.patchcore import PatchCore

    fitted, searched = [], []
    fit, search = PatchCore.fit, Neighbors.search_beginnings

    def counted_fit(self, *given):
        fitted.append(self.ratio)
        return fit(self, *given)

    def counted_search(self, queries, k, sizes):
        searched.append((k, list(sizes)))
        return search(self, queries, k, sizes)

    monkeypatch.setattr(PatchCore, "fit", counted_fit)
    monkeypatch.setattr(Neighbors, "search_beginnings", counted_search)
    jobs = [f"method.ratio={ratio} method.k={k}" for k in (3, 1) for ratio in (0.05, 0.2, 0.1)]
    together = mvtec(*jobs)
    assert fitted == [0.2]
    assert searched == [(3, [117, 235, 470])]
    for number, (job, outcome) in enumerate(zip(jobs, together, strict=True)):
        (alone,) = mvtec(job, results=tmp_path / str(number))
        assert outcome.records[0].metrics == alone.records[0].metrics
        assert outcome.records[0].id == alone.records[0].id


def test_what_was_not_measured_alone_is_null_with_the_reason(mvtec):
    alone, first, second = (
        outcome.records[0]
        for outcome in (*mvtec("method.ratio=0.3"), *mvtec("method.k=2", "method.k=3"))
    )
    assert alone.seconds["fit"] > 0
    assert alone.memory["peak"] > 0
    for record in (first, second):
        assert record.seconds["fit"] is None
        assert "2 settings" in record.reasons["seconds.fit"]
        assert record.memory["peak"] is None
        assert "run it alone" in record.reasons["memory.peak"]
        assert record.memory["state"] > 0


@pytest.mark.fault("results folder", shows="kept")
def test_a_setting_that_fails_fails_no_other_job(mvtec):
    jobs = ["method.ratio=0.1", "method.ratio=0.1 method.k=5000", "method.ratio=0.00001"]
    good, too_many, too_few = mvtec(*jobs, "method.layers=[1]")[:3]
    assert [r.category for r in good.records] == ["bottle"]
    assert "k 5000 is larger" in too_many.failures["bottle"]
    assert "keeps 0 of" in too_few.failures["bottle"]


@pytest.fixture
def happened(monkeypatch):
    """Searches, scores of settings and saved records, in their order."""
    from adbench.kernels.neighbors import Neighbors
    from adbench.methods.patchcore import PatchCore

    found = []

    def counted(owner, name, word):
        original = getattr(owner, name)

        def called(*given, **named):
            found.append(word)
            return original(*given, **named)

        monkeypatch.setattr(owner, name, called)

    counted(Neighbors, "search_beginnings", "search")
    counted(PatchCore, "_scores", "scores")
    counted(records, "save", "saved")
    return found


POSITIONS = 28 * 28 + 14 * 14
"""Of the two layers of an image."""


def test_a_map_is_made_when_it_is_about_to_be_measured(mvtec, happened):
    mvtec("method.k=1", "method.k=2", "method.k=3")
    assert happened == ["search", *3 * ["scores", "saved"]]


def test_the_maps_of_a_setting_are_gone_when_the_next_ones_are_made(mvtec, monkeypatch):
    from adbench.methods.patchcore import PatchCore

    made, alive = [], []
    scores = PatchCore._scores

    def counted(*given):
        alive.append(sum(maps() is not None for maps in made))
        found = scores(*given)
        made.append(weakref.ref(found.maps))
        return found

    monkeypatch.setattr(PatchCore, "_scores", counted)
    mvtec("method.k=1", "method.k=2", "method.k=3")
    assert alive == [0, 0, 0]


def test_a_pass_serves_as_many_settings_as_what_it_keeps_of_them_may_take(
    mvtec, happened, monkeypatch
):
    two = 2 * 12 * 2 * 6 * POSITIONS  # distances and rows of 2 neighbours, of 6 test images
    monkeypatch.setattr("adbench.bench.passes.TOGETHER", two)
    mvtec("method.k=1", "method.k=2", "method.k=3")
    assert happened == ["search", *2 * ["scores", "saved"], "search", "scores", "saved"]


def test_passes_over_training_images_keep_no_more(mvtec, monkeypatch):
    from adbench.methods.patchcore import PatchCore

    passes, score_all = [], PatchCore.score_all

    def counted(self, test, variants, maps=True):
        passes.append((len(test), len(variants)))
        return score_all(self, test, variants, maps)

    monkeypatch.setattr(PatchCore, "score_all", counted)
    monkeypatch.setattr("adbench.bench.passes.TOGETHER", 2 * 12 * 2 * 3 * POSITIONS)
    outcomes = mvtec(*(f"method.k={k} threshold=train" for k in (1, 2, 3)))
    assert [size for images, size in passes if images == 3] == [2, 1]  # 3 training images
    assert all(outcome.records[0].threshold["value"] > 0 for outcome in outcomes)


@pytest.mark.parametrize("with_maps", [True, False], ids=["test images", "training images"])
def test_an_unforeseen_error_of_one_setting_fails_no_other(mvtec, monkeypatch, with_maps):
    from adbench.methods.patchcore import PatchCore

    scores = PatchCore._scores

    def fails(self, test, index, distances, nearest, maps):
        if self.map_k == 2 and maps == with_maps:
            raise RuntimeError("an unforeseen error")
        return scores(self, test, index, distances, nearest, maps)

    monkeypatch.setattr(PatchCore, "_scores", fails)
    first, second, third = mvtec(*(f"method.k={k} threshold=train" for k in (1, 2, 3)))
    assert "an unforeseen error" in second.failures["bottle"]
    for outcome in (first, third):
        assert not outcome.failures
        assert outcome.records[0].threshold["value"] > 0


@pytest.mark.parametrize("step", ["fit", "test images", "training images"])
def test_what_failed_together_is_gone_before_it_is_tried_alone(mvtec, monkeypatch, step):
    from adbench.methods.patchcore import PatchCore

    held, alive, fit, scores = [], [], PatchCore.fit, PatchCore._scores

    def fail():
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise RuntimeError("an unforeseen error")

    def watched_fit(self, *given):
        alive.append(sum(tensor() is not None for tensor in held))
        return fail() if step == "fit" else fit(self, *given)

    def watched_scores(self, test, index, distances, nearest, maps):
        alive.append(sum(tensor() is not None for tensor in held))
        if self.map_k == 2 and step == ("test images" if maps else "training images"):
            fail()
        return scores(self, test, index, distances, nearest, maps)

    monkeypatch.setattr(PatchCore, "fit", watched_fit)
    monkeypatch.setattr(PatchCore, "_scores", watched_scores)
    mvtec(*(f"method.k={k} threshold=train" for k in (1, 2, 3)))
    assert len(held) > 1
    assert set(alive) == {0}


def test_the_throughput_is_that_of_the_chosen_batch(mvtec, extracted):
    (outcome,) = mvtec("timing.enabled=true timing.repeats=1 timing.warmup=0 timing.batch=20")
    assert outcome.records[0].time["batched"]["p50"] > 0
    assert extracted == [3, 6, 1, 20, 20, 20]


def test_a_closed_pipe_ends_a_run_and_is_no_failure_of_a_category(tmp_path, bottle):
    def closed(line):
        raise BrokenPipeError

    common = ["dataset=mvtec", f"dataset.root={bottle.parent}"]
    with pytest.raises(BrokenPipeError):
        run_jobs(tmp_path, "", common=common, say=closed)
    assert len(records.load_all(tmp_path / "records")) == 1


def test_a_record_is_completed_with_what_is_wanted_later(mvtec, monkeypatch):
    (plain,) = mvtec("threshold=none")
    assert plain.records[0].threshold == {}
    from adbench.bench import recording

    def never(*given):
        raise AssertionError("metrics are not measured twice")

    monkeypatch.setattr(recording, "measure", never)
    words = "threshold=train timing.enabled=true timing.repeats=2 timing.warmup=0"
    (completed,) = mvtec(words)
    (record,) = completed.records
    assert record.threshold["value"] > 0
    assert record.time["total"]["p50"] > 0
    assert "time" not in record.reasons
    assert record.metrics == plain.records[0].metrics
    (again,) = mvtec(words)
    assert again.records == completed.records


def test_two_datasets_of_one_name_have_tables_and_pictures_of_their_own(tmp_path, bottle):
    common = ["dataset=folder"]
    normal = [f"dataset.normal={bottle / place / 'good'}" for place in ("train", "test")]
    first, second = plans(tmp_path, *normal, common=common)
    assert first.name != second.name


@dataclass(frozen=True)
class Brightness:
    """A detector without features: how far the mean grey value is from that of normal images."""

    geometry: Geometry
    mean: float | None = None
    title: str = "Brightness"

    def identity(self) -> dict[str, Any]:
        return {"geometry": {"resize": 64}, "method": {"class": "Brightness", "settings": {}}}

    def fit(self, normal, provider):
        with stage("fit"):
            return replace(self, mean=float(np.mean([read_image(p).mean() for p in normal.paths])))

    def score(self, images):
        arrays = images.arrays or [read_image(path) for path in images.paths]
        with stage("score"):
            values = [abs(array.mean() - self.mean) for array in arrays]
            maps = torch.tensor(values, dtype=torch.float32)[:, None, None].expand(-1, 64, 64)
            return Scores(torch.tensor(values, dtype=torch.float32), maps)

    def facts(self):
        return {"notes": ["it looks at the brightness alone"], "state_bytes": 8}

    def wait(self):
        pass

    def release(self):
        pass


def test_a_detector_of_another_kind_runs_like_any_other(tmp_path, bottle):
    words = [f"dataset.root={bottle.parent}", "dataset=mvtec"]
    timed = "timing.enabled=true timing.repeats=2 timing.warmup=0"
    (planned,) = plans(tmp_path, f"threshold=train {timed}", common=words)
    detector = Brightness(Geometry(resize=(64, 64), crop=None))
    labels = {"dataset": "mvtec", "method": "brightness"}
    session = Session([replace(planned, detector=detector, labels=labels)])
    (outcome,) = run(session)
    (record,) = outcome.records
    scores = records.load_scores(planned.records, record)
    grey = [read_image(p).mean() for p in sorted((bottle / "train" / "good").iterdir())]
    first = sorted((bottle / "test" / "crack").iterdir())[0]
    assert scores[0].score == pytest.approx(abs(read_image(first).mean() - np.mean(grey)), rel=1e-5)
    assert record.notes == ["it looks at the brightness alone"]
    assert record.time["score"]["p50"] > 0
    assert record.threshold["value"] > 0
    assert record.name.startswith("mvtec-bottle-brightness-")
