"""Methods on a device: the numbers of the CPU, state that stays there, and memory that runs out."""

import copy
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_device import NAME, Device
from scipy.ndimage import gaussian_filter

from adbench.bench import memory
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.kernels import device as devices
from adbench.kernels import products
from adbench.kernels.coreset import greedy, official_start
from adbench.kernels.device import in_blocks
from adbench.kernels.device_field import DeviceField
from adbench.kernels.neighbors import Neighbors
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset
from adbench.methods.crd import CRD
from adbench.methods.method import ask, restore, state_of
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE
from adbench.methods.subspace import SubspaceAD
from adbench.system import machine

METHODS = {
    "patchcore": PatchCore(ratio=0.2),
    "patchcore, re-weighted": PatchCore(
        ratio=0.2, reweight="paper", b=4, coreset=Coreset(start="official10", projection="none")
    ),
    "patchcore, cosine": PatchCore(
        ratio=0.5, distance="cosine", map_k=3, coreset=Coreset(sampler="random")
    ),
    "crd": CRD(),
    "crd, centred": CRD(center=True, normalize="l2", measure="objective", power="root"),
    "crd, coreset": CRD(bank="coreset", ratio=0.3),
    "subspacead": SubspaceAD(variance=0.9),
    "padim, dual": PaDiM(dims=30),
    "padim, primal": PaDiM(dims=8),
    "padim, projected": PaDiM(reduction="orthonormal", dims=6, ridge_scale="trace"),
    "padim, all channels": PaDiM(reduction="none"),
    "spade": SPADE(k=5),
    "spade, stacked": SPADE(k=4, kappa=3, merge="concat", distance="squared"),
    "spade, same position": SPADE(k=6, kappa=2, gallery="same_position", merge="sum"),
}


