"""A detector read from an ONNX file behaves like any other, and bad files are named."""

import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from made_detectors import fitted, pictures

from adbench.bench.predict import Predictor
from adbench.data.images import read_image
from adbench.data.samples import Images
from adbench.detectors import runtimes
from adbench.detectors.detector import Decides
from adbench.detectors.direct import Direct
from adbench.detectors.export import export
from adbench.detectors.header import FORMAT
from adbench.detectors.onnx_detector import OnnxDetector
from adbench.detectors.opening import Opened, open_detector
from adbench.detectors.parity import images_for
from adbench.errors import AdbenchError
from adbench.methods.patchcore import PatchCore

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A detector, and the file of its graph."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    saved = fitted(PatchCore(layers=[2, 3]), pictures(folder / "normal"))
    [file] = export(saved, folder / "part.onnx", images_for(saved.header, None))
    return saved, file


@SLOW
def test_it_is_a_detector_with_the_facts_of_the_one_that_was_exported(exported):
    saved, file = exported
    detector = open_detector(file)
    assert isinstance(detector, Opened)
    assert isinstance(detector, Decides)
    assert detector.title == saved.title
    assert detector.geometry == saved.geometry
    assert detector.header == saved.header
    assert detector.decision() == saved.decision()
    assert detector.facts()["channels"] == saved.facts()["channels"]
    assert detector.facts()["weights"] == saved.facts()["weights"]
    # the same but for what computes it, so that records of the two are kept apart
    ours, theirs = detector.identity(), saved.identity()
    assert ours.pop("saved") != theirs.pop("saved")
    assert ours == theirs


@SLOW
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_image_has_the_same_score_as_a_file_as_an_array_and_in_any_batch(exported, runtime):
    pytest.importorskip(runtime)
    saved, file = exported
    detector = OnnxDetector.load(file, runtime)
    paths = tuple(saved.header.training.paths()[:3])
    together = detector.fit(Images(paths), Direct()).score(Images(paths))
    assert together.maps.shape == (3, 64, 64)
    arrays = detector.score(Images(arrays=tuple(read_image(path) for path in paths)))
    assert torch.equal(together.images, arrays.images)
    for number, path in enumerate(paths):
        alone = detector.score(Images((path,)))
        assert torch.equal(alone.images, together.images[number : number + 1])
        assert torch.equal(alone.maps, together.maps[number : number + 1])
    assert detector.identity()["saved"]["runtime"] == runtime


@SLOW
def test_it_decides_as_the_detector_does(exported):
    saved, file = exported
    image = read_image(saved.header.training.paths()[0])
    image[20:50, 30:60] = 0
    ours, theirs = (Predictor(d).predict(image) for d in (open_detector(file), saved))
    assert ours.anomalous
    assert theirs.anomalous
    assert ours.score == pytest.approx(theirs.score, rel=1e-4)
    assert ours.p_value == theirs.p_value


@SLOW
@pytest.mark.fault("graph", shows="error")
def test_an_image_of_another_aspect_is_refused_where_the_geometry_keeps_it(tmp_path):
    pytest.importorskip("onnxscript")
    from adbench.data.geometry import Geometry

    geometry = Geometry(resize=64, crop=None)
    paths = pictures(tmp_path / "normal", size=(80, 120))
    saved = fitted(PatchCore(layers=[2, 3]), paths, wish=None, geometry=geometry)
    [file] = export(saved, tmp_path / "part.onnx", images_for(saved.header, None))
    detector = OnnxDetector.load(file)
    assert detector.header.size == (64, 96)
    assert detector.decision() is None
    with pytest.raises(AdbenchError, match=r"64x64.*fitted on images that reach it at 64x96"):
        detector.score(Images(tuple(pictures(tmp_path / "square", 2, (80, 80)))))


def graph(path, **said):
    """A graph that gives back its input, with these words about it."""
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, ["n"]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    made = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]))
    made.ir_version = 9
    made.opset_import[0].version = 18
    onnx.helper.set_model_props(made, said)
    onnx.save(made, path)
    return path


@pytest.fixture
def opened(monkeypatch):
    """For how many threads each graph was opened, in turn; torch gets its own back at the end."""
    counts = []

    def options():
        import onnxruntime

        class Counted(onnxruntime.InferenceSession):
            def __init__(self, path, options, **rest):
                counts.append(options.intra_op_num_threads)
                super().__init__(path, options, **rest)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Counted)

    def settings(precision, made=runtimes.openvino_engine.settings):
        found = made(precision)
        counts.append(found["INFERENCE_NUM_THREADS"])
        return found

    if find_spec("onnxruntime"):
        options()
    monkeypatch.setattr(runtimes.openvino_engine, "settings", settings)
    before = torch.get_num_threads()
    yield counts
    torch.set_num_threads(before)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_runs_on_the_threads_that_torch_has_at_that_time(runtime, opened, tmp_path):
    pytest.importorskip(runtime)
    torch.set_num_threads(2)
    made = runtimes.Graph(graph(tmp_path / "part.onnx", adbench="1"), runtime)
    made.prepare()
    assert opened == [2]
    torch.set_num_threads(1)  # as a session does, for a detector that was read before
    made.prepare()
    made.prepare()
    assert opened == [2, 1]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.fault("graph", shows="error")
