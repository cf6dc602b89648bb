"""Thresholds from folds: who sees which image, what is kept, what is completed, what it says."""

import weakref
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from commands import adbench
from made_runs import METHODS, plans, run_jobs
from PIL import Image

from adbench.bench import evaluate, folds
from adbench.bench.folds import fold_of, out_of_fold
from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.data.content import digests
from adbench.data.geometry import Geometry
from adbench.data.images import read_image
from adbench.data.samples import Images
from adbench.detectors.direct import Direct
from adbench.errors import AdbenchError
from adbench.evaluation.threshold import promise
from adbench.methods.method import Scores
from adbench.results import records, summary, thresholds
from adbench.system.stages import stage

SMALL = ["geometry.resize=[64,64]", "geometry.crop=null"]


@pytest.fixture
def bottle(tmp_path, make_category):
    """A category with 9 training images of random pixels, in MVTec's layout."""
    folder = make_category(tmp_path / "images", "bottle", edge=64)
    more_images(folder, 9)
    return folder


@pytest.fixture
def mvtec(tmp_path, bottle):
    """Runs jobs on that category; alpha 0.2 is within what 9 images can promise."""

    def jobs(*words):
        common = [*SMALL, "dataset=mvtec", f"dataset.root={bottle.parent}"]
        common += ["folds=3", "alpha=0.2"]
        return run_jobs(tmp_path, *words, common=common)

    return jobs


@pytest.fixture
def fits(monkeypatch):
    """The numbers of images that PatchCore was fitted on, fit by fit."""
    from adbench.methods.patchcore import PatchCore

    seen = []
    fit = PatchCore.fit

    def counted(self, normal, *order):
        seen.append(len(normal))
        return fit(self, normal, *order)

    monkeypatch.setattr(PatchCore, "fit", counted)
    return seen


@dataclass(frozen=True)
class Remembers:
    """Scores an image that it was fitted on 0, any other 1."""

    geometry: Geometry = field(default_factory=lambda: Geometry(resize=(64, 64), crop=None))
    seen: frozenset[str] = frozenset()
    title: str = "Remembers"

    def identity(self) -> dict[str, Any]:
        return {"method": {"class": "Remembers", "settings": {}}}

    def fit(self, normal, provider):
        with stage("fit"):
            return replace(self, seen=frozenset(_bytes(path) for path in normal.paths))

    def score(self, images):
        values = torch.tensor([float(_bytes(path) not in self.seen) for path in images.paths])
        return Scores(values, None)

    def facts(self):
        return {}

    def wait(self):
        pass

    def release(self):
        pass


def _bytes(path):
    return read_image(path).tobytes().hex()


def more_images(folder, count):
    """Bring the training images to so many."""
    rng = np.random.default_rng(7)
    for number in range(3, count):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / "good" / f"{number:03}.png")


def training(bottle):
    paths = tuple(sorted((bottle / "train" / "good").iterdir()))
    return Images(paths, tuple(digests(paths)))


def test_folds_are_about_equal_drawn_by_seed_and_keep_copies_together():
    images = Images(digests=tuple("abcdefghijk"), paths=tuple("abcdefghijk"))
    fold = fold_of(images, 3, 0)
    assert sorted(np.bincount(fold)) == [3, 4, 4]
    assert (fold_of(images, 3, 0) == fold).all()
    assert (fold_of(images, 3, 1) != fold).any()
    copies = Images(digests=tuple("abcdabcd"), paths=tuple("ABCDEFGH"))
    fold = fold_of(copies, 3, 0)
    assert (fold[:4] == fold[4:]).all()
    assert len(set(fold.tolist())) == 3


def test_fewer_images_than_folds_are_each_a_fold_and_one_image_is_refused():
    images = Images(digests=("a", "b", "c"), paths=("a", "b", "c"))
    assert sorted(fold_of(images, 5, 0).tolist()) == [0, 1, 2]
    copies = Images(digests=("a", "a"), paths=("a", "b"))
    with pytest.raises(AdbenchError, match="at least 2 different normal training images; got 1"):
        fold_of(copies, 5, 0)


