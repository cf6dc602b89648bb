"""PaDiM against numpy.cov, numpy.linalg.inv and scipy's mahalanobis, position by position."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import mahalanobis

from adbench.errors import AdbenchError, ImpossibleError, NotFittedError
from adbench.features.features import Features
from adbench.kernels import patches, projection
from adbench.kernels.cholesky import PANEL
from adbench.kernels.gaussian_field import Form, GaussianField
from adbench.kernels.reduction import Reduction, draw
from adbench.methods import padim
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.method import ask, restore, state_bytes, state_of
from adbench.methods.padim import PaDiM
from adbench.system.settings import settings_of, unread

CHANNELS = (7, 9, 12)
EVEN = ((8, 6), (4, 3), (2, 2))
UNEVEN = ((9, 7), (5, 4), (3, 2))  # no whole multiples, as at 300 pixels: 75, 38, 19
PATCH_SCORES = AnomalyMap(upsample="nearest", sigma=0)
Sizes = tuple[tuple[int, int], ...]


def features(n: int, sizes: Sizes = EVEN, seed: int = 0, scale: float = 1.0) -> Features:
    """Correlated channels around a mean per position."""
    same = np.random.default_rng(99)
    drawn = np.random.default_rng(seed)
    maps = []
    for c, (h, w) in zip(CHANNELS, sizes, strict=True):
        mix = same.normal(size=(c, c)) / np.sqrt(c)
        mean = same.normal(size=(c, h, w))
        noise = np.einsum("cd,ndhw->nchw", mix, drawn.normal(size=(n, c, h, w)))
        maps.append(torch.from_numpy((mean + scale * noise).astype(np.float32)))
    return Features(maps, None, sizes[0], source="here")


def reduced(x: Features, reduction: str, dims: int, seed: int) -> np.ndarray:
    """(n, dims, h, w) float64, by way of the concatenated map of all channels."""
    stacked = patches.stack(x.maps, "nearest").double().numpy()
    d = stacked.shape[1]
    if reduction == "none":
        return stacked
    if reduction == "select":
        return stacked[:, projection.select(d, dims, seed).numpy()]
    matrix = {
        "gaussian": projection.gaussian,
        "orthonormal": projection.orthonormal,
        "sparse": projection.sparse,
    }[reduction](d, dims, seed)
    return np.einsum("nchw,cd->ndhw", stacked, matrix.double().numpy())


def reference(train: np.ndarray, test: np.ndarray, ridge: float, scale: str) -> np.ndarray:
    """(n, h, w) distances by the definition."""
    _, d, h, w = train.shape
    places = [(i, j) for i in range(h) for j in range(w)]
    covariances = {(i, j): np.atleast_2d(np.cov(train[:, :, i, j].T)) for i, j in places}
    if scale == "trace":
        ridge *= float(np.mean([np.trace(c) / d for c in covariances.values()]))
    out = np.empty((len(test), h, w))
    for (i, j), covariance in covariances.items():
        inverse = np.linalg.inv(covariance + ridge * np.eye(d))
        mean = train[:, :, i, j].mean(axis=0)
        out[:, i, j] = [mahalanobis(row, mean, inverse) for row in test[:, :, i, j]]
    return out


def distances(method: PaDiM, test: Features) -> np.ndarray:
    maps = method.score(test).maps
    assert maps is not None
    return maps.numpy()


def method(**settings: object) -> PaDiM:
    return PaDiM(anomaly_map=PATCH_SCORES, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("scale", ["absolute", "trace"])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("reduction", ["select", "gaussian", "orthonormal", "sparse", "none"])
@pytest.mark.parametrize("n", [6, 40])
def test_equals_the_definition(
    n: int, reduction: str, solver: str, scale: str, sizes: Sizes
) -> None:
    train, test = features(n, sizes), features(5, sizes, seed=1)
    drawn = {} if reduction == "none" else {"dims": 17, "seed": 3}
    fitted = method(reduction=reduction, solver=solver, ridge_scale=scale, **drawn).fit(train)
    both = [reduced(x, reduction, 17, 3) for x in (train, test)]
    np.testing.assert_allclose(distances(fitted, test), reference(*both, 0.01, scale), rtol=1e-5)


@pytest.mark.parametrize("ridge", [1e-3, 2e-4, 1e-5, 1e-7])
@pytest.mark.parametrize("seed", [0, 1], ids=["training images", "other images"])
def test_the_dual_form_does_not_cancel_where_the_ridge_is_small(ridge: float, seed: int) -> None:
    train, test = features(12), features(12, seed=seed)
    got = distances(method(reduction="none", solver="dual", ridge=ridge).fit(train), test)
    both = [reduced(x, "none", 0, 0) for x in (train, test)]
    np.testing.assert_allclose(got, reference(*both, ridge, "absolute"), rtol=1e-5)


@pytest.mark.parametrize("form", ["covariances", "rows", "maps"])
def test_factors_of_several_panels(form: Form) -> None:
    n, d = 150, 140
    assert min(n, d) > 2 * PANEL
    rows, y = (
        np.random.default_rng(seed).normal(size=(count, d, 3, 1)).astype(np.float32)
        for seed, count in ((0, n), (1, 2))
    )
    reduction = Reduction([(d, 3, 1)], draw("none", [d], d, 0))
    field = GaussianField.fit([torch.from_numpy(rows)], reduction, form, block=2)
    got = field.squared_distances([torch.from_numpy(y)], 0.5)
    for position in range(3):
        x = rows[:, :, position, 0].astype(np.float64)
        inverse = np.linalg.inv(np.cov(x.T) + 0.5 * np.eye(d))
        off = y[:, :, position, 0] - x.mean(axis=0)
        expected = np.einsum("md,de,me->m", off, inverse, off)
        np.testing.assert_allclose(got[:, position, 0], expected, rtol=2e-5)


def test_worked_by_hand() -> None:
    """Values 1 and 3 have mean 2 and variance 2.

    With ridge 2, the value 6 is (6 - 2) / sqrt(2 + 2) = 2 away.
    """

    def one_pixel(*values: float) -> Features:
        return Features([torch.tensor(values).reshape(-1, 1, 1, 1)], None, (1, 1), source="here")

    for solver in ("primal", "dual"):
        fitted = method(layers=[1], reduction="none", ridge=2.0, solver=solver)
        got = fitted.fit(one_pixel(1.0, 3.0)).score(one_pixel(6.0, 2.0)).images.numpy()
        np.testing.assert_allclose(got, [2.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("form", ["covariances", "rows", "maps"])
@pytest.mark.parametrize("sizes", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_block_and_chunk_sizes_change_nothing(form: Form, sizes: Sizes) -> None:
    train, test = features(9, sizes).maps, features(4, sizes, seed=1).maps
    shapes = [tuple(m.shape[1:]) for m in train]
    reduction = Reduction(shapes, draw("none", CHANNELS, sum(CHANNELS), 0))
    expected = GaussianField.fit(train, reduction, form).squared_distances(test, 0.01)
    for block, chunk in ((1, 1), (5, 4000), (1000, 10**9)):
        field = GaussianField.fit(train, reduction, form, block=block, chunk=chunk)
        got = field.squared_distances(test, 0.01)
        np.testing.assert_allclose(got, expected, rtol=4e-6)


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("reduction", ["select", "gaussian"])
def test_images_are_scored_alone_and_threads_change_nothing(solver: str, reduction: str) -> None:
    train, test = features(9), features(5, seed=1)
    fitted = method(reduction=reduction, dims=10, solver=solver).fit(train)
    together = distances(fitted, test)
    alone = np.concatenate([distances(fitted, test[i : i + 1]) for i in range(len(test))])
    np.testing.assert_allclose(alone, together, rtol=2e-6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        np.testing.assert_array_equal(distances(fitted, test), together)
        np.testing.assert_allclose(distances(fitted.fit(train), test), together, rtol=1e-6)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_order_of_training_images_changes_nothing(solver: str) -> None:
    train, test = features(20), features(3, seed=1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(20))
    shuffled = Features([m[order] for m in train.maps], None, train.size, source="here")
    fitted = [method(reduction="gaussian", dims=8, solver=solver).fit(x) for x in (train, shuffled)]
    np.testing.assert_allclose(*(distances(f, test) for f in fitted), rtol=1e-5)


def test_values_referred_to_are_those_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = features(9, UNEVEN), features(3, UNEVEN, seed=1)
    copied = method(reduction="none", solver="dual").fit(train)
    monkeypatch.setattr(padim, "STATE", 0)
    referred = method(reduction="none", solver="dual").fit(train)
    np.testing.assert_allclose(distances(referred, test), distances(copied, test), rtol=1e-6)
    kept = [
        np.shares_memory(v, m.numpy()) for v, m in zip(referred.values_, train.maps, strict=True)
    ]
    assert all(kept)
    reduced = method(dims=10, solver="dual").fit(train)  # its values are no feature maps
    assert not any(np.shares_memory(v, m.numpy()) for v in reduced.values_ for m in train.maps)


@pytest.mark.parametrize("form", ["covariances", "rows", "maps"])
def test_maps_that_were_read_are_evicted(form: Form) -> None:
    """In the fit and in the score, and more than once where there are many images."""
    train, test = features(70).maps, features(33, seed=1).maps
    shapes = [tuple(m.shape[1:]) for m in train]
    reduction = Reduction(shapes, draw("none", CHANNELS, sum(CHANNELS), 0))
    evicted: list[str] = []
    field = GaussianField.fit(train, reduction, form, lambda: evicted.append("train"))
    assert evicted.count("train") >= 3 + 2  # for the mean of each layer, and twice for 70 images
    del evicted[:]
    field.squared_distances(test, 0.01, lambda: evicted.append("test"))
    assert "test" in evicted
    assert ("train" in evicted) == (form == "maps")


def test_maps_on_disk_and_their_content_is_left_alone(tmp_path: Path) -> None:
    train, test = features(9), features(3, seed=1)
    before = [m.clone() for m in train.maps]
    expected = distances(method(dims=10).fit(train), test)
    on_disk = []
    for layer, m in enumerate(train.maps):
        np.save(tmp_path / f"{layer}.npy", m.numpy())
        on_disk.append(torch.from_numpy(np.load(tmp_path / f"{layer}.npy", mmap_mode="c")))
    mapped = method(dims=10).fit(Features(on_disk, None, train.size, source="here"))
    np.testing.assert_array_equal(distances(mapped, test), expected)
    assert all(torch.equal(a, b) for a, b in zip(before, train.maps, strict=True))


def test_auto_takes_the_smaller_form() -> None:
    def learned(n: int) -> int:
        return sum(v.size for v in method(dims=10).fit(features(n)).values_)

    positions = 48
    assert learned(10) == positions * 10 * 11 // 2  # triangles of covariances
    assert learned(9) < 9 * positions * 10  # the training values, each layer at its own size


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_another_ridge_costs_no_new_fit(solver: str) -> None:
    train, test = features(9), features(3, seed=1)
    fitted = method(dims=10, solver=solver).fit(train)
    before = distances(fitted, test)
    for settings in ({"ridge": 0.5}, {"ridge": 0.5, "ridge_scale": "trace"}):
        got = distances(ask(fitted, **settings), test)
        fresh = method(dims=10, solver=solver, **settings).fit(train)
        np.testing.assert_array_equal(got, distances(fresh, test))
    np.testing.assert_array_equal(distances(fitted, test), before)
    with pytest.raises(AdbenchError, match="dims shape the fit"):
        ask(fitted, dims=3)


@pytest.mark.parametrize("state", [padim.STATE, 0], ids=["copied", "referred"])
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("reduction", ["select", "sparse", "none"])
def test_learned_state_alone_restores_the_scores(
    reduction: str, solver: str, state: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padim, "STATE", state)
    train, test = features(9, UNEVEN), features(3, UNEVEN, seed=1)
    fitted = method(reduction=reduction, solver=solver).fit(train)
    learned = state_of(fitted)
    for value in learned.values():
        parts = value if isinstance(value, list) else [value]
        assert all(isinstance(part, np.ndarray | str | list) for part in parts)
    restored = restore(method(reduction=reduction, solver=solver), learned)
    np.testing.assert_array_equal(distances(restored, test), distances(fitted, test))
    assert restored.notes_ == fitted.notes_
    other = ask(restored, ridge=0.5)
    np.testing.assert_array_equal(distances(other, test), distances(ask(fitted, ridge=0.5), test))


def test_copies_with_the_same_ridge_share_the_factors() -> None:
    train, test = features(9), features(3, seed=1)
    fitted = method(reduction="none").fit(train)
    raw = ask(fitted, image_score="raw")
    assert raw.gaussians is fitted.gaussians
    factors = fitted.gaussians.factor(fitted.ridge)
    raw.score(test)
    assert fitted.gaussians.factor(fitted.ridge) is factors
    ask(fitted, ridge=0.5).score(test)
    assert fitted.gaussians.factor(fitted.ridge) is not factors  # one ridge's are kept at a time


def test_a_full_rotation_is_no_reduction() -> None:
    train, test = features(9), features(3, seed=1)
    rotated = method(reduction="orthonormal", dims=sum(CHANNELS)).fit(train)
    plain = method(reduction="none").fit(train)
    np.testing.assert_allclose(distances(rotated, test), distances(plain, test), rtol=1e-5)


def test_seed_decides_what_is_kept() -> None:
    train, test = features(9), features(3, seed=1)
    for reduction in ("select", "gaussian", "orthonormal", "sparse"):
        first, again, other = (
            distances(method(reduction=reduction, dims=10, seed=s).fit(train), test)
            for s in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)


def test_dims_and_seed_are_settings_of_a_reduction_only() -> None:
    drawn, all_channels = method(dims=10, seed=1), method(reduction="none", seed=1)
    assert settings_of(drawn) == {**settings_of(method()), "dims": 10, "seed": 1}
    assert settings_of(all_channels) == settings_of(method(reduction="none"))
    assert not {"dims", "seed"} & set(settings_of(all_channels))
    assert unread(drawn, ["seed"]) is None
    assert unread(all_channels, ["seed"]) == "seed is read only where channels are reduced"


def test_refit_forgets() -> None:
    train, test = features(9), features(3, seed=1)
    wider = [torch.cat([m, m], dim=1) for m in features(12, UNEVEN).maps]
    refitted = method().fit(Features(wider, None, (9, 7), source="there")).fit(train)
    np.testing.assert_array_equal(distances(refitted, test), distances(method().fit(train), test))
    assert refitted.notes_ == method().fit(train).notes_
    with pytest.raises(AdbenchError, match="at least 2"):
        refitted.fit(features(1))
    with pytest.raises(NotFittedError):
        refitted.score(test)


def test_image_score_and_map() -> None:
    train, test = features(9), features(3, seed=1)
    blurred = PaDiM(dims=10).fit(train)
    raw = ask(blurred, image_score="raw")
    b, r = blurred.score(test), raw.score(test)
    patch_scores = distances(ask(blurred, anomaly_map=asdict(PATCH_SCORES)), test)
    assert b.maps is not None
    assert r.maps is not None
    assert torch.equal(b.maps, r.maps)
    assert torch.equal(b.images, b.maps.amax(dim=(1, 2)))
    np.testing.assert_array_equal(r.images.numpy(), patch_scores.max(axis=(1, 2)))
    expected = AnomalyMap()(torch.from_numpy(patch_scores), test.size)
    np.testing.assert_array_equal(b.maps.numpy(), expected.numpy())


def blurs_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many maps each call of an ``AnomalyMap`` makes, from now on."""
    seen: list[int] = []
    make = AnomalyMap.__call__

    def counted(self: AnomalyMap, patch_scores: torch.Tensor, size: tuple[int, int]) -> object:
        seen.append(len(patch_scores))
        return make(self, patch_scores, size)

    monkeypatch.setattr(AnomalyMap, "__call__", counted)
    return seen


