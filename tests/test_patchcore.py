import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist

from adbench.core import AdbenchError, Features, NotFittedError
from adbench.fitting import ask, state_bytes
from adbench.kernels.neighbors import Neighbors
from adbench.memo import Memo
from adbench.methods import patchcore
from adbench.methods.patchcore import PatchCore, official_embedding
from adbench.patches import AnomalyMap


def features(n, seed, memo=None, key="", channels=(6, 10), side=6):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(n, channels[0], side, side, generator=generator)]
    maps.append(torch.randn(n, channels[1], side // 2, side // 2, generator=generator))
    return Features(maps, None, (24, 24), key=key, source="toy", memo=memo or Memo())


NORMAL, TEST = features(7, seed=0), features(4, seed=1)


def embedded(f):
    """The definition: average each neighbourhood, bring the deeper map up, stack, one row per patch."""
    fine, deep = (F.avg_pool2d(m, 3, 1, 1) for m in f.maps)
    deep = F.interpolate(deep, fine.shape[-2:], mode="bilinear", align_corners=False)
    table = [
        [torch.cat([fine[i, :, y, x], deep[i, :, y, x]]) for y in range(6) for x in range(6)] for i in range(len(f))
    ]
    return torch.stack([row for image in table for row in image]).double().numpy()


def naive_greedy(points, size):
    picks = [0]
    distances = cdist(points, points[:1])[:, 0]
    while len(picks) < size:
        picks.append(int(np.argmax(distances)))
        distances = np.minimum(distances, cdist(points, points[picks[-1:]])[:, 0])
    return picks


def test_bank_is_the_naive_greedy_coreset_and_scores_are_brute_force_distances():
    method = PatchCore(ratio=0.2, projection="none").fit(NORMAL)
    points = embedded(NORMAL)
    bank = points[naive_greedy(points, int(0.2 * len(points)))]
    np.testing.assert_allclose(method.bank_.numpy(), bank, rtol=1e-5, atol=1e-6)

    expected = cdist(embedded(TEST), bank).min(axis=1).reshape(4, 6, 6)
    scores = method.score(TEST)
    np.testing.assert_allclose(scores.images.numpy(), expected.max(axis=(1, 2)), rtol=1e-5)
    maps = AnomalyMap()(torch.from_numpy(expected), (24, 24))
    np.testing.assert_allclose(scores.maps.numpy(), maps.numpy(), rtol=1e-5)


def test_selection_happens_in_the_projected_space_of_the_embedding():
    method = PatchCore(ratio=0.2, dim=4, seed=3).fit(NORMAL)
    from adbench.kernels import projection

    points = embedded(NORMAL) @ projection.gaussian(16, 4, 3).double().numpy()
    np.testing.assert_allclose(method.bank_.numpy(), embedded(NORMAL)[naive_greedy(points, 50)], rtol=1e-5, atol=1e-6)


def test_ratio_one_keeps_every_patch():
    method = PatchCore(ratio=1.0).fit(NORMAL)
    np.testing.assert_allclose(method.bank_.numpy(), embedded(NORMAL), rtol=1e-5, atol=1e-6)
    assert float(method.score(NORMAL).images.max()) == 0.0


def test_picks_are_nested_and_a_longer_run_serves_the_smaller_ratio(tmp_path):
    normal = features(7, seed=0, memo=Memo(tmp_path), key="normal")
    small = PatchCore(ratio=0.1).fit(normal).bank_
    large = PatchCore(ratio=0.5).fit(normal).bank_
    again = PatchCore(ratio=0.1).fit(normal).bank_
    torch.testing.assert_close(large[: len(small)], small, rtol=0, atol=0)
    torch.testing.assert_close(again, small, rtol=0, atol=0)
    torch.testing.assert_close(PatchCore(ratio=0.5).fit(NORMAL).bank_, large, rtol=0, atol=0)  # resumed == in one go
    assert len(list(tmp_path.glob("greedy-*.memo"))) == 1


@pytest.mark.parametrize("sampler", ["greedy", "random"])
def test_kept_searches_give_the_scores_of_a_fresh_search(tmp_path, sampler):
    memo = Memo(tmp_path)
    normal, test = features(7, 0, memo, "normal"), features(4, 1, memo, "test")
    for ratio in (0.1, 0.5, 0.3, 1.0):
        for k in (1, 3, 2):
            method = PatchCore(sampler=sampler, ratio=ratio, k=k)
            kept, fresh = method.fit(normal).score(test), method.fit(NORMAL).score(TEST)
            torch.testing.assert_close(kept.images, fresh.images, rtol=1e-6, atol=0)
            torch.testing.assert_close(kept.maps, fresh.maps, rtol=1e-6, atol=1e-6)
    assert len(list(tmp_path.glob("neighbors-*.memo"))) == 2  # of the sampler's order, and of all patches


@pytest.mark.parametrize("ratio", [0.5, 1.0])
@pytest.mark.parametrize("setting", [{"patch": 5}, {"pool_padding": False}, {"upsample": "nearest"}, {"seed": 1}])
def test_what_is_kept_of_other_patches_is_not_taken(tmp_path, ratio, setting):
    memo = Memo(tmp_path)
    normal, test = features(7, 0, memo, "normal"), features(4, 1, memo, "test")
    PatchCore(ratio=ratio).fit(normal).score(test)
    other = PatchCore(ratio=ratio, **setting)
    kept, fresh = other.fit(normal).score(test), other.fit(NORMAL).score(TEST)
    torch.testing.assert_close(kept.images, fresh.images, rtol=1e-6, atol=0)


def test_without_a_folder_what_was_found_together_is_found_once(monkeypatch):
    searched = []
    search = Neighbors.search_beginnings
    monkeypatch.setattr(Neighbors, "search_beginnings", lambda *a: searched.append(a[3]) or search(*a))
    normal, test = features(7, 0, key="normal"), features(4, 1, key="test")
    others = [PatchCore(ratio=0.5, k=3), PatchCore(ratio=0.02, k=50)]  # 50 of a bank of 5 are its own job's error
    methods = [method for method, _ in PatchCore(ratio=0.02).fit_with(others, normal)[:2]]
    kept = [method.score(test).images for method in methods]
    assert searched == [[5, 126]]
    for method, images in zip(methods, kept, strict=True):
        fresh = PatchCore(ratio=method.ratio, k=method.k).fit(NORMAL).score(TEST).images
        torch.testing.assert_close(images, fresh, rtol=1e-6, atol=0)


def test_methods_of_one_order_are_fitted_and_searched_together(tmp_path, monkeypatch):
    selected, searched = [], []
    greedy, search = patchcore.greedy, Neighbors.search_beginnings
    monkeypatch.setattr(
        patchcore, "greedy", lambda points, size, *a, **k: selected.append(size) or greedy(points, size, *a, **k)
    )
    monkeypatch.setattr(
        Neighbors,
        "search_beginnings",
        lambda self, queries, k, sizes, known=None: (
            searched.append((len(self.bank), k, list(sizes))) or search(self, queries, k, sizes, known)
        ),
    )
    memo = Memo(tmp_path)
    normal, test = features(7, 0, memo, "normal"), features(4, 1, memo, "test")
    settings = [{"ratio": ratio, "k": k} for ratio in (0.02, 0.5, 0.1) for k in (1, 9, 3)]
    others = [PatchCore(**s) for s in settings] + [PatchCore(ratio=1.0), PatchCore(ratio=0.001), PatchCore(patch=5)]
    together = PatchCore(**settings[0]).fit_with(others, normal)
    assert [(m.ratio, m.k) for m, _ in together] == [(0.02, 1), *((s["ratio"], s["k"]) for s in settings)]
    kept = [m.score(test) for m, _ in together if m.k <= len(m.bank_)]
    assert (selected, searched) == ([126], [(126, 9, [5, 25, 126])])
    for (method, spared), scores in zip([t for t in together if t[0].k <= len(t[0].bank_)], kept, strict=True):
        alone = PatchCore(ratio=method.ratio, k=method.k).fit(NORMAL)
        torch.testing.assert_close(method.bank_, alone.bank_, rtol=0, atol=0)
        torch.testing.assert_close(scores.images, alone.score(TEST).images, rtol=1e-6, atol=0)
        torch.testing.assert_close(scores.maps, alone.score(TEST).maps, rtol=1e-6, atol=1e-6)
        assert state_bytes(method) == state_bytes(alone)
        assert spared > 0
        assert "banks of 5, 25, 126 patches" in method.notes_[0]


def test_k_averages_the_nearest_for_the_map_unless_map_k_says_otherwise():
    bank = embedded(NORMAL)
    nearest = np.sort(cdist(embedded(TEST), bank), axis=1)
    averaged = PatchCore(ratio=1.0, k=3).fit(NORMAL).score(TEST).images.numpy()
    np.testing.assert_allclose(averaged, nearest[:, :3].mean(1).reshape(4, -1).max(1), rtol=1e-5)
    single = PatchCore(ratio=1.0, k=3, map_k=1).fit(NORMAL).score(TEST).images.numpy()
    np.testing.assert_allclose(single, nearest[:, 0].reshape(4, -1).max(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("reweight", "include_self", "b"), [("paper", True, 3), ("scaled", False, 2), ("paper", False, 1)]
)
def test_reweighting_is_equation_7(reweight, include_self, b):
    bank, queries = embedded(NORMAL), embedded(TEST)
    distances = cdist(queries, bank)
    scale = math.sqrt(16) if reweight == "scaled" else 1.0
    expected = []
    for image in range(4):
        own = distances[image * 36 : (image + 1) * 36]
        patch = own.min(axis=1).argmax()
        star = own[patch].argmin()
        around = np.argsort(cdist(bank[star : star + 1], bank)[0], kind="stable")[int(not include_self) :][:b]
        s = own[patch, star]
        expected.append((1 - np.exp(s / scale) / np.exp(own[patch, around] / scale).sum()) * s)
    method = PatchCore(ratio=1.0, reweight=reweight, include_self=include_self, b=b).fit(NORMAL)
    np.testing.assert_allclose(method.score(TEST).images.numpy(), expected, rtol=1e-4)


def test_reweighting_survives_distances_whose_exponential_overflows():
    far = Features([m * 1000 for m in TEST.maps], None, TEST.size, source="toy")
    images = PatchCore(ratio=1.0, reweight="paper", k=3, map_k=1).fit(NORMAL).score(far).images
    assert bool(torch.isfinite(images).all())


def test_squared_distances_are_squared_before_upsampling():
    root = PatchCore(ratio=1.0, anomaly_map=AnomalyMap(sigma=0)).fit(NORMAL)
    squared = ask(root, distance="squared")
    torch.testing.assert_close(squared.score(TEST).images, root.score(TEST).images ** 2)
    assert not torch.allclose(squared.score(TEST).maps, root.score(TEST).maps ** 2)


def official_by_unfolding(maps):
    """patchcore-inspection's steps: unfold, bring to one size, pool each layer to 1024 values, stack, pool to 1024."""
    n, _, h, w = maps[0].shape
    layers = []
    for m in maps:
        side = m.shape[-1]
        unfolded = F.unfold(m, 3, padding=1).reshape(n, -1, side, side)  # c * 9 values per patch
        if side != w:
            unfolded = F.interpolate(unfolded, (h, w), mode="bilinear", align_corners=False)
        per_patch = unfolded.permute(0, 2, 3, 1).reshape(n * h * w, 1, -1)
        layers.append(F.adaptive_avg_pool1d(per_patch, 1024)[:, 0])
    stacked = torch.stack(layers, dim=1).reshape(n * h * w, 1, -1)
    return F.adaptive_avg_pool1d(stacked, 1024)[:, 0]


def test_official_embedding_equals_unfolding():
    f = features(2, seed=2, channels=(512, 1024), side=4)
    method = PatchCore(embedding="official", ratio=1.0, projection="none").fit(f)
    assert method.bank_.shape == (32, 1024)
    torch.testing.assert_close(method.bank_, official_by_unfolding(f.maps), rtol=1e-5, atol=1e-6)


def test_official_embedding_refuses_other_channels():
    with pytest.raises(AdbenchError, match=r"\(512, 1024\) channels.*got \(6, 10\)"):
        official_embedding(NORMAL.maps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.001}, r"ratio 0\.001 keeps 0 of 252 patches; use at least 0\.0039"),
        ({"ratio": 0.01, "k": 3}, "k 3 is larger than the bank of 2 patches"),
        ({"projection": "jl_sparse", "eps": 0.1}, "eps 0.1 asks for"),
        ({"ratio": 0.01, "reweight": "paper", "b": 5}, "b=5 neighbours needs a bank larger than 2"),
    ],
)
def test_what_cannot_be_done_says_why(settings, message):
    with pytest.raises(AdbenchError, match=message):
        PatchCore(**settings).fit(NORMAL).score(TEST)


