"""What is free, and whether estimates hold what methods really take."""

import copy
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from adbench import features as features_module
from adbench import machine, memory
from adbench.build import check, settings_of
from adbench.core import AdbenchError, Features
from adbench.features import Extractor
from adbench.images import Geometry
from adbench.kernels import screen
from adbench.kernels.screen import Screen
from adbench.methods.crd import CRD
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE

GB = 10**9


def features(n, seed, channels=(32, 64, 128), side=40):
    """Smooth maps of three levels that vary along 24 directions and a little along all, as those of trained networks."""
    generator = torch.Generator().manual_seed(seed)

    def level(c, edge):
        mixture = torch.randn(c, 24, generator=torch.Generator().manual_seed(9)) * torch.logspace(0, -2, 24)
        coarse = torch.randn(n, 24, 5, 5, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (edge, edge), mode="bilinear").flatten(2)
        return (mixture @ smooth + 0.02 * torch.randn(n, c, edge * edge, generator=generator)).reshape(n, c, edge, edge)

    maps = [level(c, side // 2**i) for i, c in enumerate(channels)]
    return Features(maps, torch.randn(n, 16, generator=generator), (4 * side, 4 * side), source="toy")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("method", "most"),
    [
        (PatchCore(layers=[1, 2], ratio=0.25), 2.0),
        (PatchCore(layers=[1, 2], ratio=1.0, k=3), 2.0),
        (PatchCore(layers=[1, 2], ratio=0.05, projection="none"), 2.5),
        (PaDiM(dims=40), 3.0),
        (PaDiM(dims=160), 3.0),
        (PaDiM(reduction="gaussian"), 3.0),
        (PaDiM(reduction="none"), 3.0),
        (SPADE(k=5), 2.5),
    ],
    ids=lambda value: f"{value}"[:60] if not isinstance(value, float) else "",
)
def test_the_estimate_bounds_what_fit_and_score_take(method, most):
    # A process of its own: in this one the tests before have left free memory behind, which would be taken first.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        taken, estimate = process.submit(taken_and_estimate, method).result()
    slack = 60e6  # what allocators and threads add, and PatchCore's blocks where all the patches are but one
    assert taken < estimate + slack
    assert estimate < most * taken + 4 * slack


def taken_and_estimate(method):
    """Bytes that fit and score take at their peak, on two threads, and those that the method expects."""
    machine.set_threads(2)
    copy.copy(method).fit(features(4, 2)).score(features(2, 3))  # loads compiled code and libraries
    normal, test = features(70, 0), features(8, 1)
    machine.reset_peak_memory()
    before = machine.peak_memory()
    method.fit(normal).score(test)
    return machine.peak_memory() - before, method.memory(normal, len(test))


def test_the_estimate_of_several_together_bounds_them():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        taken, estimate, alone = process.submit(taken_together).result()
    assert alone < taken < estimate + 60e6
    assert estimate < 3 * taken + 240e6  # it counts the larger of the two sets, and here the smaller one is searched


def taken_together():
    """Bytes that a fit of several coresets and one search in all of them take, those expected, and those of one alone."""
    machine.set_threads(2)
    settings = {"layers": [1, 2], "k": 60}
    PatchCore(**settings, ratio=0.5).fit(features(4, 2)).score(features(2, 3))
    one = PatchCore(**settings, ratio=0.9)
    others = [PatchCore(**settings, ratio=ratio / 10) for ratio in range(1, 9)]
    normal, test = replace(features(40, 0), key="normal"), replace(features(30, 1), key="test")
    machine.reset_peak_memory()
    before = machine.peak_memory()
    one.fit_with(others, normal)
    one.score(test)
    return machine.peak_memory() - before, one.memory_with(others, normal, len(test)), one.memory(normal, len(test))


def test_where_not_all_fit_together_each_is_fitted_alone(monkeypatch):
    normal, others = features(10, 0), [PatchCore(layers=[1, 2], ratio=0.9)]
    one = PatchCore(layers=[1, 2], ratio=0.1)
    assert memory.those_that_fit(one, others, normal, 5) == others
    monkeypatch.setattr(machine, "free_memory", lambda: one.memory(normal, 5) + 10**6)
    assert memory.those_that_fit(one, others, normal, 5) == []
    assert memory.those_that_fit(SPADE(), [SPADE(k=3)], normal, 5) == []


def test_crds_estimate_does_not_grow_with_the_images():
    crd = CRD(layers=[1, 2])
    few, many = (crd.memory(features(n, 0), 10) for n in (10, 40))
    assert many - few == 3 * 4 * 6 * 30 * 40 * 40  # the scores of the training images, for the threshold


def test_what_would_fit_is_named(monkeypatch):
    normal = features(30, 0)
    method = PatchCore(layers=[1, 2], ratio=0.9, k=3)
    needed = {ratio: PatchCore(layers=[1, 2], ratio=ratio, k=3).memory(normal, 10) for ratio in (0.9, 0.25, 0.1)}
    monkeypatch.setattr(machine, "free_memory", lambda: needed[0.25])
    with pytest.raises(
        AdbenchError, match=r"PatchCore on 30 images needs about 0.\d GB .* method.ratio=0.25 would fit"
    ):
        memory.require(method, normal, 10)
    assert not memory.fits(method, normal, 10)
    memory.require(PatchCore(layers=[1, 2], ratio=0.25, k=3), normal, 10)
    with pytest.raises(AdbenchError, match=r"method\.ratio=0\.1 would fit"):
        memory.require(method, normal, 10, besides=needed[0.25] - needed[0.1])
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    with pytest.raises(AdbenchError, match="free some, or set a smaller geometry"):
        memory.require(method, normal, 10)


@pytest.mark.parametrize(
    "method", [PatchCore(ratio=0.3), PaDiM(reduction="none"), PaDiM(dims=300), SPADE(), CRD(bank="coreset", ratio=0.3)]
)
def test_each_lighter_setting_is_valid_and_needs_less(method):
    everything = features(10, 0, channels=(128, 256, 512), side=16)
    normal = Features(everything.maps[-len(method.layers) :], None, everything.size)
    changes = list(method.lighter())
    assert changes
    for change in changes:
        assert check(type(method), settings_of(method) | change, "method").memory(normal, 4) <= method.memory(normal, 4)


def test_a_method_without_an_estimate_is_let_through():
    memory.require(object(), features(1, 0), 10)


@pytest.mark.parametrize(("version", "expected"), [("", 700), ("memory", 700)])
def test_a_control_groups_limit_counts_and_its_file_pages_do_not(tmp_path, monkeypatch, version, expected):
    names = {
        "": ("memory.max", "memory.current", "inactive_file"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    limit, used, files = names[version]
    inner = tmp_path / version / "jobs" / "one"
    inner.mkdir(parents=True)
    for folder, allowed in ((inner, "max" if not version else "9223372036854771712"), (inner.parent, "1000")):
        (folder / limit).write_text(allowed)
        (folder / used).write_text("500")
        (folder / "memory.stat").write_text(f"anon 300\n{files} 200\n")
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    own = tmp_path / "cgroup"
    own.write_text(f"{'4' if version else '0'}:{version}:/jobs/one\n1:cpu:/\n")
    monkeypatch.setattr(machine, "OWN_GROUPS", own)
    assert machine.free_memory() == expected
    own.unlink()
    assert machine.free_memory() > 10**6  # a system without control groups has what it has


def test_the_screen_keeps_to_fewer_axes_where_all_coordinates_would_not_fit(monkeypatch):
    import numpy as np

    points = np.random.default_rng(0).standard_normal((3000, 600), dtype=np.float32)  # as flat as can be
    assert Screen(points).shadows(points)[0].shape[1] == 602
    monkeypatch.setattr(machine, "free_memory", lambda: 4 * 600 * 2999)
    assert Screen(points).shadows(points)[0].shape[1] == screen.RANKS[-1] + 2


class TwoLevels:
    """A backbone whose maps are as large as one asks."""

    def identity(self):
        return {"model": "toy"}

    def extract(self, images, layers, vectors):
        return [torch.zeros(len(images), 8, 16, 16)], None


def test_features_that_fit_neither_disk_nor_memory_are_refused_before_they_are_made(
    tmp_path, monkeypatch, make_category, caplog
):
    from adbench.datasets.mvtec import MVTec

    make_category(tmp_path, "bottle", edge=64)
    samples = MVTec(root=str(tmp_path), categories=["bottle"]).load("bottle").train
    reads = type("Reads", (), {"layers": [1], "needs_vectors": False})
    made = Extractor(TwoLevels(), Geometry(resize=64, crop=None), tmp_path / "cache", batch=2)
    names = [str(i) for i in range(len(samples))]
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(features_module.shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 1000))
    assert len(made(samples, names, reads)) == len(samples)
    assert "cannot keep features" in caplog.text
    assert not list((tmp_path / "cache").rglob("*.npy"))
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    with pytest.raises(AdbenchError, match=r"no cache folder holds them .* set cache=DIR"):
        made(samples, names, reads)