def test_no_image_is_scored_by_a_detector_that_has_seen_it_or_a_copy_of_it(bottle):
    good = bottle / "train" / "good"
    (good / "copy.png").write_bytes((good / "000.png").read_bytes())
    images = training(bottle)
    fitted = Remembers().fit(images, None)
    assert fitted.score(images).images.sum() == 0
    (found,) = out_of_fold([Remembers()], images, None, 3, 0)
    assert (found.images == 1).all()
    assert found.highest is None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_scores_of_a_fold_are_those_of_a_run_without_its_images(tmp_path, make_category, method):
    """For every method: kept features of all images give what a fit on the others alone gives."""
    folder = make_category(tmp_path / "images", "bottle", edge=64)
    more_images(folder, 80)
    words = [*SMALL, f"dataset.root={folder.parent}", "dataset=mvtec"]
    session = Session(plans(tmp_path, f"method={method}", common=words))
    session.begin([0])
    detector, images = session.plans[0].detector, training(folder)
    try:
        detector.fit(images, session)
    except AdbenchError as error:
        pytest.skip(f"not with this backbone: {error}")
    (found,) = out_of_fold([detector], images, session, 3, 0)
    outside, inside = np.flatnonzero(found.fold != 1), np.flatnonzero(found.fold == 1)

    def part(rows):
        return Images(*(tuple(of[i] for i in rows) for of in (images.paths, images.digests)))

    scores = detector.fit(part(outside), session).score(part(inside))
    np.testing.assert_allclose(found.images[inside], scores.images.numpy(), rtol=1e-4)
    maxima = scores.maps.amax(dim=(1, 2)).numpy()
    np.testing.assert_allclose(found.highest[inside], maxima, rtol=1e-4)


def test_features_are_made_once_and_one_fit_a_fold_serves_the_nested_ratios(
    mvtec, fits, monkeypatch
):
    from adbench.backbones.network_maps import NetworkMaps

    seen, extract = [], NetworkMaps.extract

    def counted(self, images, *rest):
        seen.append(len(images))
        return extract(self, images, *rest)

    monkeypatch.setattr(NetworkMaps, "extract", counted)
    jobs = [f"threshold=folds method.ratio={r} method.k={k}" for r in (0.1, 0.2) for k in (1, 2)]
    outcomes = mvtec(*jobs)
    assert sum(seen) == 9 + 6
    assert fits == [9, 6, 6, 6]
    values = [o.records[0].threshold["value"] for o in outcomes]
    assert len(set(values)) == 4
    for outcome in outcomes:
        assert outcome.records[0].folds["seconds"] is None
        assert "4 settings" in outcome.records[0].reasons["folds.seconds"]


def test_features_that_cannot_be_kept_are_made_once_for_all_folds(tmp_path, bottle, monkeypatch):
    (planned,) = plans(tmp_path, "", common=SMALL)
    made_of, features = [], Direct.features

    def counted(self, backbone, geometry, images, *reads):
        made_of.append(len(images))
        return features(self, backbone, geometry, images, *reads)

    monkeypatch.setattr(Direct, "features", counted)
    out_of_fold([planned.detector], training(bottle), Direct(), 3, 0)
    assert made_of == [9]


@pytest.mark.parametrize("error", [AdbenchError, RuntimeError])
def test_failed_folds_let_go_of_their_features(tmp_path, mvtec, monkeypatch, error):
    from adbench.methods.patchcore import PatchCore

    held, alive, rows, fit = [], [], folds._rows, PatchCore.fit

    def watched(*given):
        alive.append(sum(features() is not None for features in held))
        made = rows(*given)
        held.append(weakref.ref(made))
        return made

    def fails_in_a_fold(self, normal, *order):
        if len(normal) < 9:
            raise error("not without these images")
        return fit(self, normal, *order)

    monkeypatch.setattr(folds, "_rows", watched)
    monkeypatch.setattr(PatchCore, "fit", fails_in_a_fold)
    for outcome in mvtec(*(f"threshold=folds method.k={k}" for k in (1, 2))):
        assert "not without these images" in outcome.failures["bottle"]
    assert alive == [0, 0, 0]  # both jobs together, then each alone
    if error is RuntimeError:
        assert "fails_in_a_fold" in (tmp_path / "errors.log").read_text()