def test_the_smallest_ratio_named_in_the_error_works():
    assert len(PatchCore(ratio=0.00397).fit(NORMAL).bank_) == 1


def test_nan_features_are_counted():
    broken = Features([NORMAL.maps[0].clone(), NORMAL.maps[1]], None, NORMAL.size, source="toy")
    broken.maps[0][3, 2, 1, 1] = float("nan")
    with pytest.raises(AdbenchError, match="NaN"):
        PatchCore().fit(broken)


def test_score_before_fit_and_other_sources_are_refused():
    with pytest.raises(NotFittedError, match="before fit"):
        PatchCore().score(TEST)
    other = Features(TEST.maps, None, TEST.size, source="another backbone")
    with pytest.raises(AdbenchError, match="another backbone"):
        PatchCore().fit(NORMAL).score(other)


def test_asking_for_another_map_shares_the_fit():
    fitted = PatchCore(ratio=1.0).fit(NORMAL)
    sharp = ask(fitted, anomaly_map=AnomalyMap(sigma=0.0))
    assert sharp.bank_ is fitted.bank_
    assert float(sharp.score(TEST).maps.max()) > float(fitted.score(TEST).maps.max())


def test_settings_that_shape_the_fit_cannot_be_asked():
    with pytest.raises(AdbenchError, match="ratio shape the fit"):
        ask(PatchCore().fit(NORMAL), ratio=0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_scores_of_the_cpu():
    there = Features(NORMAL.maps, None, NORMAL.size, source=NORMAL.source, device="cuda")
    on_gpu, on_cpu = (PatchCore(ratio=0.3, k=2).fit(normal).score(TEST) for normal in (there, NORMAL))
    torch.testing.assert_close(on_gpu.images, on_cpu.images, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(on_gpu.maps, on_cpu.maps, rtol=1e-5, atol=1e-6)
