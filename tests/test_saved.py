"""Saved detectors: the same bits after a round trip, and a named error for each damaged file."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import METHODS
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from adbench.bench.fitting import Wish, fit, images_of
from adbench.bench.plan import described
from adbench.config.compose import Configs
from adbench.data.samples import Images
from adbench.detectors import saved
from adbench.detectors.direct import Direct
from adbench.detectors.opening import open_detector
from adbench.errors import AdbenchError, ImpossibleError
from adbench.methods.method import state_of

CONFIGS = Configs()
SMALL = ["geometry.resize=[64,64]", "geometry.crop=null"]
RANDOM = ["backbone=resnet18", "backbone.weights=random"]
COUNT = 9


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Images:
    """Files of random pixels."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(COUNT):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return images_of(sorted(folder.iterdir()))


WISH = Wish(alpha=0.2, folds=3, seed=0)
"""An alpha that 9 images can promise."""


def fitted(images, *words, wish=WISH, include_weights=False):
    """A fitted detector."""
    detector, labels = described(CONFIGS.compose([*RANDOM, *SMALL, *words]), "cpu")
    return fit(detector, labels, images, Direct(), wish, include_weights=include_weights)


@pytest.fixture(scope="module")
def file(pictures, tmp_path_factory) -> Path:
    """A sound file of a fitted CRD."""
    path = tmp_path_factory.mktemp("sound") / "part.safetensors"
    saved.save(path, fitted(pictures, "method=crd"))
    return path


