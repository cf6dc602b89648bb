"""An exported graph gives the scores of its detector, or is not written."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import adbench
from made_detectors import fitted, pictures
from PIL import Image
from torch import nn

from adbench.data.geometry import Geometry
from adbench.data.images import read_image
from adbench.data.samples import Images
from adbench.detectors import runtimes
from adbench.detectors.export import export
from adbench.detectors.onnx_detector import OnnxDetector
from adbench.detectors.onnx_metadata import metadata, preparation
from adbench.detectors.parity import images_for, measure
from adbench.detectors.saved import load, save
from adbench.errors import AdbenchError, ImpossibleError
from adbench.methods.crd import CRD
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE

METHODS = {
    "PatchCore": lambda: PatchCore(layers=[2, 3], reweight="paper"),
    "PaDiM": lambda: PaDiM(layers=[1, 2, 3], dims=20),
    "CRD": lambda: CRD(layers=[2, 3], lambda_=0.1, lambda_mode="trace"),
}
SLOW = pytest.mark.slow  # a graph takes five seconds to write


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("normal"))


@pytest.fixture(scope="module", params=list(METHODS))
def exported(request, normal, tmp_path_factory):
    """A detector, and the file of its graph."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    saved = fitted(METHODS[request.param](), normal)
    lines = []
    files = export(saved, folder / "part.onnx", images_for(saved.header, None), say=lines.append)
    assert files == [folder / "part.onnx"]
    assert list(folder.iterdir()) == files
    assert "on 12 images" in lines[0]
    assert "0 decisions differ" in lines[0]
    return saved, files[0]


@pytest.fixture(scope="module")
def patchcore(normal):
    return fitted(PatchCore(layers=[2, 3]), normal)


def unlike(folder):
    """Pictures that are none of those that the detectors were fitted on."""
    paths = pictures(folder / "new", 5, seed=7)
    dark = np.array(Image.open(paths[0]))
    dark[20:50, 30:60] = 0
    Image.fromarray(dark).save(paths[0])
    return Images(tuple(paths))


@SLOW
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_gives_the_scores_maps_and_decisions_of_its_detector(exported, runtime, tmp_path):
    pytest.importorskip(runtime)
    saved, file = exported
    images = unlike(tmp_path)
    expected, found = saved.score(images), OnnxDetector.load(file, runtime).score(images)
    for ours, theirs in ((found.images, expected.images), (found.maps, expected.maps)):
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    value = saved.decision().value
    assert torch.equal(found.images > value, expected.images > value)
    assert bool(found.images[0] > value)  # the dark part is found


@SLOW
def test_a_graph_takes_any_number_of_images_and_needs_no_adbench(exported, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    saved, file = exported
    paths = unlike(tmp_path).paths
    session = onnxruntime.InferenceSession(file)
    said = session.get_modelmeta().custom_metadata_map
    prepared = []
    for path in paths:
        names = {"path": path}
        exec(said["input"], names)
        prepared.append(names["images"])
    one_by_one = [session.run(["score", "map"], {"images": images}) for images in prepared]
    score, anomaly_map = session.run(["score", "map"], {"images": np.concatenate(prepared)})
    assert score.shape == (5,)
    assert anomaly_map.shape == (5, 64, 64)
    assert np.allclose(score, np.concatenate([s for s, _ in one_by_one]), rtol=1e-4)
    expected = saved.score(Images(paths)).images.numpy()
    assert np.abs(score - expected).max() <= 1e-4 * expected.max()


@SLOW
def test_a_graph_says_what_it_is(exported):
    onnx = pytest.importorskip("onnx")
    saved, file = exported
    said = {p.key: p.value for p in onnx.load(file).metadata_props}
    decision, header = saved.decision(), saved.header
    assert json.loads(said["threshold"]) == decision.value
    assert json.loads(said["pixel_threshold"]) == decision.pixel_value
    assert json.loads(said["alpha"]) == 0.2
    assert json.loads(said["score_range"])["highest"] == max(header.normal.scores)
    assert json.loads(said["geometry"])["resize"] == 72
    assert json.loads(said["settings"])["method"]["layers"] == saved.detector.method.layers
    assert said["weights_sha256"] == saved.detector.backbone.identity()["sha256"]
    assert OnnxDetector.load(file).header == header


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(resize=72, crop=64),
        Geometry(resize=(60, 70), crop=None, interpolation="bicubic"),
        Geometry(resize=71, crop=(64, 33), interpolation="lanczos"),
        Geometry(resize=None, crop=None),
        Geometry(resize=None, crop=(60, 31)),
        Geometry(resize=None, crop=None, area=96),
        Geometry(resize=50, crop=None),
    ],
)
@pytest.mark.parametrize("size", [(101, 83), (83, 120)])
def test_the_lines_that_prepare_an_image_do_what_the_geometry_does(geometry, size, tmp_path):
    [path] = pictures(tmp_path, 1, size)
    names = {"path": path}
    exec(preparation(geometry, geometry.size_of(size)), names)
    expected = geometry.image(np.array(Image.open(path)))
    assert np.array_equal(names["images"], expected[None])