def test_image_scores_alone_keep_no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    test = features(7, seed=1)
    blurred = PaDiM(dims=10).fit(features(9))
    variants = [blurred, ask(blurred, image_score="raw")]
    expected = [v.score(test).images for v in variants]
    monkeypatch.setattr(AnomalyMap, "block", staticmethod(lambda size: 3))
    seen = blurs_seen(monkeypatch)
    for images, alone in zip(expected, blurred.score_all(test, variants, maps=False), strict=True):
        assert alone.maps is None
        assert torch.equal(alone.images, images)
    assert seen == [3, 3, 1]  # some at a time, and none for the raw distances


def test_one_pass_measures_the_distances_of_each_ridge_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = features(3, seed=1)
    fitted = PaDiM(dims=10).fit(features(9))
    settings: list[dict[str, object]] = [
        {"ridge": 0.5},
        {"image_score": "raw"},
        {"ridge": 0.5, "ridge_scale": "trace"},
        {"ridge": 0.5, "anomaly_map": AnomalyMap(sigma=0)},
    ]
    variants = [ask(fitted, **s) for s in settings]
    expected = [v.score(test) for v in variants]
    ridges: list[float] = []
    measure = GaussianField.squared_distances

    def counted(self: GaussianField, maps: object, ridge: float, evict: object) -> object:
        ridges.append(ridge)
        return measure(self, maps, ridge, evict)  # type: ignore[arg-type]

    monkeypatch.setattr(GaussianField, "squared_distances", counted)
    for one, alone in zip(fitted.score_all(test, variants), expected, strict=True):
        assert torch.equal(one.images, alone.images)
        assert torch.equal(torch.as_tensor(one.maps), torch.as_tensor(alone.maps))
    assert ridges[:2] == [0.5, 0.01]
    assert len(ridges) == 3


