"""CRD against the n x n form of its paper and against its own limits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from adbench.core import AdbenchError, Features, NotFittedError
from adbench.fitting import ask
from adbench.memo import Memo
from adbench.methods.crd import CRD
from adbench.patches import AnomalyMap

SIZE = (32, 32)
PLAIN = {"upsample": "nearest", "sigma": 0.0}


def features(n: int, seed: int = 0, channels: tuple[int, int] = (6, 10), edge: int = 8, key: str = "") -> Features:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, channels[0], edge, edge), (n, channels[1], edge // 2, edge // 2)]
    return Features([torch.randn(s, generator=generator) + 0.5 for s in shapes], None, SIZE, key=key, source="toy")


def stretch(maps: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with pixel centres at half integers, by numpy's interpolation along one axis and then the other."""
    for axis in (2, 3):
        length = maps.shape[axis]
        at = (np.arange(size) + 0.5) * length / size - 0.5
        maps = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, maps)
    return maps


def reference_patches(given: Features) -> np.ndarray:
    """(n, h, w, d) by the definition: 3 x 3 means with zeros beyond the border, deeper maps stretched, stacked."""
    layers = []
    for maps in given.maps:
        padded = np.pad(maps.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
        h, w = maps.shape[-2:]
        layers.append(sum(padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9)
    stacked = np.concatenate([stretch(m, layers[0].shape[-1]) for m in layers], axis=1)
    return stacked.transpose(0, 2, 3, 1)


def reference_scores(columns: np.ndarray, y: np.ndarray, ridge: float, objective: bool = False) -> np.ndarray:
    """Equations 3.7 and 3.8 with the n x n matrix: columns (d, n), y (d, m)."""
    rho = np.linalg.solve(columns.T @ columns + ridge * np.eye(columns.shape[1]), columns.T @ y)
    residual = np.sum((y - columns @ rho) ** 2, axis=0)
    return residual + ridge * np.sum(rho**2, axis=0) if objective else residual


def patch_maps(method: CRD, test: Features) -> np.ndarray:
    """(n, h, w) patch scores, read off maps that are copied blockwise and not blurred."""
    maps = ask(method, anomaly_map=PLAIN).score(test).maps
    assert maps is not None
    h, w = test.maps[0].shape[-2:]
    return maps[:, :: SIZE[0] // h, :: SIZE[1] // w].double().numpy()


@pytest.mark.parametrize("tolerance", [0.0, 1e-6], ids=["all axes", "low rank"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("normalize", ["none", "l2"])
@pytest.mark.parametrize("images", [1, 3])
def test_equals_the_n_by_n_form(images: int, normalize: str, center: bool, tolerance: float) -> None:
    normal, test = features(images, edge=4, channels=(40, 60)), features(2, seed=1, edge=4, channels=(40, 60))
    columns, y = (reference_patches(f).reshape(-1, 100).T for f in (normal, test))
    if normalize == "l2":
        columns, y = columns / np.linalg.norm(columns, axis=0), y / np.linalg.norm(y, axis=0)
    if center:
        mean = columns.mean(axis=1, keepdims=True)
        columns, y = columns - mean, y - mean
    fitted = CRD(normalize=normalize, center=center, tolerance=tolerance).fit(normal)  # type: ignore[arg-type]
    n = columns.shape[1]
    units = {"absolute": 1.0, "per_sample": n, "trace": np.trace(columns @ columns.T) / 100}
    for mode, unit in units.items():
        for lambda_ in (0.1, 5.0):
            for measure in ("residual", "objective"):
                asked = ask(fitted, lambda_=lambda_, lambda_mode=mode, measure=measure)
                expected = reference_scores(columns, y, lambda_ * unit, objective=measure == "objective")
                np.testing.assert_allclose(patch_maps(asked, test).ravel(), expected, rtol=1e-5)


def test_a_case_worked_by_hand() -> None:
    # F = (3, 0)^T, so mu = (9, 0); y = (2, 1). lambda 1: rho = 6 / 10, residual (2 - 1.8)^2 + 1, objective + 0.36.
    normal = Features([torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)], None, (1, 1))
    test = Features([torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1)], None, (1, 1))
    crd = CRD(layers=[2], patch=1, lambda_=1.0, anomaly_map=AnomalyMap(**PLAIN)).fit(normal)
    assert crd.score(test).images.item() == pytest.approx(1.04, rel=1e-6)
    assert ask(crd, measure="objective").score(test).images.item() == pytest.approx(1.4, rel=1e-6)
    assert ask(crd, power="root").score(test).images.item() == pytest.approx(1.04**0.5, rel=1e-6)


def test_an_infinite_penalty_leaves_the_whole_patch() -> None:
    test = features(2, seed=1)
    lengths = np.sum(reference_patches(test) ** 2, axis=-1)
    for tolerance in (0.0, 1e-6):
        crd = CRD(lambda_=1e12, tolerance=tolerance).fit(features(3))
        np.testing.assert_allclose(patch_maps(crd, test), lengths, rtol=1e-5)


def test_no_penalty_leaves_nothing_of_a_patch_that_the_bank_spans() -> None:
    normal = features(1, channels=(40, 60), edge=4)  # 16 columns in 100 dimensions
    mixed = Features([m * 0.7 for m in normal.maps], None, SIZE, source="toy")
    crd = CRD(lambda_=1e-6).fit(normal)
    lengths = np.sum(reference_patches(mixed) ** 2, axis=-1)
    assert np.all(patch_maps(crd, mixed) < 1e-9 * lengths)
    assert np.all(patch_maps(crd, features(1, seed=1, channels=(40, 60), edge=4)) > 0.1 * lengths.min())


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3, 0.1])
def test_the_low_rank_form_keeps_its_bound(tolerance: float) -> None:
    normal, test = features(1, channels=(80, 120), edge=4), features(3, seed=1, channels=(80, 120), edge=4)
    fitted = CRD(tolerance=0.0).fit(normal)
    for lambda_ in (0.01, 5.0, 500.0):
        exact = patch_maps(ask(fitted, lambda_=lambda_), test)
        cheap = ask(fitted, lambda_=lambda_, tolerance=tolerance)
        assert cheap.multiply_adds() < ask(fitted, lambda_=lambda_).multiply_adds()
        scores = patch_maps(cheap, test)
        assert np.all(scores >= exact * (1 - 2e-6))
        assert np.all(scores <= exact / (1 - tolerance) * (1 + 2e-6))


@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "adaptive"])
@pytest.mark.parametrize("pool_padding", [True, False])
def test_layers_apart_equal_patches_stacked(upsample: str, pool_padding: bool) -> None:
    """The fit and the score never stack the layers at the finest size; the coreset of all patches does."""
    settings = {"upsample": upsample, "pool_padding": pool_padding, "center": True}
    normal, test = features(3), features(2, seed=1)
    apart = CRD(**settings).fit(normal)  # type: ignore[arg-type]
    stacked = CRD(**settings, bank="coreset", ratio=1.0).fit(normal)  # type: ignore[arg-type]
    np.testing.assert_allclose(apart.eigenvalues_, stacked.eigenvalues_, rtol=1e-5)
    np.testing.assert_allclose(patch_maps(apart, test), patch_maps(stacked, test), rtol=1e-5)


