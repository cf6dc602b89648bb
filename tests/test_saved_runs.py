"""A saved detector is measured like any other, and gives the numbers of the run that fits it."""

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
from commands import adbench, mvtec
from made_runs import METHODS, plans, run_jobs
from PIL import Image

from adbench.bench import plan as planning
from adbench.cli.fit import command
from adbench.cli.job import Task, planned_job
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.results import records

CONFIGS = Configs()
NETWORK = ["backbone=resnet18", "backbone.weights=random"]
SQUARE = ["geometry.resize=[64,64]", "geometry.crop=null"]
PARTS = [*NETWORK, *SQUARE]
FOLDS = ["threshold=folds", "alpha=0.25", "folds=3"]
"""The smallest alpha that 3 images can promise."""


@pytest.fixture
def images(tmp_path, make_category):
    """Words for a category of 3 training images and 6 test images."""
    return mvtec(make_category(tmp_path / "images", "bottle", edge=64).parent)


@pytest.fixture
def fit(tmp_path, images, monkeypatch):
    """Fits a detector on that category and gives the path of its file."""
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))

    def fit(*words, name="part", geometry=SQUARE):
        path = tmp_path / f"{name}.safetensors"
        command(
            Namespace(words=[*images, *NETWORK, *geometry, *FOLDS, *words, f"out={path}"]), CONFIGS
        )
        return path

    return fit


def measured(tmp_path, *words):
    """The only record of a run, with its rows of scores."""
    (outcome,) = run_jobs(tmp_path, " ".join(words))
    assert not outcome.failures
    (record,) = outcome.records
    return record, records.load_scores(tmp_path / "records", record)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_record_is_that_of_the_run_that_fits_it(method, tmp_path, images, fit):
    try:
        path = fit(f"method={method}")
    except ImpossibleError as error:
        pytest.skip(f"not with this backbone: {error}")
    expected, rows = measured(tmp_path / "a", *images, *PARTS, *FOLDS, f"method={method}")
    record, found = measured(tmp_path / "b", *images, f"detector={path}")
    assert record.metrics == expected.metrics
    assert record.intervals == expected.intervals
    assert record.counts == expected.counts
    assert record.notes == expected.notes
    assert record.channels == expected.channels
    assert record.weights == expected.weights
    assert found == rows
    assert record.threshold == {**expected.threshold, "kind": "file"}
    assert record.id != expected.id
    assert record.labels == expected.labels


def test_the_record_names_the_images_that_the_detector_was_fitted_on(tmp_path, images, fit):
    path = fit("method=crd")
    record, _ = measured(tmp_path, *images, f"detector={path}")
    training = record.identity["saved"]
    assert training["runtime"] == "torch"
    other = tmp_path / "images" / "bottle" / "train" / "good" / "002.png"
    with Image.open(other) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other)
    again, _ = measured(tmp_path, *images, f"detector={path}")
    assert again.identity["saved"] == training
    assert again.identity["dataset"] != record.identity["dataset"]
    refitted, _ = measured(tmp_path, *images, f"detector={fit('method=crd', name='other')}")
    assert refitted.identity["saved"]["training"] != training["training"]
    assert refitted.id != again.id


def test_a_second_run_is_skipped_until_it_is_to_be_redone(tmp_path, images, fit):
    words = [*images, f"detector={fit('method=crd')}"]
    measured(tmp_path, *words)
    for word, told in (("existing=skip", "has a record, skipped"), ("existing=redo", "AUROC")):
        said = []
        (outcome,) = run_jobs(tmp_path, " ".join([*words, word]), say=said.append)
        assert len(outcome.records) == 1
        assert any(told in line for line in said), said


def test_a_copy_of_the_file_elsewhere_is_the_same_experiment(tmp_path, images, fit):
    path = fit("method=crd")
    measured(tmp_path, *images, f"detector={path}")
    moved = path.rename(tmp_path / "moved.safetensors")
    said = []
    run_jobs(tmp_path, " ".join([*images, f"detector={moved}"]), say=said.append)
    assert any("has a record, skipped" in line for line in said), said