def test_the_scores_of_the_training_images_count_into_the_memory() -> None:
    """For a threshold from their scores: distances of all of them, and some maps at a time."""
    plain = method(dims=10)
    large = replace(features(2), size=(1024, 1024))

    def needed(train: int, test: int) -> int:
        maps = [m[:1].expand(train, *m.shape[1:]) for m in large.maps]
        return plain.memory(replace(large, maps=maps), test)

    one_map = 4 * 1024**2
    assert needed(300, 5) >= 2 * 21 * one_map  # 21 maps of this size are made at a time
    assert needed(300, 5) < 2 * 300 * one_map
    assert needed(300, 300) >= 2 * 300 * one_map
    scores = 4 * EVEN[0][0] * EVEN[0][1]
    assert needed(9000, 5) - needed(300, 5) >= 8700 * scores


def test_a_planted_defect_stands_out() -> None:
    train, test = features(30), features(2, seed=1)
    test.maps[0][1, :, 4, 2] += 5
    fitted = method(reduction="none").fit(train)
    assert fitted.score(test).images[1] > 2 * fitted.score(test).images[0]
    assert np.unravel_index(distances(fitted, test)[1].argmax(), EVEN[0]) == (4, 2)


def test_dims_default_to_the_share_of_the_paper() -> None:
    fitted, test = method().fit(features(9)), features(2, seed=1)  # 28 channels
    nine = method(dims=9).fit(features(9))
    np.testing.assert_array_equal(distances(fitted, test), distances(nine, test))
    share = "the share that the paper keeps of WideResNet50's"
    assert fitted.notes_ == [f"dims 9 of 28 channels, {share}"]
    assert nine.notes_ == []
    assert method(reduction="none").fit(features(9)).notes_ == []


