"""CRD against the n x n form of its paper and against its own limits."""

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from adbench.errors import AdbenchError, NotFittedError
from adbench.features.features import Features
from adbench.kernels import patches, stacked
from adbench.methods import spectrum
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset
from adbench.methods.crd import CRD
from adbench.methods.embedding import PatchEmbedding
from adbench.methods.method import ask, restore, state_of
from adbench.methods.patchcore import PatchCore
from adbench.system.settings import settings_of

SIZE = (32, 32)
PLAIN = {"upsample": "nearest", "sigma": 0.0}


def features(n: int, seed: int = 0, channels: tuple[int, int] = (6, 10), edge: int = 8) -> Features:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, channels[0], edge, edge), (n, channels[1], edge // 2, edge // 2)]
    maps = [torch.randn(s, generator=generator) + 0.5 for s in shapes]
    return Features(maps, None, SIZE, source="toy")


def stretch(maps: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with pixel centres at half integers, by numpy along one axis and then the other."""
    for axis in (2, 3):
        length = maps.shape[axis]
        at = (np.arange(size) + 0.5) * length / size - 0.5
        maps = np.apply_along_axis(
            lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, maps
        )
    return maps


def reference_patches(given: Features) -> np.ndarray:
    """(n, h, w, d) by the definition: 3 x 3 means over a border of zeros, deeper maps stretched."""
    layers = []
    for maps in given.maps:
        padded = np.pad(maps.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
        h, w = maps.shape[-2:]
        layers.append(
            sum(padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
        )
    stacked = np.concatenate([stretch(m, layers[0].shape[-1]) for m in layers], axis=1)
    return stacked.transpose(0, 2, 3, 1)


def reference_scores(
    columns: np.ndarray, y: np.ndarray, ridge: float, objective: bool = False
) -> np.ndarray:
    """Equations 3.7 and 3.8 with the n x n matrix: columns (d, n), y (d, m)."""
    rho = np.linalg.solve(columns.T @ columns + ridge * np.eye(columns.shape[1]), columns.T @ y)
    residual = np.sum((y - columns @ rho) ** 2, axis=0)
    return residual + ridge * np.sum(rho**2, axis=0) if objective else residual


def patch_maps(method: CRD, test: Features) -> np.ndarray:
    """(n, h, w) patch scores, read off maps that are copied blockwise and not blurred."""
    maps = ask(method, anomaly_map=AnomalyMap(**PLAIN)).score(test).maps  # type: ignore[arg-type]
    assert maps is not None
    h, w = test.maps[0].shape[-2:]
    return maps[:, :: test.size[0] // h, :: test.size[1] // w].double().numpy()


@pytest.mark.parametrize("tolerance", [0.0, 1e-6], ids=["all axes", "low rank"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("normalize", ["none", "l2"])
@pytest.mark.parametrize("images", [1, 3])
def test_equals_the_n_by_n_form(
    images: int, normalize: str, center: bool, tolerance: float
) -> None:
    normal, test = (
        features(images, edge=4, channels=(40, 60)),
        features(2, seed=1, edge=4, channels=(40, 60)),
    )
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
                expected = reference_scores(
                    columns, y, lambda_ * unit, objective=measure == "objective"
                )
                np.testing.assert_allclose(patch_maps(asked, test).ravel(), expected, rtol=1e-5)


def test_a_case_worked_by_hand() -> None:
    # F = (3, 0)^T, so mu = (9, 0); y = (2, 1). With lambda 1: rho = 6 / 10, the residual is
    # (2 - 1.8)^2 + 1, the objective 0.36 more.
    normal = Features([torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)], None, (1, 1))
    test = Features([torch.tensor([2.0, 1.0]).reshape(1, 2, 1, 1)], None, (1, 1))
    single = PatchEmbedding(patch=1)
    crd = CRD(layers=[2], embedding=single, lambda_=1.0, anomaly_map=AnomalyMap(**PLAIN))  # type: ignore[arg-type]
    crd.fit(normal)
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
    assert np.all(
        patch_maps(crd, features(1, seed=1, channels=(40, 60), edge=4)) > 0.1 * lengths.min()
    )


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3, 0.1])
def test_the_low_rank_form_keeps_its_bound(tolerance: float) -> None:
    normal, test = (
        features(1, channels=(80, 120), edge=4),
        features(3, seed=1, channels=(80, 120), edge=4),
    )
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
    """The fit and the score keep layers apart; the coreset of all patches stacks them."""
    embedding = PatchEmbedding(upsample=upsample, pool_padding=pool_padding)  # type: ignore[arg-type]
    normal, test = features(3), features(2, seed=1)
    apart = CRD(embedding=embedding, center=True).fit(normal)
    whole = CRD(embedding=embedding, center=True, bank="coreset", ratio=1.0).fit(normal)
    np.testing.assert_allclose(apart.eigenvalues_, whole.eigenvalues_, rtol=1e-5)
    np.testing.assert_allclose(patch_maps(apart, test), patch_maps(whole, test), rtol=1e-5)


def test_a_coreset_is_the_bank_of_its_rival() -> None:
    normal, test = features(4), features(1, seed=1)
    crd = CRD(bank="coreset", ratio=0.1).fit(normal)
    rival = PatchCore(ratio=0.1, embedding=crd.embedding, coreset=crd.coreset).fit(normal)
    assert crd.count_ == len(rival.bank_) == 25
    assert crd.order_.tolist() == rival.order_.tolist()
    columns, y = rival.bank_.double().numpy().T, reference_patches(test).reshape(-1, 16).T
    np.testing.assert_allclose(
        patch_maps(crd, test).ravel(), reference_scores(columns, y, 5.0), rtol=1e-5
    )


def test_the_rival_is_fitted_on_the_same_patches() -> None:
    normal = features(9)
    embedding = PatchEmbedding(pool_padding=False, upsample="nearest")
    (rival,) = CRD(embedding=embedding).rivals().values()
    assert (rival.embedding, rival.layers, rival.ratio) == (embedding, [2, 3], 0.01)
    assert rival.fit(normal).bank_.shape == (5, 16)


def test_does_not_depend_on_order_shards_or_batches(tmp_path: Path) -> None:
    normal, test = features(5), features(4, seed=1)
    crd = CRD().fit(normal)
    expected = crd.score(test)
    order = [3, 0, 4, 2, 1]
    shuffled = (
        CRD().fit(Features([m[order] for m in normal.maps], None, SIZE, source="toy")).score(test)
    )
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


RULES = ["bilinear", "nearest", "adaptive"]


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_moments_are_those_of_the_patches_stacked(rule: patches.Rule, unit: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = [
        (3, 8, 6),
        (4, 8, 6),
        (5, 4, 3),
        (2, 5, 2),
    ]  # one more layer at the finest size, one odd
    layers = [torch.randn(4, *shape, generator=generator) for shape in sides]
    x = patches.rows(patches.stack([m.double() for m in layers], rule)).numpy()
    if unit:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    blocks = [[m[:1] for m in layers], [m[1:] for m in layers]]
    gram, total = stacked.moments(blocks, rule, unit)
    np.testing.assert_allclose(gram, x.T @ x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(total, x.sum(0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_eigenvalues_of_what_the_patches_do_not_span_are_zero(rule: patches.Rule) -> None:
    # 256 patches of 160 channels, but averaging leaves 49 dimensions of the 8 x 8 deeper positions
    normal = features(1, channels=(32, 128), edge=16)
    fitted = CRD(embedding=PatchEmbedding(upsample=rule)).fit(normal)
    largest = float(fitted.eigenvalues_[-1])
    assert float(fitted.eigenvalues_[160 - 32 - 49 - 1]) < 1e-13 * largest
    assert float(fitted.eigenvalues_[160 - 32 - 49]) > 1e-6 * largest


def test_a_small_lambda_is_exact_where_the_bank_is_rank_deficient() -> None:
    normal, test = features(1, channels=(32, 128), edge=16), features(1, 1, (32, 128), 16)
    fitted = CRD(lambda_=1e-3, tolerance=0.0).fit(normal)
    columns, y = (reference_patches(f).reshape(-1, 160).T for f in (normal, test))
    expected = reference_scores(columns, y, 1e-3)
    np.testing.assert_allclose(patch_maps(fitted, test).ravel(), expected, rtol=2e-5)


@pytest.mark.slow
def test_the_bound_holds_where_the_bank_is_rank_deficient() -> None:
    # The shape of WideResNet50 at 224 pixels: 3 images of 784 patches for 1536 dimensions.
    normal, test = (
        replace(features(n, seed, (512, 1024), 28), size=(28, 28)) for n, seed in ((3, 0), (1, 1))
    )
    columns, y = (reference_patches(f).reshape(-1, 1536).T for f in (normal, test))
    expected = reference_scores(columns, y, 0.1)
    fitted = CRD(lambda_=0.1, tolerance=0.0).fit(normal)
    for tolerance in (0.0, 1e-6):
        found = patch_maps(ask(fitted, tolerance=tolerance), test).ravel()
        np.testing.assert_allclose(found, expected, rtol=tolerance + 2e-6)


def test_a_lambda_that_changes_nothing_is_noted() -> None:
    normal, test = features(3), features(2, seed=1)
    fitted = CRD().fit(normal)
    least = float(fitted.eigenvalues_[0])
    assert least > 0
    (note,) = ask(fitted, lambda_=0.0005 * least).notes_
    assert "is at most 0.1% of the smallest eigenvalue of F F^T" in note
    assert ask(fitted, lambda_=0.02 * least).notes_ == []
    small, tiny = (ask(fitted, lambda_=share * least).score(test) for share in (1e-2, 1e-4))
    ratio = (small.images / tiny.images).numpy()
    np.testing.assert_allclose(ratio, 1e4, rtol=0.02)  # lambda^2, up to twice the share


def test_a_lambda_in_mean_eigenvalues_does_not_depend_on_the_scale_of_features() -> None:
    def scaled(f: Features, by: float) -> Features:
        return Features([by * m for m in f.maps], None, f.size, source=f.source)

    normal, test = features(3), features(2, seed=1)
    one, other = (
        CRD(lambda_=0.1, lambda_mode="trace").fit(scaled(normal, by)).score(scaled(test, by))
        for by in (1.0, 8.0)
    )
    torch.testing.assert_close(other.images, 64 * one.images, rtol=1e-5, atol=0)


def test_patches_at_one_place_give_no_mean_eigenvalue_to_scale_lambda_to() -> None:
    same = Features([torch.full_like(m, 0.5) for m in features(3).maps], None, SIZE, source="toy")
    fitted = CRD(lambda_mode="trace", center=True, embedding=PatchEmbedding(kind="concat", patch=1))
    with pytest.raises(AdbenchError, match="lambda_mode=trace has nothing to scale lambda to"):
        fitted.fit(same).score(features(2, seed=1))
    assert torch.isfinite(
        ask(fitted, lambda_mode="absolute").score(features(2, seed=1)).images
    ).all()


def test_no_matrix_of_all_positions_is_made() -> None:
    # a dense matrix of the finest grid's positions would take 137 GB, one of the deeper grid's 34
    layers = [torch.ones(1, 1, 256, 512), torch.ones(1, 1, 256, 512), torch.ones(1, 1, 128, 256)]
    gram, total = stacked.moments([layers], "bilinear", unit=False)
    np.testing.assert_allclose(gram, np.full((3, 3), 256 * 512), rtol=1e-9)
    np.testing.assert_allclose(total, np.full(3, 256 * 512), rtol=1e-9)


@pytest.mark.parametrize("bank", ["full", "coreset"])
def test_one_pass_serves_all_score_settings(bank: str) -> None:
    normal, test = features(3, channels=(40, 60)), features(2, seed=1, channels=(40, 60))
    fitted = CRD(bank=bank, ratio=0.1).fit(normal)  # type: ignore[arg-type]
    settings: list[dict[str, object]] = [
        {"lambda_": lambda_, "lambda_mode": mode, "measure": measure}
        for lambda_ in (0.1, 5.0, 1e9)
        for mode in ("absolute", "trace")
        for measure in ("residual", "objective")
    ]
    settings += [{"power": "root"}, {"tolerance": 0.0}, {"anomaly_map": AnomalyMap(**PLAIN)}]  # type: ignore[arg-type]
    together = list(fitted.score_all(test, [ask(fitted, **s) for s in settings]))
    for one, setting in zip(together, settings, strict=True):
        alone = CRD(bank=bank, ratio=0.1, **setting).fit(normal).score(test)  # type: ignore[arg-type]
        assert torch.equal(one.images, alone.images)
        assert one.maps is not None
        assert alone.maps is not None
        assert torch.equal(one.maps, alone.maps)


def test_known_picks_are_taken() -> None:
    normal = features(4)
    fitted = CRD(bank="coreset", ratio=0.2).fit(normal)
    assert fitted.selection() == PatchCore(ratio=0.5).selection()
    again = CRD(bank="coreset", ratio=0.1).fit(normal, fitted.order_)
    assert again.order_.tolist() == fitted.order_[:25].tolist()
    assert torch.equal(again.axes_, CRD(bank="coreset", ratio=0.1).fit(normal).axes_)
    assert CRD().selection() is None
    assert CRD(bank="coreset", ratio=1.0).selection() is None


def test_settings_hold_what_is_read() -> None:
    assert {"ratio", "coreset"}.isdisjoint(settings_of(CRD(coreset=Coreset(seed=3))))
    assert settings_of(CRD(bank="coreset", coreset=Coreset(seed=3)))["coreset"]["seed"] == 3
    assert "coreset" not in settings_of(CRD(bank="coreset", ratio=1.0))


def test_state_makes_a_fitted_method() -> None:
    fitted, test = CRD(center=True, normalize="l2").fit(features(3)), features(2, seed=1)
    again = restore(CRD(center=True, normalize="l2"), state_of(fitted))
    assert torch.equal(again.score(test).images, fitted.score(test).images)


def test_one_fit_serves_every_lambda() -> None:
    normal, test = features(3), features(2, seed=1)
    fitted = CRD().fit(normal)
    for lambda_ in (0.1, 1.0, 3.0, 5.0, 10.0):
        assert torch.equal(
            ask(fitted, lambda_=lambda_).score(test).images,
            CRD(lambda_=lambda_).fit(normal).score(test).images,
        )


def test_image_scores_and_maps_agree() -> None:
    test = features(3, seed=1)
    crd = CRD().fit(features(3))
    scores = crd.score(test)
    assert scores.maps is not None
    assert (scores.maps.shape, scores.maps.dtype) == ((3, *SIZE), torch.float32)
    (alone,) = crd.score_all(test, [crd], maps=False)
    assert alone.maps is None
    assert torch.equal(alone.images, scores.images)
    np.testing.assert_allclose(scores.images, patch_maps(crd, test).max(axis=(1, 2)), rtol=1e-6)


def test_the_memory_of_a_coreset_of_unit_patches_holds_their_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are float64, as the patches are, and take the place of the float32 patches."""
    monkeypatch.setattr(spectrum, "GRAM_BLOCK", 0)  # so that the coreset outweighs all else
    normal = features(60, channels=(60, 100), edge=16)
    plain, unit = (
        CRD(bank="coreset", ratio=1.0, normalize=n, embedding=PatchEmbedding(patch=1)).memory(
            replace(normal, maps=[m.expand(10**5, *m.shape[1:]) for m in normal[:1].maps]), 1
        )
        for n in ("none", "l2")
    )
    assert unit - plain == 4 * 160 * 256 * 10**5

    read, rows_of = [], PatchEmbedding.rows

    def rows(self: PatchEmbedding, given: Features, picked: np.ndarray) -> torch.Tensor:
        rows = rows_of(self, given, picked)
        read.append(weakref.ref(rows))
        return rows

    def lengths(y: np.ndarray) -> np.ndarray:
        assert read[0]() is None  # freed before the squares are made
        return np.linalg.norm(y, axis=-1, keepdims=True)

    monkeypatch.setattr(PatchEmbedding, "rows", rows)
    monkeypatch.setattr(stacked, "lengths", lengths)
    assert CRD(bank="coreset", ratio=1.0, normalize="l2").fit(normal).count_ == 60 * 256


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
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, [m for f in (second, test) for m in f.maps], strict=True)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda_": 0.0}, "greater than 0"),
        ({"lambda_": -1.0}, "greater than 0"),
        ({"lambda_": float("inf")}, "finite number"),
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
    with pytest.raises(
        AdbenchError, match="source 'toy' and cannot score features of source 'other'"
    ):
        crd.score(Features(test.maps, None, SIZE, source="other"))
    test.maps[0][0, 0, 3, 3] = torch.nan
    with pytest.raises(AdbenchError, match="patch scores hold 9 NaN or infinite values of 64"):
        crd.score(test)
    with pytest.raises(AdbenchError, match="NaN or infinite"):
        CRD().fit(test)