def test_what_the_file_holds_cannot_be_set_beside_it(tmp_path, images, fit):
    words = [*images, f"detector={fit('method=crd')}"]
    own = ["backbone=resnet50", "method=padim", "method.ratio=1", "geometry.crop=null"]
    for word in [*own, "threshold=folds", "alpha=0.1", "folds=3", "seed=1"]:
        name = word.partition("=")[0].partition(".")[0]
        with pytest.raises(AdbenchError) as error:
            planned_job(CONFIGS.compose([*words, word]), [*words, word])
        told = f"{word}: the detector's file holds its own {name}; leave this out"
        assert str(error.value) == told


def test_a_setting_of_the_files_own_method_is_refused_as_one_of_the_file(images, fit):
    words = [*images, f"detector={fit('method=crd')}", "method.lambda_=1"]
    with pytest.raises(AdbenchError, match=r"method.lambda_=1: the detector's file holds its own"):
        Task(CONFIGS).planned(words)


def test_settings_of_saved_detectors_are_refused_without_one(images):
    for word in ("weights=w.pth", "runtime=openvino"):
        words = [*images, word]
        with pytest.raises(AdbenchError, match="is read only where the setting detector names"):
            planned_job(CONFIGS.compose(words), words)


def test_a_graph_is_planned_on_the_cpu_alone(images, monkeypatch):
    opened = SimpleNamespace(header=SimpleNamespace(labels={}))
    monkeypatch.setattr(planning, "open_detector", lambda *_: opened)
    words = [*images, "detector=part.onnx"]
    for device in ("auto", "cpu"):
        planned = planning.plan(CONFIGS.compose([*words, f"device={device}"]))
        assert planned.options.device == "cpu"  # which the record names
    with pytest.raises(AdbenchError, match=r"^device=cuda: an \.onnx file computes on the CPU$"):
        planning.plan(CONFIGS.compose([*words, "device=cuda"]))


def test_images_that_reach_the_network_at_another_size_fail_by_name(
    tmp_path, images, fit, make_category
):
    path = fit("method=crd", geometry=["geometry=whole", "geometry.area=64"])
    (outcome,) = run_jobs(tmp_path, " ".join([*images, f"detector={path}"]))
    assert len(outcome.records) == 1
    other = make_category(tmp_path / "other", "bottle", edge=64)
    for image in other.rglob("*.png"):
        Image.open(image).resize((128, 64)).save(image)
    (outcome,) = run_jobs(tmp_path, " ".join([*mvtec(other.parent), f"detector={path}"]))
    assert "reaches the network at" in outcome.failures["bottle"]
    assert not outcome.records


@pytest.mark.fault("detector file", shows="error")
def test_a_detector_that_is_missing_or_damaged_is_refused_before_any_work(tmp_path, images):
    (damaged := tmp_path / "part.safetensors").write_bytes(b"no detector")
    for path in (damaged, tmp_path / "missing.safetensors", tmp_path / "part.pth"):
        with pytest.raises(AdbenchError, match=path.name):
            plans(tmp_path, f"detector={path}", common=images)


@pytest.mark.slow
def test_a_sweep_over_detectors_measures_each(tmp_path, images, fit):
    paths = [fit(f"method={method}", name=method) for method in ("crd", "patchcore")]
    names = ",".join(str(path) for path in paths)
    quick = ["timing.enabled=false", "heatmaps=0"]
    adbench(tmp_path, "run", "-m", *images, *quick, f"detector={names}")
    found = [json.loads(path.read_text()) for path in (tmp_path / "runs/records").glob("*.json")]
    assert sorted(record["labels"]["method"] for record in found) == ["crd", "patchcore"]


def test_test_images_that_were_learned_from_are_noted(tmp_path, images, fit):
    path, normal = fit("method=crd"), tmp_path / "images/bottle/train/good"
    held_out = ["dataset=folder", f"dataset.normal={normal}", f"detector={path}"]
    record, _ = measured(tmp_path, *held_out)
    assert "the detector was fitted on 1 of the 1 test images" in record.notes[-1]
    record, _ = measured(tmp_path, *images, f"detector={path}")
    assert not any("was fitted on" in note for note in record.notes)