def features(n, seed, **settings):
    """Smooth positive maps of three levels with some noise."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for channels, edge in ((8, 12), (12, 6), (16, 3)):
        mixture = torch.randn(channels, 5, generator=torch.Generator().manual_seed(channels))
        coarse = torch.randn(n, 5, 3, 3, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (edge, edge), mode="bicubic")
        mixed = torch.einsum("kc,nchw->nkhw", mixture, smooth)
        maps.append(torch.relu(mixed + 0.2 * torch.randn(mixed.shape, generator=generator)))
    vectors = torch.randn(n, 10, generator=generator)
    return Features(maps, vectors, (48, 40), source="toy", **settings)


def of(method, some):
    """The layers that a method reads."""
    return replace(some, maps=[some.maps[layer - 1] for layer in method.layers])


def fitted(name, **where):
    method = copy.copy(METHODS[name])
    return method.fit(of(method, features(14, 0, **where)))


def scored(method, n=3, **where):
    return method.score(of(method, features(5, 1, **where))[:n])


def close(found, expected, rtol=1e-5):
    """Within a share of the largest score."""
    for a, b in zip(found, expected, strict=True):
        assert (a.device.type, a.dtype) == ("cpu", b.dtype)
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_a_device_gives_the_scores_of_the_cpu(name):
    expected = scored(fitted(name))
    with Device():
        method = fitted(name, device=NAME)
        found = scored(method, device=NAME)
        close((found.images, found.maps), (expected.images, expected.maps))
        together = scored(method, n=1, device=NAME)
    close((together.images,), (found.images[:1],), rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_plain_torch_on_the_cpu_gives_the_scores_of_the_kernels(name):
    expected, found = scored(fitted(name)), scored(fitted(name, plain=True), plain=True)
    close((found.images, found.maps), (expected.images, expected.maps))


@pytest.mark.parametrize("name", METHODS)
def test_what_is_learned_on_a_device_stays_on_the_cpu_and_scores_anywhere(name):
    with Device():
        method = fitted(name, device=NAME)
    state = state_of(method)
    for value in state.values():
        for array in value if isinstance(value, list) else [value]:
            assert not isinstance(array, torch.Tensor) or array.device.type == "cpu"
    on_cpu = scored(method)
    restored = restore(METHODS[name], state)
    with Device():
        elsewhere = scored(restored, device=NAME)
    close((elsewhere.images, elsewhere.maps), (on_cpu.images, on_cpu.maps))


@pytest.mark.parametrize("name", METHODS)
def test_the_state_goes_to_the_device_once_and_images_come_back_together(name):
    ups, downs = [], []
    with Device() as device:
        method = fitted(name, device=NAME)
        scored(method, n=1, device=NAME)  # what is made at the first score is there now
        for n in (1, 2, 5):
            device.up = device.down = 0
            scored(method, n=n, device=NAME)
            ups.append(device.up)
            downs.append(device.down)
    per_image = len(method.layers) + 1  # its maps and its vector
    assert ups[2] - ups[1] <= 3 * per_image
    # Checks for numbers that are not finite are the only ones that wait, once for each level.
    assert downs[2] - downs[1] <= (9 if isinstance(method, SPADE) else 0)
    assert downs[1] - downs[0] <= (3 if isinstance(method, SPADE) else 0)


def test_copies_with_other_score_settings_share_what_is_on_the_device():
    with Device():
        padim = fitted("padim, dual", device=NAME)
        other = ask(padim, image_score="raw")
        scored(other, device=NAME)
        assert other.gaussians is padim.gaussians
        bank = fitted("patchcore", device=NAME)
        scored(bank.cut(0.1), device=NAME)
        close(
            (scored(bank.cut(0.1), device=NAME).maps,), (scored(fitted("patchcore").cut(0.1)).maps,)
        )


def test_greedy_selection_does_not_wait_for_the_device_at_each_pick():
    points = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    downs = []
    with Device() as device:
        for size in (5, 50):
            device.down = 0
            picks = greedy(points.to(NAME), size, initial=official_start(points.to(NAME), 0))
            downs.append(device.down)
    assert downs[0] == downs[1] <= 3
    assert picks.tolist() == greedy(points, 50, initial=official_start(points, 0)).tolist()


@pytest.mark.parametrize("k", [1, 5])
def test_equal_rows_are_found_lowest_first(k):
    rng = np.random.default_rng(0)
    bank = torch.from_numpy(rng.integers(0, 3, (300, 3)).astype(np.float32))
    expected = Neighbors(bank).search(bank[:40], k)
    found = Neighbors(bank, torch.device("cpu")).search(bank[:40], k)
    torch.testing.assert_close(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_row_of_the_bank_is_found_at_distance_0_far_from_the_origin():
    bank = 1000 + torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    distances, rows = Neighbors(bank, torch.device("cpu")).search(bank)
    assert float(distances.max()) == 0
    assert rows[:, 0].tolist() == list(range(50))
    assert Neighbors(bank, torch.device("cpu")).search(bank[:0])[0].shape == (0, 1)


@pytest.mark.parametrize("edge", ["reflect", "mirror", "zero"])
@pytest.mark.parametrize("radius", [None, 3])
def test_the_blur_on_a_device_is_scipys(edge, radius):
    maps = torch.rand(2, 20, 31, generator=torch.Generator().manual_seed(0))
    rule = AnomalyMap(sigma=2.5, edge=edge, radius=radius)
    mode = "constant" if edge == "zero" else edge
    for found, image in zip(rule.blurred(maps), maps, strict=True):
        expected = gaussian_filter(image.double().numpy(), 2.5, mode=mode, radius=radius)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_blocks_shrink_until_they_fit_the_device(name, monkeypatch):
    expected = scored(fitted(name))
    with Device() as device:
        method = fitted(name, device=NAME)
        scored(method, n=1, device=NAME)
        device.limit = 40_000
        found = scored(method, device=NAME)
    assert device.refused > 0 or name.startswith(("crd", "subspacead", "padim, pr"))
    close((found.images, found.maps), (expected.images, expected.maps))


def test_blocks_are_halved_and_stay_small():
    tried = []

    def work(block):
        tried.append(block.stop - block.start)
        if block.stop - block.start > 3:
            raise torch.OutOfMemoryError("full")
        return list(range(block.start, block.stop))

    found = in_blocks(work, 10, 8, "rows")
    assert [row for block in found for row in block] == list(range(10))
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert in_blocks(work, 0, 8, "rows") == []


def test_memory_for_a_single_row_is_named():
    def work(block):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(AdbenchError, match=r"does not hold one of 10 queries; set device=cpu, or"):
        in_blocks(work, 10, 8, "queries")


@pytest.mark.parametrize(
    "words", ["MPS backend out of memory (allocated: 1 GB)", "CUBLAS_STATUS_ALLOC_FAILED when"]
)
def test_memory_that_runs_out_in_words_alone_counts_too(words):
    def work(block):
        if block.stop - block.start > 2:
            raise RuntimeError(words)
        return block.stop - block.start

    assert in_blocks(work, 5, 4, "rows") == [2, 2, 1]


def test_other_errors_are_not_tried_again():
    tried = []

    def work(block):
        tried.append(block)
        raise RuntimeError("another error")

    with pytest.raises(RuntimeError, match="another error"):
        in_blocks(work, 10, 8, "rows")
    assert len(tried) == 1


class Made:
    """A provider of features that are made already."""

    def __init__(self, made):
        self.made = made

    def features(self, *_):
        return self.made


class NoBackbone:
    def release(self):
        pass


PATHS = Images(paths=("normal.png",) * 14, digests=("0",) * 14)


def test_a_state_that_the_device_cannot_hold_is_named():
    method = METHODS["spade"]
    detector = FeatureDetector(Geometry(), NoBackbone(), method, device=NAME)
    normal = of(method, features(14, 0, device=NAME))
    message = r"SPADE: lazy:0 ran out of memory; set device=cpu, or method\.layers=\[2,3\]"
    with Device(limit=20_000), pytest.raises(AdbenchError, match=message):
        detector.fit(PATHS, Made(normal))


@pytest.mark.parametrize("name", METHODS)
def test_the_estimate_bounds_the_state_on_the_device(name):
    with Device():
        method = fitted(name, device=NAME)
        scored(method, device=NAME)
        kept = {
            "PatchCore": lambda: method.index.nbytes,
            "CRD": lambda: method.projector.axes.nbytes,
            "SubspaceAD": lambda: method.projector.axes.nbytes,
            "PaDiM": lambda: method.gaussians.nbytes,
            "SPADE": lambda: sum(gallery.nbytes for gallery in method.galleries),
        }[type(method).__name__]()
    assert method.device_memory(of(method, features(14, 0)), 3) >= kept


@pytest.mark.parametrize("name", ["patchcore", "padim, dual", "spade"])
def test_the_estimate_bounds_what_the_device_holds_at_its_peak(name, monkeypatch):
    block = 100_000  # bytes, instead of the many that would hide all else
    monkeypatch.setattr(devices, "CHUNK", block)
    for module in ("kernels.device_field", "kernels.device_reduction"):
        monkeypatch.setattr(f"adbench.{module}.IMAGES", block)
    for module in ("patchcore", "embedding"):
        monkeypatch.setattr(f"adbench.methods.{module}.BLOCK", block)
    method = copy.copy(METHODS[name])
    normal, test = (of(method, features(n, n, device=NAME)) for n in (40, 2))
    with Device() as device:
        method.fit(normal).score(test)
    estimate = method.device_memory(normal, 2)
    assert device.peak <= estimate + 2 * block
    assert estimate <= 3 * device.peak + 4 * block


@pytest.mark.parametrize("name", METHODS)
def test_the_memory_of_the_cpu_is_not_asked_for_what_the_device_holds(name):
    method = METHODS[name]
    normal = of(method, features(14, 0))
    there = replace(normal, device="cuda:0")
    assert method.memory(there, 3) < method.memory(normal, 3)
    fitted = copy.copy(method).fit(normal)
    learned = {n: v for n, v in state_of(fitted).items() if n not in ("maps_", "vectors_")}
    arrays = [a for v in learned.values() for a in (v if isinstance(v, list) else [v])]
    kept = sum(getattr(array, "nbytes", 0) for array in arrays)
    maps = 3 * 48 * 40 * 4
    assert method.memory(there, 3) >= maps + 0.9 * kept


def test_a_device_that_shares_the_memory_of_the_cpu_needs_both(monkeypatch):
    method = METHODS["patchcore"]
    normal = of(method, features(14, 0, device="mps"))
    needed = method.memory(normal, 3) + method.device_memory(normal, 3)
    detector = FeatureDetector(Geometry(), NoBackbone(), method, device="mps")
    monkeypatch.setattr(machine, "free_memory", lambda: needed)
    memory.require(detector, PATHS, 3, Made(normal))
    monkeypatch.setattr(machine, "free_memory", lambda: needed - 1)
    with pytest.raises(AdbenchError, match="PatchCore on 14 images needs about"):
        memory.require(detector, PATHS, 3, Made(normal))


def test_the_network_gives_its_memory_on_the_device_back_before_a_refusal(monkeypatch):
    class Network(NoBackbone):
        released = 0

        def release(self):
            self.released += 1

    method, network = METHODS["spade"], Network()
    normal = of(method, features(14, 0, device="cuda:0"))
    needed = method.device_memory(normal, 3)
    detector = FeatureDetector(Geometry(), network, method, device="cuda:0")
    monkeypatch.setattr(
        machine, "free_device_memory", lambda device: needed if network.released else needed - 1
    )
    memory.require(detector, PATHS, 3, Made(normal))
    assert network.released == 1


def test_a_device_that_is_too_small_is_refused_before_the_work(monkeypatch):
    method = METHODS["spade"]
    normal = of(method, features(14, 0))
    needed = method.device_memory(normal, 3)
    detector = FeatureDetector(Geometry(), NoBackbone(), method, device="cuda:0")
    monkeypatch.setattr(machine, "free_device_memory", lambda device: needed)
    memory.require(detector, PATHS, 3, Made(normal))
    monkeypatch.setattr(machine, "free_device_memory", lambda device: needed - 1)
    message = r"SPADE on 14 images needs about 0\.0 GB of memory on cuda:0 .*layers=\[2,3\] would"
    with pytest.raises(AdbenchError, match=message):
        memory.require(detector, PATHS, 3, Made(normal))
    monkeypatch.setattr(machine, "free_device_memory", lambda device: 10)
    with pytest.raises(AdbenchError, match="set device=cpu, or a smaller geometry"):
        memory.require(detector, PATHS, 3, Made(normal))
    monkeypatch.setattr(machine, "free_device_memory", lambda device: None)  # the CPU's own memory
    memory.require(detector, PATHS, 3, Made(normal))


def test_the_free_memory_of_a_device_counts_what_torch_keeps_for_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert machine.free_device_memory("cuda:0") == 1300
    assert machine.free_device_memory("cpu") is None


@pytest.mark.parametrize("name", METHODS)
def test_a_device_without_float64_leaves_it_to_the_cpu(name, monkeypatch):
    expected = scored(fitted(name))
    for module in (devices, products):
        monkeypatch.setattr(module, "widest", lambda device: torch.float32)
    monkeypatch.setattr("adbench.methods.on_device.has_double", lambda device: False)
    with Device():
        found = scored(fitted(name, device=NAME), device=NAME)
    close((found.images, found.maps), (expected.images, expected.maps), rtol=1e-4)


def test_the_record_says_once_that_float64_is_missing(monkeypatch):
    detector = FeatureDetector(Geometry(), None, METHODS["crd"], device="mps")
    monkeypatch.setattr(FeatureDetector, "reads", lambda self: ([], False))
    stub = type("Backbone", (), {"weights_in_words": lambda self: "none"})()
    method = fitted("crd")
    notes = replace(detector, backbone=stub, method=method).facts()["notes"]
    assert [note for note in notes if "float64" in note] == [
        "mps has no float64; what needs it was computed on the CPU"
    ]
    on_cpu = replace(detector, backbone=stub, method=method, device="cpu").facts()["notes"]
    assert not any("float64" in note for note in on_cpu)


@pytest.fixture
def check_device(monkeypatch):
    scripts = Path(__file__).parents[1] / "scripts"
    if not scripts.is_dir():
        pytest.skip("not in a checkout: there are no scripts")
    monkeypatch.syspath_prepend(scripts)
    return importlib.import_module("check_device")


def test_the_check_of_a_device_names_the_methods_that_differ(check_device, capsys, monkeypatch):
    normal, test = features(14, 0), features(3, 1)
    assert check_device.compare(normal, test, "cpu", 1e-5) == 0
    printed = capsys.readouterr().out
    assert f"0 of {len(check_device.METHODS)} differ by more than 1e-05" in printed
    monkeypatch.setattr(DeviceField, "squared_distances", lambda self, maps, *_: zeros_like(maps))
    assert check_device.compare(normal, test, "cpu", 1e-5) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("1e-05: PaDiM, dual, PaDiM, primal, PaDiM, all channels")


def zeros_like(maps):
    n, _, h, w = maps[0].shape
    return torch.zeros(n, h, w)


@pytest.mark.parametrize("ridge", [1e-7, 1e-5, 10.0])
def test_small_ridges_lose_no_digits_on_a_device(ridge):
    method = PaDiM(dims=30, ridge=ridge)
    normal, test = features(14, 0), features(3, 1)
    expected = copy.copy(method).fit(normal).score(test).maps
    with Device():
        there = [replace(some, device=NAME) for some in (normal, test)]
        found = copy.copy(method).fit(there[0]).score(there[1]).maps
    close((found,), (expected,))


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_a_ridge_that_is_too_small_is_named_on_a_device(solver):
    method = PaDiM(dims=30, ridge=1e-20, solver=solver)
    message = "ridge is too small to invert a covariance with mean diagonal .*; raise method.ridge"
    with Device(), pytest.raises(AdbenchError, match=message):
        method.fit(features(14, 0, device=NAME))


@pytest.mark.parametrize("name", METHODS)
def test_features_that_are_not_finite_are_named_on_a_device(name):
    method = copy.copy(METHODS[name])
    normal = of(method, features(14, 0, device=NAME))
    for maps in normal.maps:
        maps[3, 2, 1, 1] = torch.nan
    with Device(), pytest.raises(AdbenchError, match="NaN or infinite"):
        method.fit(normal)
