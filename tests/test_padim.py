"""PaDiM against numpy.cov, numpy.linalg.inv and scipy's mahalanobis, position by position."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import mahalanobis

from adbench import patches
from adbench.core import AdbenchError, Features, NotFittedError
from adbench.fitting import ask, state_bytes
from adbench.kernels import projection
from adbench.kernels.blockwise import Stored
from adbench.kernels.cholesky import PANEL
from adbench.kernels.mahalanobis import Dual, Primal, factor_all, squared_distances
from adbench.methods import padim
from adbench.methods.padim import PaDiM
from adbench.patches import AnomalyMap

CHANNELS = (7, 9, 12)
EVEN = ((8, 6), (4, 3), (2, 2))
UNEVEN = ((9, 7), (5, 4), (3, 2))  # no whole multiples, as at 300 pixels: 75, 38, 19
PATCH_SCORES = AnomalyMap(upsample="nearest", sigma=0)


def features(n: int, sizes: tuple[tuple[int, int], ...] = EVEN, seed: int = 0, scale: float = 1.0) -> Features:
    """Correlated channels around a mean per position."""
    same = np.random.default_rng(99)
    draw = np.random.default_rng(seed)
    maps = []
    for c, (h, w) in zip(CHANNELS, sizes, strict=True):
        mix = same.normal(size=(c, c)) / np.sqrt(c)
        mean = same.normal(size=(c, h, w))
        noise = np.einsum("cd,ndhw->nchw", mix, draw.normal(size=(n, c, h, w)))
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
    matrix = {"gaussian": projection.gaussian, "orthonormal": projection.orthonormal, "sparse": projection.sparse}
    return np.einsum("nchw,cd->ndhw", stacked, matrix[reduction](d, dims, seed).double().numpy())


def reference(train: np.ndarray, test: np.ndarray, ridge: float, scale: str) -> np.ndarray:
    """(n, h, w) distances by the definition."""
    _, d, h, w = train.shape
    covariances = {(i, j): np.atleast_2d(np.cov(train[:, :, i, j].T)) for i in range(h) for j in range(w)}
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
    n: int, reduction: str, solver: str, scale: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    train, test = features(n, sizes), features(5, sizes, seed=1)
    dims = None if reduction == "none" else 17
    got = distances(method(reduction=reduction, dims=dims, seed=3, solver=solver, ridge_scale=scale).fit(train), test)
    both = [reduced(x, reduction, 17, 3) for x in (train, test)]
    np.testing.assert_allclose(got, reference(*both, 0.01, scale), rtol=1e-5)


@pytest.mark.parametrize("ridge", [1e-3, 2e-4, 1e-5, 1e-7])
@pytest.mark.parametrize("seed", [0, 1], ids=["training images", "other images"])
def test_the_dual_form_does_not_cancel_where_the_ridge_is_small(ridge: float, seed: int) -> None:
    train, test = features(12), features(12, seed=seed)
    got = distances(method(reduction="none", solver="dual", ridge=ridge).fit(train), test)
    both = [reduced(x, "none", 0, 0) for x in (train, test)]
    np.testing.assert_allclose(got, reference(*both, ridge, "absolute"), rtol=1e-5)


def test_more_rows_than_a_panel() -> None:
    """Factors of several panels, in both forms."""
    draw = np.random.default_rng(0)
    n, d = 150, 140
    rows = draw.normal(size=(3, n, d)).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    y = draw.normal(size=(3, 2, d)).astype(np.float32)
    assert min(n, d) > 2 * PANEL
    for form in ("primal", "dual"):
        parts = [Stored(rows, np.arange(3))]
        gaussians = Primal([parts], 2) if form == "primal" else Dual(parts, 2)
        got = squared_distances(gaussians, 0.5, [[Stored(y, np.arange(3))]], factor_all(gaussians, 0.5))
        for position in range(3):
            inverse = np.linalg.inv(np.cov(rows[position].astype(np.float64).T) + 0.5 * np.eye(d))
            expected = np.einsum("md,de,me->m", y[position], inverse, y[position])
            np.testing.assert_allclose(got[position], expected, rtol=2e-5)


def test_worked_by_hand() -> None:
    """Values 1 and 3 have mean 2 and variance 2; with ridge 2, the value 6 is (6 - 2) / sqrt(2 + 2) = 2 away."""
    train = Features([torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)], None, (1, 1), source="here")
    test = Features([torch.tensor([6.0, 2.0]).reshape(2, 1, 1, 1)], None, (1, 1), source="here")
    for solver in ("primal", "dual"):
        fitted = method(layers=[1], reduction="none", ridge=2.0, solver=solver).fit(train)
        np.testing.assert_allclose(fitted.score(test).images.numpy(), [2.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("sizes", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_block_and_chunk_sizes_change_nothing(
    solver: str, sizes: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = features(9, sizes), features(4, sizes, seed=1)
    expected = distances(method(reduction="none", solver=solver).fit(train), test)
    for block, chunk in ((1, 1), (5, 4000), (1000, 10**9)):
        monkeypatch.setattr(PaDiM, "_block", lambda self, block=block: block)
        monkeypatch.setattr(padim, "CHUNK", chunk)
        got = distances(method(reduction="none", solver=solver).fit(train), test)
        np.testing.assert_allclose(got, expected, rtol=2e-6)


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
    got = [distances(method(reduction="gaussian", dims=8, solver=solver).fit(x), test) for x in (train, shuffled)]
    np.testing.assert_allclose(*got, rtol=1e-5)


def test_values_referred_to_are_those_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = features(9, UNEVEN), features(3, UNEVEN, seed=1)
    expected = distances(method(reduction="none", solver="dual").fit(train), test)
    monkeypatch.setattr(padim, "STATE", 0)
    monkeypatch.setattr(padim, "CHUNK", 1)
    fitted = method(reduction="none", solver="dual").fit(train)
    np.testing.assert_allclose(distances(fitted, test), expected, rtol=1e-6)
    assert np.shares_memory(fitted.gaussians_.parts[0].maps, train.maps[0].numpy())  # type: ignore[union-attr]


def test_maps_on_disk_and_their_content_is_left_alone(tmp_path: Path) -> None:
    train, test = features(9), features(3, seed=1)
    before = [m.clone() for m in train.maps]
    expected = distances(method(dims=10).fit(train), test)
    on_disk = []
    for layer, m in enumerate(train.maps):
        np.save(tmp_path / f"{layer}.npy", m.numpy())
        on_disk.append(torch.from_numpy(np.load(tmp_path / f"{layer}.npy", mmap_mode="c")))
    np.testing.assert_array_equal(
        distances(method(dims=10).fit(Features(on_disk, None, train.size, source="here")), test), expected
    )
    assert all(torch.equal(a, b) for a, b in zip(before, train.maps, strict=True))


def test_auto_takes_the_smaller_form() -> None:
    assert isinstance(method(dims=10).fit(features(10)).gaussians_, Primal)
    assert isinstance(method(dims=10).fit(features(9)).gaussians_, Dual)


@pytest.mark.parametrize("solver", ["primal", "dual"])
def test_another_ridge_costs_no_new_fit(solver: str) -> None:
    train, test = features(9), features(3, seed=1)
    fitted = method(dims=10, solver=solver).fit(train)
    before = distances(fitted, test)
    for settings in ({"ridge": 0.5}, {"ridge": 0.5, "ridge_scale": "trace"}):
        got = distances(ask(fitted, **settings), test)
        np.testing.assert_array_equal(got, distances(method(dims=10, solver=solver, **settings).fit(train), test))
    np.testing.assert_array_equal(distances(fitted, test), before)
    with pytest.raises(AdbenchError, match="dims shape the fit"):
        ask(fitted, dims=3)


def test_a_full_rotation_is_no_reduction() -> None:
    train, test = features(9), features(3, seed=1)
    rotated = distances(method(reduction="orthonormal", dims=sum(CHANNELS)).fit(train), test)
    np.testing.assert_allclose(rotated, distances(method(reduction="none").fit(train), test), rtol=1e-5)


def test_seed_decides_what_is_kept() -> None:
    train, test = features(9), features(3, seed=1)
    for reduction in ("select", "gaussian", "orthonormal", "sparse"):
        first, again, other = (
            distances(method(reduction=reduction, dims=10, seed=s).fit(train), test) for s in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.allclose(first, other)


def test_refit_forgets() -> None:
    train, test = features(9), features(3, seed=1)
    wider = Features([torch.cat([m, m], dim=1) for m in features(12, UNEVEN).maps], None, (9, 7), source="there")
    refitted = method().fit(wider).fit(train)
    np.testing.assert_array_equal(distances(refitted, test), distances(method().fit(train), test))
    assert refitted.notes_ == method().fit(train).notes_


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
    np.testing.assert_array_equal(b.maps.numpy(), AnomalyMap()(torch.from_numpy(patch_scores), test.size).numpy())


def test_a_planted_defect_stands_out() -> None:
    train, test = features(30), features(2, seed=1)
    test.maps[0][1, :, 4, 2] += 5
    fitted = method(reduction="none").fit(train)
    assert fitted.score(test).images[1] > 2 * fitted.score(test).images[0]
    assert np.unravel_index(distances(fitted, test)[1].argmax(), EVEN[0]) == (4, 2)


def test_dims_default_to_the_share_of_the_paper() -> None:
    fitted = method().fit(features(9))  # 28 channels
    assert sum(len(used) for used in fitted.channels_) == 9
    assert fitted.notes_ == ["dims 9 of 28 channels, the share that the paper keeps of WideResNet50's"]
    assert method(dims=9).fit(features(9)).notes_ == []


def test_state_of_the_dual_form_holds_each_layer_at_its_own_size() -> None:
    fitted = method(reduction="none", solver="dual").fit(features(9))
    values = 9 * sum(c * h * w for c, (h, w) in zip(CHANNELS, EVEN, strict=True))
    assert fitted.gaussians_.nbytes == 4 * values
    assert state_bytes(fitted) > 4 * values + 4 * 48 * 9 * 9  # and the factors


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
        with pytest.raises(AdbenchError, match="dims 29 is more than the 28 channels of layers"):
            method(reduction=reduction, dims=29).fit(features(9))

    def test_dims_without_reduction(self) -> None:
        with pytest.raises(ValidationError, match="dims 10 contradicts reduction=none"):
            method(reduction="none", dims=10)

    @pytest.mark.parametrize("solver", ["primal", "dual"])
    def test_ridge_that_rounding_swallows(self, solver: str) -> None:
        with pytest.raises(AdbenchError, match=r"ridge is too small .* raise method\.ridge"):
            method(ridge=1e-14, solver=solver, dims=20).fit(features(9))

    def test_equal_images_have_no_trace(self) -> None:
        equal = Features([m[:1].repeat(4, 1, 1, 1) for m in features(1).maps], None, EVEN[0], source="here")
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
        with pytest.raises(AdbenchError, match=r"fitted on maps of \(c, h, w\) .* cannot score maps of"):
            method().fit(features(3)).score(features(3, UNEVEN))