def test_a_graph_that_was_replaced_is_not_opened_for_other_threads(runtime, opened, tmp_path):
    pytest.importorskip(runtime)
    torch.set_num_threads(2)
    path = graph(tmp_path / "part.onnx", adbench="1")
    made = runtimes.Graph(path, runtime)
    torch.set_num_threads(1)
    os.replace(graph(tmp_path / "other.onnx", adbench="2"), path)
    for _ in range(2):
        with pytest.raises(AdbenchError, match=r"part.onnx: was replaced since it was opened"):
            made.prepare()
    path.unlink()
    with pytest.raises(AdbenchError, match=r"part.onnx: there is no such file"):
        made.prepare()
    graph(path, adbench="1")
    made.prepare()


@SLOW
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_fit_and_a_prediction_use_the_threads_that_torch_has(exported, runtime, opened):
    pytest.importorskip(runtime)
    saved, file = exported
    paths = saved.header.training.paths()[:1]
    torch.set_num_threads(2)
    predictor = Predictor(OnnxDetector.load(file, runtime))
    score = predictor.predict(paths[0]).score
    torch.set_num_threads(1)
    assert predictor.predict(paths[0]).score == pytest.approx(score, rel=1e-5)
    assert opened == [2, 1]
    torch.set_num_threads(2)
    detector = predictor.detector.fit(Images(tuple(paths)), Direct())
    assert opened == [2, 1, 2]
    detector.score(Images(tuple(paths)))
    assert opened == [2, 1, 2]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.fault("graph", shows="error")
def test_files_that_are_no_detectors_are_named(runtime, tmp_path):
    pytest.importorskip(runtime)
    other = graph(tmp_path / "other.onnx")
    with pytest.raises(AdbenchError, match=r"other.onnx: .* not exported by adbench"):
        OnnxDetector.load(other, runtime)
    newer = graph(tmp_path / "newer.onnx", adbench=json.dumps({"format": FORMAT + 1}))
    with pytest.raises(AdbenchError, match=rf"newer.onnx: has format {FORMAT + 1}.*reads {FORMAT}"):
        OnnxDetector.load(newer, runtime)
    wrong = graph(tmp_path / "wrong.onnx", adbench="{")
    with pytest.raises(AdbenchError, match=r"wrong.onnx: its header is damaged"):
        OnnxDetector.load(wrong, runtime)
    text = tmp_path / "text.onnx"
    text.write_text("no graph at all")
    with pytest.raises(AdbenchError, match=r"text.onnx: is cut off, damaged or no ONNX graph"):
        OnnxDetector.load(text, runtime)
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(AdbenchError, match=r"empty.onnx: "):
        OnnxDetector.load(empty, runtime)
    with pytest.raises(AdbenchError, match=r"none.onnx: there is no such file"):
        OnnxDetector.load(tmp_path / "none.onnx", runtime)


@SLOW
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.fault("graph", shows="error")
def test_a_file_that_is_cut_off_is_named_wherever_it_is_cut(exported, runtime, tmp_path):
    pytest.importorskip(runtime)
    content = exported[1].read_bytes()
    for part in (0.1, 0.5, 0.9, 0.999):
        file = tmp_path / "part.onnx"
        file.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(AdbenchError, match=r"part.onnx: "):
            OnnxDetector.load(file, runtime)


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
@pytest.mark.fault("graph", shows="error")
def test_a_runtime_that_is_missing_is_named(runtime, extra, tmp_path, monkeypatch):
    file = graph(tmp_path / "part.onnx")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(AdbenchError, match=rf"{runtime}: not installed.*\[{extra}\]"):
        OnnxDetector.load(file, runtime)


@pytest.mark.fault("graph", shows="error")
def test_scores_that_are_not_finite_are_an_error(monkeypatch):
    from types import SimpleNamespace

    from made_detectors import GEOMETRY

    nothing = np.full((1,), np.nan, np.float32), np.zeros((1, 64, 64), np.float32)
    header = SimpleNamespace(size=(64, 64), parts={"method": {"_target_": "a.PatchCore"}})
    detector = OnnxDetector(
        GEOMETRY, header, SimpleNamespace(run=lambda images: nothing), "onnxruntime"
    )
    with pytest.raises(AdbenchError, match="PatchCore: the graph gives NaN"):
        detector.score(Images(arrays=(np.zeros((80, 96, 3), np.uint8),)))
