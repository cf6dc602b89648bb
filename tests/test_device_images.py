"""Images on a device: from the network to the scores without a way back, and in blocks that fit."""

import copy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_device import NAME, Device
from torch import nn

from adbench.backbones import engine
from adbench.backbones.network import Network
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.direct import Direct
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import AdbenchError
from adbench.features.extract import Extractor
from adbench.methods.crd import CRD
from adbench.methods.method import Scores
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE
from adbench.methods.subspace import SubspaceAD

LAYERS = [1, 2]
METHODS = {
    "patchcore": PatchCore(layers=LAYERS, ratio=0.2),
    "patchcore, re-weighted": PatchCore(layers=LAYERS, ratio=0.2, reweight="paper", b=3),
    "crd": CRD(layers=LAYERS),
    "subspacead": SubspaceAD(layers=LAYERS, variance=0.9),
    "padim": PaDiM(layers=LAYERS),
    "padim, all channels": PaDiM(layers=LAYERS, reduction="none"),
    "spade": SPADE(layers=LAYERS, k=3),
    "spade, same position": SPADE(layers=LAYERS, k=3, gallery="same_position"),
}
GEOMETRY = Geometry(resize=(32, 32), crop=None)


class Pyramid(nn.Module):
    """Three outputs of strides 4, 8 and 16: colours, their squares and products, averaged."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        values = torch.cat([x, x.square(), x * x.roll(1, dims=1)], dim=1)
        return [F.avg_pool2d(values, 2 ** (level + 1)) for level in (1, 2, 3)]


def network(module):
    return Network("pyramid", [4, 8, 16], (0.5,) * 3, (0.2,) * 3, lambda _: module, (32, 32))


class Backbone:
    """A network of an engine on a device."""

    def __init__(self, device):
        self.module = Pyramid()
        self.engine = engine.Engine(lambda size: network(self.module), None, device, "fp32")

    def identity(self):
        return {"model": "pyramid"}

    def versions(self):
        return {}

    def extract(self, images, layers, vectors):
        return self.engine.extract(images, layers, vectors)


@pytest.fixture(autouse=True)
def any_name_of_a_device(monkeypatch):
    monkeypatch.setattr(engine, "device_name", lambda device: device)


def inputs(n):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)


def images(n, seed=0, named=False):
    """Decoded images, which may have digests as files have."""
    generator = np.random.default_rng(seed)
    arrays = tuple(generator.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(n))
    return Images(arrays=arrays, digests=tuple(f"{seed} {i}" for i in range(n)) if named else ())


def detector(method, device, backbone=None):
    backbone = backbone or Backbone(device)
    made = FeatureDetector(GEOMETRY, backbone, copy.copy(method), device)
    return made.fit(images(6, named=True), Direct(device=device))


@pytest.mark.parametrize("name", METHODS)
def test_maps_never_leave_the_device_between_the_network_and_the_scores(name):
    test = images(3, seed=1)
    expected = detector(METHODS[name], "cpu").score(test)
    with Device() as device:
        fitted = detector(METHODS[name], NAME)
        fitted.score(images(1, seed=2))  # what is made at the first score is there now
        device.up = device.maps = 0
        found = fitted.score(test)
    assert device.maps == 0
    assert device.up > 0  # the images themselves
    for a, b in ((found.images, expected.images), (found.maps, expected.maps)):
        assert a.device.type == "cpu"
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@dataclass
class Brightest:
    """A method that knows no device: the largest value, as numpy sees it."""

    layers: list[int] = field(default_factory=lambda: [1])
    needs_vectors: ClassVar[bool] = True
    score_settings: ClassVar[frozenset[str]] = frozenset()
    nested: ClassVar[str | None] = None

    def fit(self, normal):
        self.mean_, self.source_ = normal.maps[0].mean(dim=0), normal.source
        return self

    def score(self, test):
        assert test.vectors.device.type == "cpu"
        largest = (test.maps[0] - self.mean_).numpy().max(axis=(1, 2, 3))
        return Scores(torch.from_numpy(largest), None)


def test_a_method_that_knows_no_device_meets_features_on_the_cpu():
    test = images(3, seed=1)
    with Device():
        found = detector(Brightest(), NAME).score(test)
    torch.testing.assert_close(found.images, detector(Brightest(), "cpu").score(test).images)


class OnCpu(Backbone):
    """A backbone of a user who computes on the CPU whatever the device."""

    def __init__(self):
        super().__init__("cpu")


def test_a_backbone_may_give_features_on_the_cpu():
    test = images(3, seed=1)
    expected = detector(METHODS["spade"], "cpu").score(test)
    with Device():
        found = detector(METHODS["spade"], NAME, OnCpu()).score(test)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [2, 16])
@pytest.mark.parametrize("kept", [True, False])
def test_features_that_stay_are_on_the_cpu(batch, kept, tmp_path):
    named = images(5, named=True)
    expected, _ = Extractor(Backbone("cpu"), GEOMETRY)(named, LAYERS, True)
    with Device():
        extractor = Extractor(Backbone(NAME), GEOMETRY, tmp_path if kept else None, batch, NAME)
        found, _ = extractor(named, LAYERS, True)
    for a, b in zip([*found.maps, found.vectors], [*expected.maps, expected.vectors], strict=True):
        assert a.device.type == "cpu"
        torch.testing.assert_close(a, b)


def test_decoded_images_of_several_batches_are_put_together_on_the_cpu():
    with Device():
        found, _ = Extractor(Backbone(NAME), GEOMETRY, None, 2, NAME)(images(5), LAYERS, False)
    expected, _ = Extractor(Backbone("cpu"), GEOMETRY, None, 2)(images(5), LAYERS, False)
    assert all(map(torch.equal, found.maps, expected.maps))


def test_features_that_are_not_finite_are_named_on_the_device():
    class Broken(Backbone):
        def extract(self, images, layers, vectors):
            maps, pooled = super().extract(images, layers, vectors)
            maps[0][1, 2, 3, 4] = torch.nan
            return maps, pooled

    message = "features layer1 of decoded arrays hold 1 NaN or infinite"
    with Device(), pytest.raises(AdbenchError, match=message):
        Extractor(Broken(NAME), GEOMETRY, None, 16, NAME)(images(3), LAYERS, True)


def test_on_the_cpu_what_the_backbone_gave_is_not_copied():
    given = []

    class Watched(Backbone):
        def extract(self, images, layers, vectors):
            maps, pooled = super().extract(images, layers, vectors)
            given.extend([*maps, pooled])
            return maps, pooled

    features, _ = Extractor(Watched("cpu"), GEOMETRY)(images(3), LAYERS, True)
    found = [*features.maps, features.vectors]
    assert [a.data_ptr() for a in found] == [a.data_ptr() for a in given]
    for moved in (features.on_device(), features.on_cpu()):
        assert [m.data_ptr() for m in moved.maps] == [m.data_ptr() for m in features.maps]


def test_a_batch_that_the_device_cannot_hold_is_halved():
    expected = Backbone("cpu").extract(inputs(8), LAYERS, True)
    backbone = Backbone(NAME)
    one = 9 * 32 * 32 * 4  # bytes of the largest value of an image: nine channels of all pixels
    with Device(limit=3 * one) as device:
        maps, pooled = backbone.extract(inputs(8), LAYERS, True)
        for a, b in zip([*maps, pooled], [*expected[0], expected[1]], strict=True):
            torch.testing.assert_close(a.cpu(), b)
    assert device.refused == 2  # 8 images, then 4
    assert backbone.module.batches[-6:] == [8, 4, 2, 2, 2, 2]


def test_an_image_that_the_device_cannot_hold_is_named():
    backbone = Backbone(NAME)
    with Device() as device:
        backbone.extract(inputs(1), LAYERS, False)  # the network is made
        device.limit = 9 * 32 * 32 * 4 - 1
        message = r"does not hold one of 3 images; set device=cpu, or a smaller geometry\.resize"
        with pytest.raises(AdbenchError, match=message):
            backbone.extract(inputs(3), LAYERS, False)


def test_the_cpu_takes_one_image_at_a_time():
    backbone = Backbone("cpu")
    backbone.extract(inputs(3), LAYERS, False)
    assert set(backbone.module.batches) == {1}


def test_what_was_put_aside_before_the_memory_ran_out_does_not_count():
    # Room for the small maps of all images is there, and none for the large ones.
    class Uneven(Pyramid):
        def forward(self, x):
            mean = x.mean(dim=(1, 2, 3), keepdim=True)
            return [mean.expand(-1, channels, 8, 8) for channels in (2, 400, 2)]

    backbone = Backbone(NAME)
    backbone.module = Uneven()
    with Device() as device:
        expected = backbone.extract(inputs(4), [1, 2], False)[0]
        device.limit = 4 * 400 * 8 * 8 * 4 - 1
        with pytest.raises(AdbenchError, match="does not hold one of 4 images"):
            backbone.extract(inputs(4), [1, 2], False)
        device.limit = 2**40
        found = backbone.extract(inputs(4), [1, 2], False)[0]
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a.cpu(), b.cpu())
