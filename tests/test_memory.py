"""What is free, and whether estimates hold what methods really take."""

import copy
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from adbench.bench import memory
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import AdbenchError, MemoryShortError
from adbench.features.features import Features
from adbench.methods.coreset import Coreset
from adbench.methods.crd import CRD
from adbench.methods.method import replaced
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE
from adbench.system import machine


def features(n, seed, channels=(32, 64, 128), side=40):
    """Smooth maps of three levels, most of whose variance lies along 24 directions.

    Maps of trained networks are so too.
    """
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(9)

    def level(c, edge):
        mixture = torch.randn(c, 24, generator=fixed) * torch.logspace(0, -2, 24)
        coarse = torch.randn(n, 24, 5, 5, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (edge, edge), mode="bilinear").flatten(2)
        noise = 0.02 * torch.randn(n, c, edge * edge, generator=generator)
        return (mixture @ smooth + noise).reshape(n, c, edge, edge)

    maps = [level(c, side // 2**i) for i, c in enumerate(channels)]
    vectors = torch.randn(n, 16, generator=generator)
    return Features(maps, vectors, (4 * side, 4 * side), source="toy")


class Made:
    """A provider of features that are made already."""

    def __init__(self, normal):
        self.normal = normal

    def features(self, backbone, geometry, images, layers, vectors):
        return self.normal


class NoBackbone:
    def release(self):
        pass


NORMAL = Images(paths=(Path("normal.png"),) * 30, digests=("0",) * 30)


def require(method, normal, test, rest=0):
    """Check a method on features that are made already."""
    detector = FeatureDetector(Geometry(), NoBackbone(), method)
    memory.require(detector, NORMAL, test, Made(normal), rest)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.parametrize(
    ("method", "most"),
    [
        (PatchCore(layers=[1, 2], ratio=0.25), 2.0),
        (PatchCore(layers=[1, 2], ratio=1.0, map_k=3), 2.0),
        (PatchCore(layers=[1, 2], ratio=0.05, coreset=Coreset(projection="none")), 2.5),
        (PaDiM(dims=40), 3.0),
        (PaDiM(dims=160), 3.0),
        (PaDiM(reduction="gaussian"), 3.0),
        (PaDiM(reduction="none"), 3.0),
        (SPADE(k=5), 2.5),
        (CRD(layers=[1, 2], bank="coreset", ratio=1.0, normalize="l2"), 2.5),
    ],
    ids=lambda value: f"{value}"[:60] if not isinstance(value, float) else "",
)
def test_the_estimate_bounds_what_fit_and_score_take(method, most):
    # In a process of its own: here earlier tests have left free memory, which would be taken first.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        taken, estimate = process.submit(taken_and_estimate, method).result()
    slack = 60e6  # what allocators and threads add, and PatchCore's blocks of patches
    assert taken < estimate + slack
    assert estimate < most * taken + 4 * slack


def taken_and_estimate(method):
    """Bytes that fit and score take at their peak on two threads, and those expected.

    The training images are scored too, as they are for a threshold.
    """
    machine.set_threads(2)
    copy.copy(method).fit(features(4, 2)).score(features(2, 3))  # loads code and libraries
    normal, test = features(70, 0), features(8, 1)
    machine.reset_peak_memory()
    before = machine.peak_memory()
    method.fit(normal).score(test)
    list(method.score_all(normal, [method], maps=False))
    return machine.peak_memory() - before, method.memory(normal, len(test))


def test_crds_estimate_does_not_grow_with_the_training_images():
    crd = CRD(layers=[1, 2])
    few, many = (crd.memory(features(n, 0), 50) for n in (10, 40))
    assert few == many


def test_what_would_fit_is_named(monkeypatch):
    normal = features(30, 0)
    method = PatchCore(layers=[1, 2], ratio=0.9, map_k=3)
    needed = {r: replace(method, ratio=r).memory(normal, 10) for r in (0.9, 0.25, 0.1)}
    monkeypatch.setattr(machine, "free_memory", lambda: needed[0.25])
    message = r"PatchCore on 30 images needs about 0.\d GB .* method.ratio=0.25 would fit"
    with pytest.raises(AdbenchError, match=message):
        require(method, normal, 10)
    require(replace(method, ratio=0.25), normal, 10)
    with pytest.raises(AdbenchError, match=r"method\.ratio=0\.1 would fit"):
        require(method, normal, 10, rest=needed[0.25] - needed[0.1])
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    with pytest.raises(AdbenchError, match="free some, or set a smaller geometry"):
        require(method, normal, 10)


def test_settings_that_the_features_cannot_have_are_not_offered(monkeypatch):
    normal = features(30, 0, channels=(24, 40, 112))  # 176 channels, fewer than the 550 and 200
    method = PaDiM(reduction="none", solver="primal")
    of_100 = replace(method, reduction="select", dims=100).memory(normal, 10)
    monkeypatch.setattr(machine, "free_memory", lambda: of_100)
    message = r"PaDiM on 30 images .*; method.reduction=select method.dims=100 would fit"
    with pytest.raises(AdbenchError, match=message):
        require(method, normal, 10)


@pytest.mark.parametrize(
    "method",
    [
        PatchCore(ratio=0.3),
        PaDiM(reduction="none"),
        PaDiM(dims=300),
        SPADE(),
        CRD(bank="coreset", ratio=0.3),
    ],
)
def test_each_lighter_setting_is_valid_and_needs_less(method):
    everything = features(10, 0, channels=(128, 256, 512), side=16)
    normal = Features(everything.maps[-len(method.layers) :], None, everything.size)
    changes = list(method.less_memory())
    assert changes
    for change in changes:
        assert replaced(method, change).memory(normal, 4) <= method.memory(normal, 4)


def test_a_method_without_an_estimate_is_let_through():
    class Unknown:
        layers, needs_vectors = [1], False

    require(Unknown(), features(1, 0), 10)


class FromFile:
    """A detector that was fitted before, and makes no estimate."""

    title = "FromFile"

    def decision(self):
        return None

    def release(self):
        pass


def test_a_detector_without_an_estimate_needs_what_the_rest_of_the_run_needs(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 10**9)
    memory.require(FromFile(), NORMAL, 10, Made(None), rest=10**9)
    message = "needs about 2.0 GB .* or fit the detector with a smaller geometry"
    with pytest.raises(MemoryShortError, match=message):
        memory.require(FromFile(), NORMAL, 10, Made(None), rest=2 * 10**9)


def test_features_are_made_once_where_memory_suffices():
    reads = []

    class Counted(Made):
        def features(self, *given):
            reads.append(given)
            return super().features(*given)

    detector = FeatureDetector(Geometry(), NoBackbone(), PatchCore(layers=[1, 2]))
    memory.require(detector, NORMAL, 10, Counted(features(3, 0)))
    assert len(reads) == 1