@pytest.mark.parametrize(
    ("step", "kind"), [("time_per_image", None), ("with_segmentation", "folds")]
)
def test_pictures_are_drawn_whatever_fails_after_the_record(
    tmp_path, bottle, monkeypatch, step, kind
):
    drawn, said, draw = [], [], evaluate.save_heatmaps

    def watched(*given):
        drawn.append(given[6].get("kind"))  # of the threshold
        return draw(*given)

    def fails(*given):
        raise AdbenchError("this step fails")

    monkeypatch.setattr(evaluate, "save_heatmaps", watched)
    monkeypatch.setattr(evaluate, step, fails)
    words = [*SMALL, "dataset=mvtec", f"dataset.root={bottle.parent}", "threshold=folds"]
    words += ["folds=3", "alpha=0.2", "timing.repeats=1", "heatmaps=-1"]
    timed = f"timing.enabled={step == 'time_per_image'}"
    (outcome,) = run(Session(plans(tmp_path, timed, common=words)), warn=said.append)
    assert drawn == [kind]
    assert len(list((tmp_path / "heatmaps").rglob("*.png"))) == 6
    assert len(list((tmp_path / "records").glob("*.json"))) == 1
    assert outcome.failures == {"bottle": "this step fails"}
    assert len(said) == 1


def test_pictures_that_fail_after_the_time_hide_no_reason(tmp_path, bottle, monkeypatch):
    def fails(what):
        def failing(*given):
            raise AdbenchError(what)

        return failing

    monkeypatch.setattr(evaluate, "time_per_image", fails("no time"))
    monkeypatch.setattr(evaluate, "save_heatmaps", fails("no picture"))
    said = []
    words = [*SMALL, "dataset=mvtec", f"dataset.root={bottle.parent}"]
    words += ["timing.enabled=true", "timing.repeats=1", "heatmaps=-1"]
    (outcome,) = run(Session(plans(tmp_path, "", common=words)), warn=said.append)
    assert outcome.failures == {"bottle": "no time; no picture"}
    assert [line.rpartition(": ")[2] for line in said] == ["no time", "no picture"]


def test_the_record_says_what_the_threshold_is_and_what_it_promises(tmp_path, mvtec):
    (record,) = mvtec("threshold=folds")[0].records
    found = record.threshold
    scores = records.load_folds(tmp_path / "records", record)
    assert len(scores) == 9
    assert scores[0].name.startswith("train/")
    assert found["value"] == sorted(s.score for s in scores)[8 - 1]  # ceil(.8 * 10) = 8
    assert found["pixel_value"] == sorted(s.highest for s in scores)[8 - 1]
    assert (found["kind"], found["alpha"]) == ("folds", 0.2)
    expected = promise(9, 0.2)
    assert found["promised"] == {
        "n": 9, "mean": 0.2, "low": expected.low, "high": expected.high
    }  # fmt: skip
    assert record.folds["number"] == 3
    assert record.folds["seed"] == 0
    tested = records.load_scores(tmp_path / "records", record)
    above = [s.score > found["value"] for s in tested if not s.anomalous]
    assert found["false_positive_rate"] == sum(above) / 2
    assert len(found["true_positive_interval"]) == 2


def test_an_alpha_that_cannot_be_promised_is_null_with_the_reason(mvtec, fits):
    (record,) = mvtec("threshold=folds alpha=0.05")[0].records
    assert record.threshold["value"] is None
    assert "alpha=0.1 (1/10)" in record.reasons["threshold"]
    assert record.reasons["threshold"] in thresholds.to_screen([record])
    done = len(fits)
    (again,) = mvtec("threshold=folds alpha=0.05")[0].records  # a null that is known is no lack
    assert again == record
    (other,) = mvtec("threshold=folds alpha=0.1")[0].records
    assert other.threshold["value"] > 0
    assert "threshold" not in other.reasons
    assert len(fits) == done