@pytest.mark.parametrize("orientation", range(1, 10))
def test_the_lines_that_prepare_an_image_turn_it_as_reading_does(orientation, tmp_path):
    [path] = pictures(tmp_path, 1, (101, 83))
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif)
    geometry, names = Geometry(resize=72, crop=64), {"path": path}
    exec(preparation(geometry, (64, 64)), names)
    assert np.array_equal(names["images"], geometry.image(read_image(path))[None])


def test_the_metadata_of_a_detector_without_thresholds_has_none(normal):
    said = metadata(*_parts(fitted(PatchCore(), normal, wish=None)))
    assert {said[n] for n in ("threshold", "pixel_threshold", "alpha", "score_range")} == {"null"}


def _parts(saved):
    return saved.header, saved.geometry


class Shifted(nn.Module):
    """The scores of a graph, a thousandth larger."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def forward(self, *maps):
        scores, anomaly_maps = self.graph(*maps)
        return scores * 1.001, anomaly_maps


class Wrong(PatchCore):
    """A method whose graph is wrong."""

    def graph(self, shapes, size):
        return Shifted(super().graph(shapes, size))


@SLOW
def test_a_graph_with_other_scores_is_not_written(normal, tmp_path):
    pytest.importorskip("onnxscript")
    saved = fitted(Wrong(layers=[2, 3]), normal)
    file = tmp_path / "part.onnx"
    file.write_text("the earlier one")
    with pytest.raises(AdbenchError, match=r"other scores .* scores \d\.\de-04"):
        export(saved, file, images_for(saved.header, None))
    assert file.read_text() == "the earlier one"
    assert list(tmp_path.iterdir()) == [file]


@SLOW
def test_a_detector_in_another_precision_is_refused_with_the_reason(normal, tmp_path):
    pytest.importorskip("onnxscript")
    saved = fitted(PatchCore(layers=[2, 3]), normal, precision="bf16")
    with pytest.raises(AdbenchError, match=r"other scores.*computes in bf16, a graph in fp32"):
        export(saved, tmp_path / "part.onnx", images_for(saved.header, None))


@SLOW
def test_many_constants_go_into_a_file_beside_the_graph(patchcore, tmp_path):
    pytest.importorskip("onnxscript")
    images = images_for(patchcore.header, None)
    files = export(patchcore, tmp_path / "part.onnx", images, largest=1000)
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["part.onnx.data", "part.onnx"]
    assert files[1].stat().st_size < files[0].stat().st_size
    expected = patchcore.score(images).images
    assert torch.allclose(OnnxDetector.load(files[1]).score(images).images, expected, rtol=1e-4)

    again = export(patchcore, files[1], images)  # all in one file: the other one is of no use now
    assert again == [files[1]]
    assert not files[0].exists()
    files = export(patchcore, files[1], images, largest=1000)

    moved = tmp_path / "alone" / "part.onnx"
    moved.parent.mkdir()
    shutil.copy(files[1], moved)
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        with pytest.raises(AdbenchError, match=r"in .onnx.data, is missing.*copy both files"):
            OnnxDetector.load(moved, runtime)
    content = files[0].read_bytes()
    for runtime in ("onnxruntime", "openvino"):
        files[0].write_bytes(content[: len(content) // 2])
        with pytest.raises(AdbenchError, match=r"missing beside it or cut off; copy both files"):
            OnnxDetector.load(files[1], runtime)
        files[0].write_bytes(bytes(len(content)))  # as of another detector of the same size
        with pytest.raises(AdbenchError, match=r"part.onnx.data are not those that were exported"):
            OnnxDetector.load(files[1], runtime)


def test_a_method_without_a_graph_is_refused_with_the_reason(normal, tmp_path):
    saved = fitted(SPADE(k=3), normal, wish=None)
    with pytest.raises(ImpossibleError, match=r"SPADE has no graph.*constants"):
        export(saved, tmp_path / "part.onnx", images_for(saved.header, None))
    assert not list(tmp_path.iterdir())


def test_training_images_are_found_by_their_contents(tmp_path):
    paths = pictures(tmp_path / "normal")
    saved = fitted(PatchCore(), paths, wish=None)
    paths[3].write_bytes(paths[4].read_bytes())
    paths[5].unlink()
    kept = [path for number, path in enumerate(paths) if number not in (3, 5)]
    assert list(images_for(saved.header, None).paths) == kept
    shutil.move(tmp_path / "normal", tmp_path / "elsewhere")
    with pytest.raises(AdbenchError, match=r"none of the 12 training images.*images=DIR"):
        images_for(saved.header, None)
    assert len(images_for(saved.header, tmp_path)) == 11
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdbenchError, match="no images"):
        images_for(saved.header, tmp_path / "empty")
    with pytest.raises(AdbenchError, match="no such folder"):
        images_for(saved.header, tmp_path / "nowhere")


def test_packages_that_are_missing_are_named_before_the_work(patchcore, tmp_path, monkeypatch):
    there = dict.fromkeys(("onnx", "onnxruntime"), SimpleNamespace(origin="x"))
    monkeypatch.setattr(runtimes, "find_spec", there.get)
    with pytest.raises(AdbenchError, match=r"onnxscript: not installed.*adbench-vision\[onnx\]"):
        export(patchcore, tmp_path / "part.onnx", images_for(patchcore.header, None))


def test_a_name_or_a_folder_that_cannot_be_written_is_told_before_the_work(patchcore, tmp_path):
    images = images_for(patchcore.header, None)
    with pytest.raises(AdbenchError, match=r"part.pt: the name of a graph ends in .onnx"):
        export(patchcore, tmp_path / "part.pt", images)
    (tmp_path / "file").write_text("")
    with pytest.raises(AdbenchError, match="cannot be written"):
        export(patchcore, tmp_path / "file" / "part.onnx", images)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(AdbenchError, match="is a folder"):
        export(patchcore, tmp_path / "folder.onnx", images)


@SLOW
def test_the_command_writes_a_graph_and_prints_the_figures(patchcore, normal, tmp_path):
    pytest.importorskip("onnxscript")
    save(tmp_path / "part.safetensors", patchcore)
    done = adbench(
        tmp_path, "export", "part.safetensors", "out/part.onnx", f"images={normal[0].parent}"
    )
    assert "largest difference on 12 images" in done.stdout
    assert "written: out/part.onnx" in done.stdout
    expected = load(tmp_path / "part.safetensors").score(Images(tuple(normal))).images
    found = OnnxDetector.load(tmp_path / "out" / "part.onnx").score(Images(tuple(normal))).images
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["part.safetensors"], "give two files"),
        (["part.safetensors", "part.onnx", "image=x"], "did you mean images="),
        (["part.safetensors", "part.onnx", "images="], "images= must be followed"),
        (["part.safetensors", "part.onnx", "--quick"], "no '--quick'"),
        (["part.onnx", "other.onnx"], "export reads a .safetensors file"),
        (["part.safetensors", "part.onnx"], "no such file"),
        (["part.safetensors", "part.pt"], "ends in .onnx"),
    ],
)
def test_wrong_words_are_named(words, message, tmp_path, capsys):
    from adbench.cli.main import main

    words = [word if "=" in word or word[0] == "-" else str(tmp_path / word) for word in words]
    with pytest.raises(SystemExit) as ended:
        main(["export", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_tells_the_words(capsys):
    from adbench.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["export", "--help"])
    assert ended.value.code == 0
    assert "images=DIR" in capsys.readouterr().out


def test_scores_that_are_all_rounding_are_compared_with_those_of_other_normal_images(normal):
    saved = fitted(PatchCore(ratio=1.0), normal)  # the training images lie in the bank

    class Rounded:
        geometry = saved.geometry

        def score(self, images):
            found = saved.score(images)
            return type(found)(found.images + 1e-6, found.maps)

        graph = SimpleNamespace(run=lambda images: (np.full(len(images), 1e-6, np.float32), None))

    parity = measure(saved, Rounded(), images_for(saved.header, None))
    assert math.isclose(parity.score, 1e-6 / max(saved.header.normal.scores), rel_tol=0.5)
    assert parity.holds
    assert not replace(parity, batch=math.nan).holds  # such as of a graph that fails in batches
