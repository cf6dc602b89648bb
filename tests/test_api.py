"""adbench in Python: the numbers of the commands, from files and from arrays, and its errors."""

import ast
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import adbench
from adbench.backbones.network_maps import NetworkMaps
from adbench.cli.main import main
from adbench.errors import AdbenchError

SMALL = ("geometry.area=64", "method.ratio=0.5")
"""Little work: 64 x 64 pixels."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder ``good`` with 12 images, and ``new`` with 3 others, of random pixels."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for place, count in (("good", 12), ("new", 3)):
        (folder / place).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def detector(photos, cache):
    return adbench.fit(photos / "good", *SMALL, alpha=0.2, cache=cache)


def pixels(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def scores(predictions):
    return [prediction.score for prediction in predictions]


def test_import_and_dir_load_nothing_and_the_stub_declares_every_name():
    program = (
        "import sys, adbench\n"
        "print(sorted(set(adbench.__all__) - set(dir(adbench))),\n"
        "      *(m for m in ('numpy', 'torch', 'hydra', 'pydantic') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["[]"], done.stdout + done.stderr
    stub = ast.parse(Path(adbench.__file__).with_suffix(".pyi").read_text())
    [names] = [node.value for node in stub.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(names) == adbench.__all__
    for name in adbench.__all__:
        assert getattr(adbench, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        adbench.nothing  # noqa: B018


def test_fit_gives_the_detector_of_the_command(photos, cache, detector, tmp_path, monkeypatch):
    monkeypatch.setenv("ADBENCH_CACHE", str(cache))
    file = tmp_path / "part.safetensors"
    words = ["dataset=folder", f"dataset.normal={photos / 'good'}", "alpha=0.2", f"out={file}"]
    with pytest.raises(SystemExit) as end:
        main(["fit", *words, *SMALL])
    assert not end.value.code
    command = adbench.load(file)
    assert command.header.normal == detector.header.normal
    assert command.header.training == detector.header.training
    assert command.header.identity == detector.header.identity
    new = list(detector.predict_all(photos / "new"))
    assert scores(command.predict_all(photos / "new")) == scores(new)
    assert [p.path for p in new] == sorted((photos / "new").iterdir())


def test_the_network_computes_where_the_user_says(photos, cache, monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(NetworkMaps, "extract", lambda network, *_: made.append(network) or 1 / 0)
    for call in (partial(adbench.fit, alpha=None), adbench.extract):
        with pytest.raises(ZeroDivisionError):
            call(pixels(photos / "good"), "geometry.area=64", device="cpu", cache=cache)
    assert [network.computes_on() for network in made] == ["cpu", "cpu"]


def test_arrays_give_the_scores_of_files(photos, detector, cache):
    from_arrays = adbench.fit(pixels(photos / "good"), *SMALL, alpha=0.2, cache=cache)
    assert from_arrays.header.normal == detector.header.normal
    assert from_arrays.header.training.names == ()
    [first, *_] = pixels(photos / "new")
    of_file, of_array = detector.predict(photos / "new" / "000.png"), from_arrays.predict(first)
    assert (of_file.score, of_file.p_value) == (of_array.score, of_array.p_value)
    np.testing.assert_array_equal(of_file.map, of_array.map)
    assert of_array.path is None
    assert scores(from_arrays.predict_all(pixels(photos / "new"))) == scores(
        detector.predict_all(str(photos / "new" / "*.png"))
    )


@pytest.mark.parametrize("include_weights", [False, True])
def test_a_saved_detector_gives_the_same_bits(photos, detector, tmp_path, include_weights):
    file = tmp_path / "part.safetensors"
    detector.save(file, include_weights)
    loaded = adbench.load(file)
    assert loaded.header.has_weights == include_weights
    assert loaded.decision == detector.decision
    image = photos / "new" / "001.png"
    before, after = detector.predict(image), loaded.predict(str(image))
    assert before.score == after.score
    np.testing.assert_array_equal(before.map, after.map)


def test_a_decision_follows_from_the_normal_scores(photos, detector, tmp_path):
    """Of 12 scores, alpha 0.2 takes the 11th smallest: (1 - 0.2) * 13 = 10.4; 0.5 takes the 7th."""
    normal = sorted(detector.header.normal.scores)
    assert detector.decision.value == normal[10]
    detector.save(tmp_path / "part.safetensors")
    loaded = adbench.load(tmp_path / "part.safetensors", alpha=0.5)
    assert loaded.decision.value == normal[6]
    found = loaded.predict(photos / "new" / "000.png")
    assert found.threshold == normal[6]
    assert found.anomalous == (found.score > normal[6])
    assert found.p_value == (1 + sum(score >= found.score for score in normal)) / 13


def test_without_alpha_there_are_scores_alone(photos, detector, cache):
    bare = adbench.fit(photos / "good", *SMALL, alpha=None, cache=cache)
    found = bare.predict(photos / "new" / "000.png")
    assert (bare.decision, found.threshold, found.anomalous, found.p_value) == (None,) * 4
    assert found.score == detector.predict(photos / "new" / "000.png").score


def test_a_broken_image_is_an_error_in_its_place(photos, detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "~broken.png"
    broken.write_text("no image")
    good = photos / "new" / "000.png"
    images = [good, broken.name, None, str(good)]
    first, second, third, fourth = detector.predict_all(images, batch=2)
    assert first.score == fourth.score
    assert second.score is None
    assert "broken.png: not an image" in second.error
    assert third.path is None
    assert "got () object" in third.error
    with pytest.raises(AdbenchError, match=r"broken\.png: not an image"):
        detector.predict(broken)


def test_features_method_and_scores_by_hand_are_those_of_the_detector(photos, detector, cache):
    normal = adbench.extract(photos / "good", SMALL[0], cache=cache)
    test = adbench.extract(pixels(photos / "new"), SMALL[0], cache=cache)
    assert [tuple(m.shape[2:]) for m in normal.maps] == [(8, 8), (4, 4)]  # 64 / 8 and 64 / 16
    found = adbench.method("patchcore", ratio=0.5).fit(normal).score(test)
    assert found.images.tolist() == scores(detector.predict_all(photos / "new"))
    maps = torch.stack([torch.tensor(detector.predict(i).map) for i in pixels(photos / "new")])
    torch.testing.assert_close(found.maps, maps, rtol=0, atol=0)


def test_a_preset_with_settings_changed():
    changed = adbench.method("patchcore", k=3, layers=[1], coreset={"sampler": "random"})
    assert (changed.map_k, changed.b, changed.layers) == (3, 3, [1])
    assert (changed.coreset.sampler, changed.ratio) == ("random", 0.1)
    assert adbench.method("patchcore", anomaly_map={"radius": None, "sigma": 2}).ratio == 0.1


def test_metrics_are_the_hand_worked_ones():
    """3 of 4 pairs of images are in order; of 3 x 1 pairs of pixels two are, and one is a tie."""
    masks, maps = [[[0, 0], [0, 255]]], [torch.tensor([[0.1, 0.2], [0.5, 0.5]])]
    found = adbench.metrics([0, 1, 0, 1], np.array([0.1, 0.3, 0.4, 0.9]))
    assert found["image_auroc"].value == 0.75
    assert found["image_auroc"].low < 0.75 < found["image_auroc"].high
    assert found["image_ap"].value == pytest.approx((1 + 2 / 3) / 2)
    assert set(found) == {"image_auroc", "image_ap", "image_f1_max"}
    both = adbench.metrics([0, 1], [0.0, 1.0], masks * 2, maps * 2)
    assert both["pixel_auroc"].value == 2.5 / 3
    assert both["image_f1_max"] == (1.0, None, None)
    assert "aupro" in both


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: adbench.fit(p / "empty"), "empty holds no images"),
        (lambda p: adbench.fit(p), r"has images in 2 folders: good \(12\), new \(3\)"),
        (lambda p: adbench.fit(""), "the name of an image or of a folder is empty"),
        (lambda p: adbench.fit([Image.new("P", (4, 4))]), r"mode P; give image.convert\('RGB'\)"),
        (lambda p: adbench.fit(p / "good", *SMALL, device="gpu"), "is auto, cpu, cuda or cuda:N"),
        (lambda p: adbench.fit(p / "none"), "none: the image file does not exist"),
        (lambda p: adbench.fit([]), "no images were given"),
        (lambda p: adbench.fit(3), "got a int"),
        (lambda p: adbench.fit([p / "good/000.png", np.zeros((4, 4), np.uint8)]), "image 1 diff"),
        (lambda p: adbench.fit([np.zeros((4, 4, 3))]), r"image 0: .*got \(4, 4, 3\) float64"),
        (lambda p: adbench.fit([np.zeros((4, 4, 4), np.uint8)]), r"got \(4, 4, 4\) uint8"),
        (lambda p: adbench.fit(np.zeros((4, 4, 3), np.uint8)), "several images are"),
        (lambda p: adbench.fit(np.zeros((0, 4, 4, 3), np.uint8)), "no images were given"),
        (lambda p: adbench.fit(p / "good", alpha=0.01), r"smallest that they can is alpha=0.077"),
        (lambda p: adbench.fit(p / "good", alpha=2), "between 0 and 1; got 2"),
        (lambda p: adbench.fit(p / "good", folds=1), "folds=1: at least 2"),
        (lambda p: adbench.fit(p / "good", "alpha=0.1"), "a word here sets method or backbone"),
        (lambda p: adbench.fit(p / "good", "dataset=demo"), "a word here sets method or backbone"),
        (lambda p: adbench.fit(p / "good", "method.rato=1"), "rato"),
        (lambda p: adbench.fit(p / "good", "method.coreset.eps=0.5"), "eps is read only where"),
        (lambda p: adbench.fit(p / "good", method="patchcroe"), "patchcore"),
        (lambda p: adbench.fit(p / "good", "method=crd", method="padim"), "leave one out"),
        (
            lambda p: adbench.fit([np.zeros(s, np.uint8) for s in ((9, 9), (9, 20))]),
            "9x9, 9x20 pixels end up as",
        ),
        (lambda p: adbench.extract(p / "good", layers=[9]), "9"),
        (lambda p: adbench.extract(p / "good", "method.ratio=0.1"), "a word here sets backbone or"),
        (lambda p: adbench.extract(p / "empty" / "*.png"), "no image matches this pattern"),
        (lambda p: adbench.method("patchcroe"), "patchcore"),
        (lambda p: adbench.method("patchcore", rato=0.1), "rato"),
        (lambda p: adbench.method("patchcore", ratio="a, b"), "method.ratio"),
        (lambda p: adbench.method("patchcore", coreset={"eps": 0.5}), "eps is read only where"),
        (lambda p: adbench.metrics([0, 1], [1.0]), "one label and one score"),
        (lambda p: adbench.metrics([0, 0], [1.0, 2.0]), "2 normal and 0 anomalous"),
        (lambda p: adbench.metrics([0, 1], [0.0, np.nan]), "NaN"),
        (lambda p: adbench.metrics([0, 1], [0.0, 1.0], masks=[[[1]]]), "give both"),
        (lambda p: adbench.load(p / "none.safetensors"), "there is no such file"),
        (lambda p: adbench.load(p / "good/000.png"), "a detector is a .safetensors file"),
        (lambda p: adbench.load(p / "none.onnx", runtime="tensorrt"), "onnxruntime or openvino"),
    ],
)
def test_what_is_wrong_is_named(photos, cache, monkeypatch, call, message):
    monkeypatch.setenv("ADBENCH_CACHE", str(cache))
    (photos / "empty").mkdir(exist_ok=True)
    with pytest.raises(AdbenchError, match=message):
        call(photos)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, p: d.save(p / "part.bin"), "the name of a detector ends in .safetensors"),
        (lambda d, p: d.save(p / "file" / "part.safetensors"), "cannot write"),
        (lambda d, p: d.predict_all(p), "holds no images but file"),
        (lambda d, p: d.predict_all([], batch=0), "at least 1 image"),
        (lambda d, p: d.predict_all(""), "the name of an image or of a folder is empty"),
        (lambda d, p: d.predict(np.zeros((32, 200), np.uint8)), "take pictures of the same aspect"),
        (lambda d, p: d.predict(p / "none.png"), "does not exist"),
    ],
)
def test_what_a_detector_cannot_do_is_named(detector, tmp_path, call, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdbenchError, match=message):
        call(detector, tmp_path)


@pytest.mark.slow
def test_an_exported_graph_predicts_and_is_not_saved_again(photos, detector, tmp_path):
    pytest.importorskip("onnxscript")
    detector.save(tmp_path / "part.safetensors")
    words = [str(tmp_path / name) for name in ("part.safetensors", "part.onnx")]
    with pytest.raises(SystemExit) as end:
        main(["export", *words])
    assert not end.value.code
    graph = adbench.load(tmp_path / "part.onnx")
    assert graph.decision == detector.decision
    of_graph = graph.predict_all(photos / "new")
    assert scores(of_graph) == pytest.approx(scores(detector.predict_all(photos / "new")), rel=1e-4)
    with pytest.raises(AdbenchError, match="copy the graph"):
        graph.save(tmp_path / "other.safetensors")


@pytest.mark.slow
def test_nothing_is_printed(photos, tmp_path):
    program = (
        "import adbench, sys\n"
        f"adbench.fit(sys.argv[1], *{SMALL!r}, alpha=0.2).predict(sys.argv[1] + '/000.png')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(photos / "good")],
        env={**os.environ, "ADBENCH_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