@pytest.fixture
def rewritten(file, tmp_path):
    """Writes the sound file with another header or state, and a checksum that fits."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118

    def rewrite(header=lambda sound: sound, state=lambda sound: sound):
        changed = dict(metadata)
        for name, change in ((saved.HEADER, header), (saved.STATE, state)):
            content = change(json.loads(metadata[name]))
            changed[name] = content if isinstance(content, str) else json.dumps(content)
        texts = [changed[saved.HEADER], changed[saved.STATE]]
        changed[saved.CONTENT] = saved.checksum(texts, arrays)
        save_file(arrays, path := tmp_path / "changed.safetensors", changed)
        return path

    return rewrite


def same_bits(a, b):
    """Whether two values learned are of one kind and equal to the last bit."""
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_scores_with_the_same_bits_after_a_round_trip(method, pictures, tmp_path):
    try:
        before = fitted(pictures, f"method={method}")
    except ImpossibleError as error:
        pytest.skip(f"not with this backbone: {error}")
    path = tmp_path / "part.safetensors"
    size = saved.save(path, before)
    after = saved.load(path, "cpu")
    assert size == path.stat().st_size
    assert after.header == before.header
    assert after.identity() == before.identity()
    assert after.facts() == before.facts()
    learned, found = state_of(before.detector.method), state_of(after.detector.method)
    assert learned.keys() == found.keys()
    for name, value in learned.items():
        assert same_bits(value, found[name]), name
    expected, scores = before.score(pictures), after.score(pictures)
    assert same_bits(scores.images, expected.images)
    assert same_bits(scores.maps, expected.maps)


def test_what_scoring_rebuilds_goes_with_the_detector_that_a_run_made(pictures, tmp_path):
    path = tmp_path / "part.safetensors"
    saved.save(path, fitted(pictures, "method=patchcore", wish=None))
    loaded = saved.load(path, "cpu")
    before = set(vars(loaded.detector.method))
    in_run = loaded.fit(pictures, Direct())
    in_run.score(pictures)
    assert "index" in vars(in_run.detector.method)
    assert set(vars(loaded.detector.method)) == before


def test_kept_features_are_read_through_once_for_a_fit(pictures, tmp_path, monkeypatch):
    detector, labels = described(CONFIGS.compose([*RANDOM, *SMALL]), "cpu")
    fit(detector, labels, pictures, Direct(folder=tmp_path), WISH)
    read, open_file = [], Path.open

    def watched(self, *mode, **named):
        read.append(self)
        return open_file(self, *mode, **named)

    monkeypatch.setattr(Path, "open", watched)
    fit(detector, labels, pictures, Direct(folder=tmp_path), WISH)
    arrays = [path for path in read if path.suffix == ".npy"]
    assert sorted(arrays) == sorted(tmp_path.rglob("*.npy"))


def test_the_header_says_how_the_detector_came_to_be(pictures, tmp_path):
    path = tmp_path / "part.safetensors"
    saved.save(path, fitted(pictures, "method=padim", "method.dims=20"))
    header = saved.load(path, "cpu").header
    assert header.parts["method"]["_target_"] == "adbench.methods.padim.PaDiM"
    assert header.parts["method"]["dims"] == 20
    assert header.parts["geometry"]["resize"] == [64, 64]
    assert "device" not in header.parts["backbone"]
    assert header.labels["backbone"] == "resnet18"
    assert header.training.paths() == list(pictures.paths)
    assert header.training.sha256 == pictures.digests
    assert header.training.sizes == ((64, 64),)
    assert header.size == (64, 64)
    assert header.shapes == ((64, 16, 16), (128, 8, 8), (256, 4, 4))
    assert not header.has_weights


def test_the_network_of_a_saved_detector_computes_where_the_user_says(file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    detector = saved.load(file, "cpu").detector
    assert (detector.device, detector.backbone.computes_on()) == ("cpu", "cpu")
    detector = saved.load(file).detector
    assert (detector.device, detector.backbone.computes_on()) == ("cuda", "cuda")


def test_a_detector_of_openvino_is_read_beside_a_gpu(rewritten, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def with_openvino(header):
        header["parts"]["backbone"]["engine"] = "openvino"
        return header

    path = rewritten(with_openvino)
    assert saved.load(path, "cpu").detector.backbone.engine == "openvino"
    with pytest.raises(AdbenchError, match="got device=auto; set device=cpu"):
        saved.load(path)


def test_the_threshold_is_the_split_conformal_quantile_of_scores_out_of_folds(file):
    header = saved.load(file, "cpu").header
    ordered = sorted(header.normal.scores)
    # Of 9 scores, alpha 0.2 lets floor(0.2 * 10) = 2 of 10 lie above: the 8th is the threshold.
    assert header.decision().value == ordered[7]
    assert header.decision(0.1).value == ordered[8]
    assert header.decision().pixel_value == sorted(header.normal.highest)[7]
    with pytest.raises(AdbenchError, match=r"9 normal images .* the smallest .* alpha=0.1 \(1/10"):
        header.decision(0.05)


def test_a_detector_without_threshold_decides_nothing(pictures, tmp_path):
    path = tmp_path / "part.safetensors"
    saved.save(path, fitted(pictures, "method=crd", wish=None))
    loaded = saved.load(path, "cpu")
    assert loaded.decision() is None
    with pytest.raises(AdbenchError, match="was fitted with threshold=none"):
        loaded.header.decision(0.1)


# Weights.


@pytest.fixture
def weights(tmp_path):
    """Two files of weights for the same network."""
    from adbench.backbones.timm_maps import TimmMaps

    places = []
    for seed in (0, 1):
        network = TimmMaps("resnet18", weights="random", seed=seed, device="cpu")
        state = {n: v.contiguous() for n, v in network.carried((64, 64)).items()}
        save_file(state, place := tmp_path / f"network{seed}.safetensors")
        places.append(place)
    return places


def test_weights_are_looked_for_where_they_were_and_where_the_user_says(
    pictures, tmp_path, weights, monkeypatch
):
    path = tmp_path / "part.safetensors"
    monkeypatch.chdir(tmp_path)
    words = ["method=crd", f"backbone.weights={weights[0].name}"]
    saved.save(path, before := fitted(pictures, *words, wish=None))
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    expected = before.score(pictures).images
    assert same_bits(saved.load(path, "cpu").score(pictures).images, expected)

    moved = weights[0].rename(tmp_path / "moved.safetensors")
    with pytest.raises(AdbenchError) as missing:
        saved.load(path, "cpu")
    sha256 = before.identity()["backbone"]["sha256"]
    for told in ("no such file", "network0.safetensors", sha256[:12], "weights=PATH"):
        assert told in str(missing.value)
    assert same_bits(saved.load(path, "cpu", str(moved)).score(pictures).images, expected)

    weights[1].rename(weights[0])
    for given in (None, str(weights[0])):
        with pytest.raises(AdbenchError, match="the weights on this machine have sha256"):
            saved.load(path, "cpu", given)


def test_a_file_with_weights_needs_nothing_else(pictures, tmp_path, weights):
    path = tmp_path / "part.safetensors"
    words = ["method=crd", f"backbone.weights={weights[0]}"]
    before = fitted(pictures, *words, wish=None, include_weights=True)
    saved.save(path, before)
    for place in weights:
        place.unlink()
    after = saved.load(path, "cpu")
    assert same_bits(after.score(pictures).images, before.score(pictures).images)
    assert after.identity() == before.identity()
    again = tmp_path / "again.safetensors"
    saved.save(again, after)
    scores = saved.load(again, "cpu").score(pictures).images
    assert same_bits(scores, before.score(pictures).images)


# Damaged and foreign files.


def refused(path, match):
    with pytest.raises(AdbenchError, match=match) as error:
        saved.load(path, "cpu")
    assert str(path) in str(error.value)


@pytest.mark.fault("detector file", shows="error")
def test_a_file_that_is_cut_off_anywhere_is_refused(file, tmp_path):
    whole, path = file.read_bytes(), tmp_path / "cut.safetensors"
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    inside = [0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(whole) // 2]
    for length in [*inside, len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path, "is cut off, damaged or no .safetensors file")


@pytest.mark.fault("detector file", shows="error")
def test_a_wrong_length_of_the_header_is_refused(file, tmp_path):
    whole, path = file.read_bytes(), tmp_path / "length.safetensors"
    right = struct.unpack("<Q", whole[:8])[0]
    for length in (0, 1, right - 1, right + 1, 2**40, 2**63, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + whole[8:])
        refused(path, "is cut off, damaged or no .safetensors file")


@pytest.mark.fault("detector file", shows="error")
def test_no_flipped_bit_goes_unnoticed(file, tmp_path):
    whole, path = file.read_bytes(), tmp_path / "flipped.safetensors"
    header, rng = 8 + struct.unpack("<Q", whole[:8])[0], np.random.default_rng(0)
    places = [*rng.integers(0, header, 40), *rng.integers(header, len(whole), 20)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        with pytest.raises(AdbenchError):
            saved.load(path, "cpu")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


@pytest.mark.fault("detector file", shows="inert")
def test_a_pickle_under_the_name_is_not_run(tmp_path):
    path, left = tmp_path / "part.safetensors", tmp_path / "left"
    path.write_bytes(pickle.dumps(Bomb(left)))
    refused(path, "no .safetensors file")
    torch.save({"state": Bomb(left)}, path)
    refused(path, "no .safetensors file")
    assert not left.exists()


@pytest.mark.fault("detector file", shows="error")
def test_a_file_of_a_networks_weights_is_no_detector(tmp_path):
    path = tmp_path / "network.safetensors"
    save_file({"conv1.weight": torch.zeros(3)}, path, {"format": "pt"})
    refused(path, "is a file of tensors but of no detector")


@pytest.mark.fault("detector file", shows="error")
def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path / "missing.safetensors", "there is no such file")
    (folder := tmp_path / "folder.safetensors").mkdir()
    refused(folder, "is no file")
    with pytest.raises(AdbenchError, match=r"a detector is a \.safetensors file"):
        open_detector(tmp_path / "part.pth")


@pytest.mark.parametrize("version", [0, 2, "1", None])
@pytest.mark.fault("detector file", shows="error")
def test_another_format_version_is_refused(version, rewritten):
    path = rewritten(header=lambda sound: {**sound, "format": version})
    refused(path, f"has format {version!r}, and this version of adbench reads 1")


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [300, 900, 1000, 100_000])
@pytest.mark.fault("detector file", shows="error")
def test_deep_nesting_is_refused(depth, rewritten):
    path = rewritten(header=lambda sound: f'{{"format": 1, "environment": {nested(depth)}}}')
    refused(path, "recursion")


@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.fault("detector file", shows="error")
def test_deep_nesting_of_the_learned_state_is_refused(depth, rewritten):
    refused(rewritten(state=lambda sound: f'{{"a_": {nested(depth)}}}'), "recursion")


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"unknown": 1}, "unknown: unknown setting"),
        ({"size": [64, "64"]}, "size.1: must be an integer"),
        ({"size": [float("nan"), 64]}, "size.0: must be an integer"),
        ({"normal": 3}, "normal"),
        ({"identity": {"backbone": "resnet18"}}, "identity: must hold settings by name"),
        ({"size": [0, 64]}, "size.0: must be greater than or equal to 1"),
        ({"parts": {}}, "its header names no geometry"),
        ({"labels": {"geometry": "whole", "backbone": "resnet18"}}, "its header names no method"),
    ],
)
@pytest.mark.fault("detector file", shows="error")
def test_a_header_of_the_wrong_shape_is_refused(changed, match, rewritten):
    refused(rewritten(header=lambda sound: sound | changed), match)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"'])
@pytest.mark.fault("detector file", shows="error")
def test_a_header_that_is_no_mapping_is_refused(text, rewritten):
    refused(rewritten(header=lambda sound: text), "its header is damaged|has format None")


@pytest.mark.parametrize(
    ("part", "target", "match"),
    [
        ("method", "os.system", "only classes inside adbench are built"),
        ("backbone", "builtins.eval", "only classes inside adbench are built"),
        ("geometry", "subprocess.Popen", "only classes inside adbench are built"),
        ("method", "adbench.cli.main.main", "is not a class"),
        ("method", "adbench.no_such.Method", "there is no module"),
        ("method", None, "_target_: missing"),
        ("method", "adbench.data.geometry.Geometry", "Geometry is no method"),
        ("backbone", "adbench.methods.padim.PaDiM", "PaDiM is no backbone"),
        ("geometry", "adbench.methods.padim.PaDiM", "PaDiM is no geometry"),
    ],
)
@pytest.mark.fault("detector file", shows="inert")
def test_a_class_that_is_not_registered_or_no_such_part_is_refused(part, target, match, rewritten):
    def change(sound):
        return sound | {"parts": {**sound["parts"], part: {"_target_": target}}}

    refused(rewritten(header=change), match)


@pytest.mark.parametrize("name", ["__class__", "fit", "layers", "lambda_", "notes_", "ä_", "a b_"])
@pytest.mark.fault("detector file", shows="inert")
def test_a_state_cannot_replace_what_is_not_learned(name, rewritten):
    refused(rewritten(state=lambda sound: {**sound, name: 1}), f"{name!r} is no name of what CRD")


@pytest.mark.parametrize(
    "state",
    [[], ["ab_"], 3, "x", {"axes_": {"tensor": "missing"}}, {"axes_": {"tensor": [1]}}],
    ids=str,
)
@pytest.mark.fault("detector file", shows="error")
def test_a_state_of_the_wrong_shape_is_refused(state, rewritten):
    refused(rewritten(state=lambda sound: json.dumps(state)), "its learned state is damaged")


# Writing.


@pytest.mark.fault("detector file", shows="kept")
def test_a_disk_that_is_full_leaves_the_old_file(file, pictures, tmp_path, monkeypatch):
    path = tmp_path / "part.safetensors"
    path.write_bytes(b"what was there")

    def full(arrays, name, metadata):
        Path(name).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "save_file", full)
    with pytest.raises(AdbenchError, match=r"cannot write .*part.safetensors.*No space left"):
        saved.save(path, saved.load(file, "cpu"))
    assert [p.name for p in tmp_path.iterdir()] == ["part.safetensors"]
    assert path.read_bytes() == b"what was there"


@pytest.mark.fault("detector file", shows="error")
def test_what_no_file_could_hold_is_refused_before_anything_is_written(file, tmp_path):
    detector = saved.load(file, "cpu")
    detector.detector.method.index_ = object()
    with pytest.raises(AdbenchError, match=r"method.index_ is a object, which a file cannot hold"):
        saved.save(tmp_path / "part.safetensors", detector)
    assert not list(tmp_path.iterdir())


def test_the_file_has_the_rights_of_any_other(file, tmp_path):
    (other := tmp_path / "other").touch()
    saved.save(path := tmp_path / "part.safetensors", saved.load(file, "cpu"))
    assert path.stat().st_mode == other.stat().st_mode