def test_a_coreset_is_the_bank_of_its_rival() -> None:
    normal, test = features(4), features(1, seed=1)
    crd = CRD(bank="coreset", ratio=0.1).fit(normal)
    rival = crd.nearest_neighbor(0.1).fit(normal)
    assert crd.count_ == len(rival.bank_) == 25
    columns, y = rival.bank_.double().numpy().T, reference_patches(test).reshape(-1, 16).T
    np.testing.assert_allclose(patch_maps(crd, test).ravel(), reference_scores(columns, y, 5.0), rtol=1e-5)


def test_the_rival_is_fitted_on_the_same_patches() -> None:
    normal = features(9)
    (rival,) = CRD(pool_padding=False, upsample="nearest").rivals().values()
    assert (rival.pool_padding, rival.upsample, rival.layers, rival.ratio) == (False, "nearest", [2, 3], 0.01)
    assert rival.fit(normal).bank_.shape == (5, 16)


def test_does_not_depend_on_order_shards_or_batches(tmp_path: Path) -> None:
    normal, test = features(5), features(4, seed=1)
    crd = CRD().fit(normal)
    expected = crd.score(test)
    order = [3, 0, 4, 2, 1]
    shuffled = CRD().fit(Features([m[order] for m in normal.maps], None, SIZE, source="toy")).score(test)
    np.testing.assert_allclose(shuffled.images, expected.images, rtol=1e-6)
    alone = [crd.score(test[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.cat([s.images for s in alone]), expected.images)
    assert torch.equal(torch.cat([s.maps for s in alone if s.maps is not None]), expected.maps)
    mapped = []
    for i, m in enumerate(normal.maps):
        np.save(tmp_path / f"{i}.npy", m.numpy())
        mapped.append(torch.from_numpy(np.load(tmp_path / f"{i}.npy", mmap_mode="c")))
    from_disk = CRD().fit(Features(mapped, None, SIZE, source="toy")).score(test)
    assert torch.equal(from_disk.images, expected.images)


def test_shards_add_up() -> None:
    normal = features(5)
    whole, parts = CRD()._moments(normal), [CRD()._moments(normal[:2]), CRD()._moments(normal[2:])]
    for one, other in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(one, sum(other), rtol=1e-12)


def test_the_decomposition_is_kept_and_shared(tmp_path: Path) -> None:
    normal = Features(features(3).maps, None, SIZE, key="abc", source="toy", memo=Memo(tmp_path))
    first = CRD().fit(normal)
    broken = Features([torch.full_like(m, torch.nan) for m in normal.maps], None, SIZE, "abc", "toy", Memo(tmp_path))
    again = CRD(lambda_=1.0, power="root").fit(broken)  # never looks at the features
    assert torch.equal(again.axes_, first.axes_)
    with pytest.raises(AdbenchError, match="NaN"):
        CRD(center=True).fit(broken)


def test_a_sweep_of_kept_features_scores_them_once(tmp_path: Path) -> None:
    def kept(plain: Features, key: str) -> Features:
        return Features(plain.maps, None, SIZE, key=key, source="toy", memo=Memo(tmp_path))

    normal, test = kept(features(3), "normal"), kept(features(2, seed=1), "test")
    unseen = kept(Features([m * torch.nan for m in test.maps], None, SIZE), "test")
    fitted = CRD(lambda_=3.0).fit(normal)
    fitted.score(test)
    for lambda_ in (0.1, 1.0, 3.0, 5.0, 10.0):
        asked = ask(fitted, lambda_=lambda_)
        alone = CRD(lambda_=lambda_).fit(features(3)).score(features(2, seed=1))
        np.testing.assert_allclose(asked.score(unseen).images, alone.images, rtol=1e-6)
    other, another_fit = ask(fitted, lambda_=2.0), CRD(lambda_=3.0, center=True).fit(normal)
    for needs_features in (other, another_fit, ask(fitted, measure="objective")):
        with pytest.raises(AdbenchError, match="NaN"):
            needs_features.score(unseen)
    assert torch.equal(other.score(test).images, other.score(unseen).images)
    np.testing.assert_allclose(
        ask(fitted, power="root").score(unseen).images ** 2, fitted.score(test).images, rtol=1e-6
    )


def test_one_fit_serves_every_lambda() -> None:
    normal, test = features(3), features(2, seed=1)
    fitted = CRD().fit(normal)
    for lambda_ in (0.1, 1.0, 3.0, 5.0, 10.0):
        assert torch.equal(
            ask(fitted, lambda_=lambda_).score(test).images, CRD(lambda_=lambda_).fit(normal).score(test).images
        )


def test_image_scores_and_maps_agree() -> None:
    test = features(3, seed=1)
    crd = CRD().fit(features(3))
    scores = crd.score(test)
    assert scores.maps is not None
    assert (scores.maps.shape, scores.maps.dtype) == ((3, *SIZE), torch.float32)
    assert torch.equal(crd.image_scores(test), scores.images)
    np.testing.assert_allclose(scores.images, patch_maps(crd, test).max(axis=(1, 2)), rtol=1e-6)


def test_multiply_adds_count_the_products() -> None:
    crd = CRD(tolerance=0.0).fit(features(3))  # 6 channels at 8 x 8 and 10 at 4 x 4, d = 16
    assert crd.multiply_adds() == 16 * (6 * 64 + 10 * 16) // 64
    assert ask(crd, lambda_=1e12, tolerance=1e-6).multiply_adds() == 0


def test_refitting_forgets_and_features_stay_as_they_are() -> None:
    first, second, test = features(3), features(4, seed=2), features(2, seed=1)
    before = [m.clone() for f in (second, test) for m in f.maps]
    crd = CRD()
    assert crd.fit(first) is crd
    refitted = crd.fit(second).score(test)
    assert torch.equal(refitted.images, CRD().fit(second).score(test).images)
    assert all(torch.equal(a, b) for a, b in zip(before, [m for f in (second, test) for m in f.maps], strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda_": 0.0}, "greater than 0"),
        ({"lambda_": -1.0}, "greater than 0"),
        ({"patch": 2}, "odd, got 2"),
        ({"tolerance": 1.0}, "less than 1"),
        ({"power": "cubed"}, "squared"),
        ({"layers": []}, "at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CRD(**settings)  # type: ignore[arg-type]


def test_bad_input() -> None:
    normal, test = features(2), features(1, seed=1)
    with pytest.raises(NotFittedError, match="called before fit"):
        CRD().score(test)
    with pytest.raises(AdbenchError, match="no training images"):
        CRD().fit(features(0))
    crd = CRD().fit(normal)
    with pytest.raises(AdbenchError, match="source 'toy' and cannot score features of source 'other'"):
        crd.score(Features(test.maps, None, SIZE, source="other"))
    test.maps[0][0, 0, 3, 3] = torch.nan
    with pytest.raises(AdbenchError, match="patch scores hold 9 NaN or infinite values of 64"):
        crd.score(test)
    with pytest.raises(AdbenchError, match="NaN or infinite"):
        CRD().fit(test)
