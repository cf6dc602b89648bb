"""PatchCore against brute force, the equations of its paper and the code of its authors."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy.spatial.distance import cdist

from adbench.errors import AdbenchError, ImpossibleError, NotFittedError
from adbench.features.features import Features
from adbench.kernels import projection
from adbench.kernels.neighbors import Neighbors
from adbench.methods import coreset
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset
from adbench.methods.embedding import PatchEmbedding, official_embedding
from adbench.methods.method import ask, restore, state_of
from adbench.methods.patchcore import PatchCore
from adbench.system.settings import settings_of


def features(n, seed, channels=(6, 10), side=6):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(n, channels[0], side, side, generator=generator)]
    maps.append(torch.randn(n, channels[1], side // 2, side // 2, generator=generator))
    return Features(maps, None, (24, 24), source="toy")


NORMAL, TEST = features(7, seed=0), features(4, seed=1)


def embedded(f):
    """The definition: average neighbourhoods, bring the deeper map up, stack, a row per patch."""
    fine, deep = (F.avg_pool2d(m, 3, 1, 1) for m in f.maps)
    deep = F.interpolate(deep, fine.shape[-2:], mode="bilinear", align_corners=False)
    table = [
        [torch.cat([fine[i, :, y, x], deep[i, :, y, x]]) for y in range(6) for x in range(6)]
        for i in range(len(f))
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
    method = PatchCore(ratio=0.2, coreset=Coreset(projection="none")).fit(NORMAL)
    points = embedded(NORMAL)
    picks = naive_greedy(points, int(0.2 * len(points)))
    bank = points[picks]
    assert method.order_.tolist() == picks
    np.testing.assert_allclose(method.bank_.numpy(), bank, rtol=1e-5, atol=1e-6)

    expected = cdist(embedded(TEST), bank).min(axis=1).reshape(4, 6, 6)
    scores = method.score(TEST)
    np.testing.assert_allclose(scores.images.numpy(), expected.max(axis=(1, 2)), rtol=1e-5)
    maps = AnomalyMap()(torch.from_numpy(expected), (24, 24))
    np.testing.assert_allclose(scores.maps.numpy(), maps.numpy(), rtol=1e-5)


@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "adaptive"])
@pytest.mark.parametrize("pool_padding", [True, False, "shrink"])
@pytest.mark.parametrize("kind", ["gaussian", "jl_sparse"])
def test_selection_happens_in_the_projected_space_of_the_embedding(kind, pool_padding, upsample):
    normal = features(7, seed=0, channels=(60, 100))  # wide enough for the lemma at eps 0.99
    embedding = PatchEmbedding(pool_padding=pool_padding, upsample=upsample)
    chosen = Coreset(projection=kind, dim=4, eps=0.99, seed=3)
    method = PatchCore(ratio=0.2, embedding=embedding, coreset=chosen).fit(normal)
    patches = PatchCore(ratio=1.0, embedding=embedding).fit(normal).bank_.double().numpy()
    dims = 4 if kind == "gaussian" else projection.jl_dimension(252, 0.99)
    draw = projection.gaussian if kind == "gaussian" else projection.sparse
    points = patches @ draw(160, dims, 3).double().numpy()
    assert method.order_.tolist() == naive_greedy(points, 50)
    np.testing.assert_allclose(method.bank_.numpy(), patches[method.order_], rtol=1e-5, atol=1e-6)


def test_ratio_one_keeps_every_patch():
    method = PatchCore(ratio=1.0).fit(NORMAL)
    np.testing.assert_allclose(method.bank_.numpy(), embedded(NORMAL), rtol=1e-5, atol=1e-6)
    assert float(method.score(NORMAL).images.max()) == 0.0


@pytest.mark.parametrize("start", ["first", "random", "official10"])
@pytest.mark.parametrize("sampler", ["greedy", "random"])
def test_picks_are_nested_and_known_ones_are_extended(sampler, start):
    chosen = Coreset(sampler=sampler, start=start, seed=5)
    small, large = (PatchCore(ratio=r, coreset=chosen).fit(NORMAL) for r in (0.1, 0.5))
    assert large.order_[: len(small.order_)].tolist() == small.order_.tolist()
    torch.testing.assert_close(large.bank_[: len(small.bank_)], small.bank_, rtol=0, atol=0)
    resumed = PatchCore(ratio=0.5, coreset=chosen).fit(NORMAL, small.order_)
    assert resumed.order_.tolist() == large.order_.tolist()
    taken = PatchCore(ratio=0.1, coreset=chosen).fit(NORMAL, large.order_)
    assert taken.order_.tolist() == small.order_.tolist()


def test_known_picks_are_not_selected_again(monkeypatch):
    order = PatchCore(ratio=0.5).fit(NORMAL).order_
    monkeypatch.delattr(coreset, "greedy")
    assert PatchCore(ratio=0.3).fit(NORMAL, order).order_.tolist() == order[:75].tolist()


@pytest.mark.parametrize("sampler", ["greedy", "random"])
def test_ratios_and_ks_are_searched_together(sampler, monkeypatch):
    settings = [(ratio, k) for ratio in (0.02, 0.5, 0.1) for k in (1, 3, 2)]
    chosen = Coreset(sampler=sampler)
    alone = [
        PatchCore(ratio=ratio, map_k=k, coreset=chosen).fit(NORMAL).score(TEST)
        for ratio, k in settings
    ]
    largest = PatchCore(ratio=0.5, coreset=chosen).fit(NORMAL)
    variants = [ask(largest.cut(ratio), map_k=k) for ratio, k in settings]
    searched = []
    search = Neighbors.search_beginnings
    monkeypatch.setattr(
        Neighbors,
        "search_beginnings",
        lambda self, queries, k, sizes: (
            searched.append((len(self.bank), k, list(sizes))) or search(self, queries, k, sizes)
        ),
    )
    together = list(largest.score_all(TEST, variants))
    assert searched == [(126, 3, [5, 25, 126])]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.maps, other.maps)
    without = list(largest.score_all(TEST, variants, maps=False))
    assert all(scores.maps is None for scores in without)
    assert all(torch.equal(a.images, b.images) for a, b in zip(without, together, strict=True))


def test_only_as_many_neighbours_are_searched_as_the_score_reads(monkeypatch):
    method = PatchCore(ratio=0.5, reweight="paper", b=9).fit(NORMAL)
    searched = []
    search = Neighbors.search_beginnings
    monkeypatch.setattr(
        Neighbors,
        "search_beginnings",
        lambda self, queries, k, sizes: (
            searched.append((len(queries), k)) or search(self, queries, k, sizes)
        ),
    )
    method.score(TEST)
    assert searched == [(4 * 36, 1), (4, 9)]  # every patch once, then m* of all images in one call


def test_a_cut_bank_is_that_of_a_fit_and_searches_itself():
    largest = PatchCore(ratio=0.5, reweight="paper", b=3).fit(NORMAL)
    small, fresh = largest.cut(0.05), PatchCore(ratio=0.05, reweight="paper", b=3).fit(NORMAL)
    assert settings_of(small) == settings_of(fresh)
    assert len(small.index.bank) == len(small.bank_) == 12
    assert torch.equal(small.score(TEST).images, fresh.score(TEST).images)
    assert len(largest.bank_) == 126
    with pytest.raises(
        AdbenchError, match=r"a bank of ratio 0\.05 does not begin with one of 0\.5"
    ):
        small.cut(0.5)
    with pytest.raises(AdbenchError, match=r"a bank of ratio 1 does not begin with one of 0\.5"):
        PatchCore(ratio=1.0).fit(NORMAL).cut(0.5)
    with pytest.raises(AdbenchError, match=r"ratio 0\.001 keeps 0 of 252 patches"):
        largest.cut(0.001)


def test_the_order_follows_from_what_selection_says():
    same = [PatchCore(), PatchCore(ratio=0.5, map_k=3), PatchCore(coreset=Coreset(eps=0.5))]
    assert all(method.selection() == PatchCore().selection() is not None for method in same)
    others = [
        PatchCore(embedding=PatchEmbedding(patch=5)),
        PatchCore(embedding=PatchEmbedding(pool_padding=False)),
        PatchCore(embedding=PatchEmbedding(upsample="nearest")),
        PatchCore(coreset=Coreset(seed=1)),
        PatchCore(coreset=Coreset(dim=64)),
        PatchCore(coreset=Coreset(start="random")),
    ]
    keys = [repr(method.selection()) for method in [PatchCore(), *others]]
    assert len(set(keys)) == 7
    assert PatchCore(ratio=1.0).selection() is None
    assert PatchCore(coreset=Coreset(sampler="random")).selection() is None


def test_settings_hold_what_is_read():
    assert "coreset" not in settings_of(PatchCore(ratio=1.0))
    plain = settings_of(PatchCore(coreset=Coreset(projection="none", seed=3)))
    assert plain["coreset"] == {"sampler": "greedy", "projection": "none", "start": "first"}
    drawn = settings_of(PatchCore(coreset=Coreset(sampler="random", dim=7, seed=3)))
    assert drawn["coreset"] == {"sampler": "random", "seed": 3}
    assert {"b", "include_self"}.isdisjoint(settings_of(PatchCore(b=3)))
    assert settings_of(PatchCore(reweight="paper", b=3))["b"] == 3
    assert "pool_padding" not in settings_of(PatchEmbedding(patch=1))


def test_state_makes_a_fitted_method():
    fitted = PatchCore(ratio=0.3, reweight="scaled", b=3, include_self=False).fit(NORMAL)
    state = state_of(fitted)
    assert set(state) == {"order_", "bank_", "patches_", "source_"}
    again = restore(PatchCore(ratio=0.3, reweight="scaled", b=3, include_self=False), state)
    assert torch.equal(again.score(TEST).images, fitted.score(TEST).images)
    assert torch.equal(again.cut(0.1).bank_, fitted.cut(0.1).bank_)


def test_map_k_averages_the_nearest():
    bank = embedded(NORMAL)
    nearest = np.sort(cdist(embedded(TEST), bank), axis=1)
    averaged = PatchCore(ratio=1.0, map_k=3).fit(NORMAL).score(TEST).images.numpy()
    np.testing.assert_allclose(averaged, nearest[:, :3].mean(1).reshape(4, -1).max(1), rtol=1e-5)
    single = PatchCore(ratio=1.0).fit(NORMAL).score(TEST).images.numpy()
    np.testing.assert_allclose(single, nearest[:, 0].reshape(4, -1).max(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("reweight", "include_self", "b"),
    [("paper", True, 3), ("scaled", False, 2), ("paper", False, 1)],
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
        around = np.argsort(cdist(bank[star : star + 1], bank)[0], kind="stable")
        around = around[int(not include_self) :][:b]
        s = own[patch, star]
        expected.append((1 - np.exp(s / scale) / np.exp(own[patch, around] / scale).sum()) * s)
    method = PatchCore(ratio=1.0, reweight=reweight, include_self=include_self, b=b).fit(NORMAL)
    np.testing.assert_allclose(method.score(TEST).images.numpy(), expected, rtol=1e-4)


def reference_of_ind_knn(normal, test, size):
    """PatchCore of ind_knn_ad on a full bank, image by image, as its description says."""

    def patches(maps):
        layers = [F.adaptive_avg_pool2d(F.avg_pool2d(m, 3, 1), maps[0].shape[-2:]) for m in maps]
        return torch.cat(layers, 1)[0].flatten(1).T.double()  # (h w, d)

    def images(f):
        return [[m[i : i + 1] for m in f.maps] for i in range(len(f))]

    bank = torch.cat([patches(maps) for maps in images(normal)])
    taps = torch.exp(-(torch.arange(-10, 11).double() ** 2) / (2 * 4.0**2))
    taps /= taps.sum()
    scores, drawn = [], []
    for maps in images(test):
        queries = patches(maps)
        nearest, items = torch.cdist(queries, bank).min(dim=1)
        patch = int(nearest.argmax())
        star = bank[items[patch]]
        others = torch.cdist(star[None], bank)[0].topk(3, largest=False).indices[1:]
        apart = torch.linalg.vector_norm(bank[others] - queries[patch], dim=1)
        root = math.sqrt(bank.shape[1])
        weight = 1 - torch.exp(nearest[patch] / root) / torch.exp(apart / root).sum()
        scores.append(float(weight * nearest[patch]))
        grid = nearest.reshape(1, 1, *maps[0].shape[-2:])
        large = F.interpolate(grid, size, mode="bilinear")
        rows = F.conv2d(large, taps.reshape(1, 1, -1, 1), padding=(10, 0))
        drawn.append(F.conv2d(rows, taps.reshape(1, 1, 1, -1), padding=(0, 10))[0, 0])
    return np.array(scores), torch.stack(drawn).numpy()


def test_the_preset_of_ind_knn_ad_has_the_numbers_of_its_code():
    from adbench.config.build import build
    from adbench.config.compose import Configs

    node = Configs().compose(["method=patchcore_ind_knn", "method.ratio=1.0"]).method
    normal, test = features(5, 0, (8, 12), side=28), features(3, 1, (8, 12), side=28)
    scores = build(node, "method").fit(normal).score(test)
    images, maps = reference_of_ind_knn(normal, test, (24, 24))
    np.testing.assert_allclose(scores.images.numpy(), images, rtol=1e-4)
    np.testing.assert_allclose(scores.maps.numpy(), maps, rtol=1e-4)


def test_shrinking_maps_must_hold_a_neighbourhood():
    shrinking = PatchEmbedding(pool_padding="shrink", patch=5)
    with pytest.raises(ImpossibleError, match="only 3 positions along a side, and a neighbourhood"):
        PatchCore(embedding=shrinking).fit(NORMAL)


def test_reweighting_with_the_nearest_item_alone_is_refused():
    with pytest.raises(ValidationError, match="makes every score 0; use b >= 2"):
        PatchCore(reweight="paper", b=1)
    PatchCore(reweight="none", b=1)


def test_reweighting_survives_distances_whose_exponential_overflows():
    far = Features([m * 1000 for m in TEST.maps], None, TEST.size, source="toy")
    images = PatchCore(ratio=1.0, reweight="paper", b=3).fit(NORMAL).score(far).images
    assert bool(torch.isfinite(images).all())


def test_squared_distances_are_squared_before_upsampling():
    root = PatchCore(ratio=1.0, anomaly_map=AnomalyMap(sigma=0)).fit(NORMAL)
    squared = ask(root, distance="squared")
    torch.testing.assert_close(squared.score(TEST).images, root.score(TEST).images ** 2)
    assert not torch.allclose(squared.score(TEST).maps, root.score(TEST).maps ** 2)


def official_by_unfolding(maps):
    """patchcore-inspection: unfold, bring to one size, pool layers to 1024 values, stack, pool."""
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
    method = PatchCore(embedding=PatchEmbedding(kind="official"), ratio=1.0).fit(f)
    assert method.bank_.shape == (32, 1024)
    torch.testing.assert_close(method.bank_, official_by_unfolding(f.maps), rtol=1e-5, atol=1e-6)


def test_official_embedding_refuses_other_channels():
    with pytest.raises(ImpossibleError, match=r"\(512, 1024\) channels.*got \(6, 10\)"):
        official_embedding(NORMAL.maps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.001}, r"ratio 0\.001 keeps 0 of 252 patches; use at least 0\.0039"),
        ({"ratio": 0.01, "map_k": 3}, "k 3 is larger than the bank of 2 patches"),
        ({"coreset": Coreset(projection="jl_sparse", eps=0.1)}, "eps 0.1 asks for"),
        ({"ratio": 0.01, "reweight": "paper", "b": 5}, "b=5 neighbours needs a bank larger than 2"),
    ],
)
def test_what_cannot_be_done_says_why(settings, message):
    with pytest.raises(ImpossibleError, match=message):
        PatchCore(**settings).fit(NORMAL).score(TEST)


def test_smaller_banks_need_less_memory():
    normal, method = features(200, seed=0), PatchCore(ratio=0.5, reweight="paper")
    needed = [method.memory(normal, 10)]
    needed += [PatchCore(reweight="paper", **c).memory(normal, 10) for c in method.less_memory()]
    assert needed == sorted(needed, reverse=True)
    assert len(set(needed)) == 6


def test_an_even_patch_is_refused():
    with pytest.raises(ValidationError, match="patch must be odd, got 2"):
        PatchEmbedding(patch=2)


def test_a_patch_beyond_every_map_is_refused():
    with pytest.raises(ValidationError, match="less than or equal to 9999"):
        PatchEmbedding(patch=2**40 + 1)


def test_no_images_are_refused():
    with pytest.raises(AdbenchError, match="no training images"):
        PatchCore().fit(features(0, seed=0))


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
    on_gpu, on_cpu = (
        PatchCore(ratio=0.3, k=2).fit(normal).score(TEST) for normal in (there, NORMAL)
    )
    torch.testing.assert_close(on_gpu.images, on_cpu.images, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(on_gpu.maps, on_cpu.maps, rtol=1e-5, atol=1e-6)