def test_state_of_the_dual_form_holds_each_layer_at_its_own_size() -> None:
    fitted = method(reduction="none", solver="dual").fit(features(9))
    values = 9 * sum(c * h * w for c, (h, w) in zip(CHANNELS, EVEN, strict=True))
    assert sum(v.nbytes for v in fitted.values_) == 4 * values
    assert 4 * values < state_bytes(fitted) < 4 * values + 4 * 9 * sum(CHANNELS) * 48


class TestBadInput:
    def test_one_image(self) -> None:
        with pytest.raises(AdbenchError, match="at least 2 normal images, got 1"):
            method().fit(features(1))

    @pytest.mark.parametrize("ridge", [0.0, -0.01, float("nan"), float("inf")])
    def test_ridge(self, ridge: float) -> None:
        with pytest.raises(ValidationError, match="ridge"):
            method(ridge=ridge)

    @pytest.mark.parametrize("reduction", ["select", "gaussian", "orthonormal", "sparse"])
    def test_more_dims_than_channels(self, reduction: str) -> None:
        impossible = method(reduction=reduction, dims=29)
        for ask_for in (impossible.fit, lambda normal: impossible.memory(normal, 1)):
            with pytest.raises(ImpossibleError, match="dims 29 is more than the 28 channels of"):
                ask_for(features(9))

    def test_no_reduction_is_possible_with_any_number_of_channels(self) -> None:
        plain = method(reduction="none", solver="primal")
        assert plain.memory(features(9), 1) > 0

    def test_covariances_need_no_more_memory_for_more_images(self) -> None:
        plain, one = method(reduction="none", solver="primal"), features(1)

        def of(n: int) -> Features:
            return replace(one, maps=[m.expand(n, *m.shape[1:]) for m in one.maps])

        scored = 10**7  # the scores of the training images do need memory, as those of others do
        assert plain.memory(of(10**7), scored) == plain.memory(of(10**6), scored)
        assert plain.fit(features(9)).score(features(2, seed=1)).images.isfinite().all()

    def test_dims_without_reduction(self) -> None:
        with pytest.raises(ValidationError, match="dims 10 contradicts reduction=none"):
            method(reduction="none", dims=10)

    @pytest.mark.parametrize("solver", ["primal", "dual"])
    def test_ridge_that_rounding_swallows(self, solver: str) -> None:
        fitted = method(ridge=1e-14, solver=solver, dims=20)
        with pytest.raises(AdbenchError, match=r"ridge is too small .* raise method\.ridge"):
            fitted.fit(features(9))
        with pytest.raises(NotFittedError):
            fitted.score(features(2))

    def test_equal_images_have_no_trace(self) -> None:
        maps = [m[:1].repeat(4, 1, 1, 1) for m in features(1).maps]
        equal = Features(maps, None, EVEN[0], source="here")
        with pytest.raises(AdbenchError, match="all equal"):
            method(ridge_scale="trace").fit(equal)
        assert np.isfinite(distances(method().fit(equal), features(2, seed=1))).all()

    def test_nan(self) -> None:
        train, test = features(9), features(3, seed=1)
        fitted = method(reduction="none").fit(train)
        test.maps[1][2, 3, 1, 1] = float("nan")
        with pytest.raises(AdbenchError, match="test features hold 1 NaN"):
            fitted.score(test)
        train.maps[0][4, 0, 0, 0] = float("inf")
        with pytest.raises(AdbenchError, match="normal features hold 1 NaN or infinite"):
            fitted.fit(train)

    def test_score_before_fit(self) -> None:
        with pytest.raises(NotFittedError, match="fit"):
            method().score(features(2))

    def test_other_source(self) -> None:
        x = features(3)
        with pytest.raises(AdbenchError, match="fitted on features of source 'here'"):
            method().fit(x).score(Features(x.maps, None, x.size, source="there"))

    def test_other_shape(self) -> None:
        with pytest.raises(AdbenchError, match=r"fitted on maps of \(c, h, w\) .* cannot score"):
            method().fit(features(3)).score(features(3, UNEVEN))