def test_another_alpha_costs_no_fit_and_another_draw_costs_only_the_folds(mvtec, fits, monkeypatch):
    from adbench.bench import recording

    mvtec("")
    assert fits == [9]
    monkeypatch.setattr(recording, "measure", None)  # metrics are not measured twice
    (first,) = mvtec("threshold=folds")[0].records
    assert fits == [9, 6, 6, 6]
    (second,) = mvtec("threshold=folds alpha=0.5")[0].records
    assert len(fits) == 4
    assert second.threshold["value"] < first.threshold["value"]
    (train,) = mvtec("threshold=train")[0].records
    assert train.threshold["kind"] == "train"
    assert len(fits) == 5
    (back,) = mvtec("threshold=folds")[0].records
    assert back.threshold == first.threshold
    assert len(fits) == 5
    mvtec("threshold=folds folds=9")
    assert fits[5:] == [8] * 9
    assert back.metrics == first.metrics


def test_a_damaged_file_of_folds_is_made_again(tmp_path, mvtec):
    (record,) = mvtec("threshold=folds")[0].records
    (path,) = (tmp_path / "records").glob("*.folds.csv")
    content = path.read_text()
    path.write_text(content.replace("train/", "train\\"))
    with pytest.raises(records.RecordError, match="not those that were measured"):
        records.load_folds(tmp_path / "records", record)
    (again,) = mvtec("threshold=folds alpha=0.5")[0].records
    assert again.threshold["alpha"] == 0.5
    assert path.read_text() == content


def test_where_memory_is_short_more_images_are_not_advised(mvtec, monkeypatch):
    monkeypatch.setattr("adbench.bench.folds.machine.free_memory", lambda: 1000)
    (outcome,) = mvtec("threshold=folds existing=skip")
    message = outcome.failures["bottle"]
    assert "of memory" in message
    assert "give more normal images" not in message


def test_a_setting_that_fails_without_a_fold_keeps_its_metrics_and_fails_no_other(tmp_path, mvtec):
    """k is more than the smaller bank of a fold has, but not more than the whole bank."""
    size = int(9 * 8 * 8 * 0.1)
    good, bad = mvtec("threshold=folds", f"threshold=folds method.k={size}")
    assert good.records[0].threshold["value"] > 0
    assert "larger than the bank" in bad.failures["bottle"]
    assert "without the images of one fold 6 of 9 are left to fit on" in bad.failures["bottle"]
    metrics = [r.metrics["image_auroc"] for r in records.load_all(tmp_path / "records")]
    assert len(metrics) == 2
    assert None not in metrics


def test_a_table_says_what_train_means_and_what_folds_promise(mvtec):
    (folds,) = mvtec("threshold=folds")[0].records
    assert "promises nothing" not in thresholds.to_screen([folds])
    line = summary.row(folds)
    assert line["threshold_promised"] == 0.2
    assert line["threshold_fpr_high"] == folds.threshold["false_positive_interval"][1]
    assert line["folds_seconds"] > 0
    (train,) = mvtec("threshold=train")[0].records
    assert "promises nothing" in thresholds.to_screen([train])
    assert summary.row(train)["threshold_promised"] is None
    assert thresholds.to_screen([replace(train, threshold={})]) == ""
    header, first, mean = summary.to_csv([train]).splitlines()
    cells = dict(zip(header.split(","), mean.split(","), strict=True))
    assert (cells["threshold"], cells["threshold_kind"]) == ("", "")
    assert cells["threshold_fpr"] != ""
    assert ",train," in first


def test_settings_of_the_folds_are_refused_where_there_are_none(tmp_path):
    for word in ("alpha=0.1", "folds=3"):
        done = adbench(tmp_path, "run", word, check=False)
        assert done.returncode == 2
        assert (
            f"{word}: {word[:5]} is read only where the setting threshold is folds" in done.stderr
        )
