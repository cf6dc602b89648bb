"""SPADE against scipy's distances on small maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from adbench.errors import AdbenchError, ImpossibleError, NotFittedError
from adbench.features.features import Features
from adbench.kernels.gallery import Each, Gallery
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.method import Scores, ask, restore, state_bytes, state_of
from adbench.methods.spade import SPADE

SIZE = (32, 32)
CHANNELS, EDGES = (5, 9, 12), (8, 4, 2)


def features(
    n: int, seed: int = 0, channels: tuple[int, ...] = CHANNELS, edges: tuple[int, ...] = EDGES
) -> Features:
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(n, c, e, e, generator=generator) for c, e in zip(channels, edges, strict=True)
    ]
    return Features(maps, torch.randn(n, 7, generator=generator), SIZE, source="toy")


def reference(
    normal: Features, test: Features, k: int, kappa: int, gallery: str, merge: str, power: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image scores and maps by the definition, with all distances from scipy."""
    assert normal.vectors is not None
    assert test.vectors is not None
    to_images = cdist(test.vectors.double(), normal.vectors.double()) ** power
    layers = [(m.double(), t.double()) for m, t in zip(normal.maps, test.maps, strict=True)]
    if merge == "concat":
        size = normal.maps[0].shape[-2:]
        layers = [
            tuple(  # type: ignore[misc]
                torch.cat([F.interpolate(m[i], size, mode="bilinear") for m in layers], dim=1)
                for i in (0, 1)
            )
        ]
    images, maps = [], []
    for i in range(len(test)):
        nearest = np.argsort(to_images[i])[:k]
        images.append(to_images[i][nearest].mean())
        upsampled = []
        for trained, tested in layers:
            c, h, w = tested.shape[1:]
            positions = tested[i].reshape(c, -1).T  # (h w, c)
            banks = [trained[j].reshape(c, -1).T for j in nearest]
            if gallery == "all_positions":
                distances = cdist(positions, np.concatenate(banks))
            else:
                each = [np.linalg.norm(positions - bank, axis=1) for bank in banks]
                distances = np.stack(each, axis=1)
            nearest_positions = np.sort(distances, axis=1)[:, :kappa] ** power
            scores = torch.from_numpy(nearest_positions.mean(axis=1).reshape(1, 1, h, w))
            upsampled.append(F.interpolate(scores, SIZE, mode="bilinear")[0, 0].numpy())
        merged = np.sum(upsampled, axis=0) if merge == "sum" else np.mean(upsampled, axis=0)
        maps.append(gaussian_filter(merged, 4.0))
    return np.array(images), np.array(maps)


@pytest.mark.parametrize("distance", ["root", "squared"])
@pytest.mark.parametrize("kappa", [1, 3])
@pytest.mark.parametrize("merge", ["mean", "sum", "concat"])
@pytest.mark.parametrize("gallery", ["all_positions", "same_position"])
def test_equals_the_definition(gallery: str, merge: str, kappa: int, distance: str) -> None:
    normal, test = features(9), features(3, seed=1)
    spade = SPADE(k=4, kappa=kappa, gallery=gallery, merge=merge, distance=distance)  # type: ignore[arg-type]
    scores = spade.fit(normal).score(test)
    power = 1 if distance == "root" else 2
    images, maps = reference(normal, test, 4, kappa, gallery, merge, power)
    np.testing.assert_allclose(scores.images, images, rtol=1e-6)
    np.testing.assert_allclose(scores.maps, maps, rtol=1e-5)


def test_equals_the_definition_where_the_screen_excludes() -> None:
    """Many channels that vary in few directions, as those of a network do, and near-copies."""
    mixing = (
        torch.randn(64, 6, generator=torch.Generator().manual_seed(5))
        * torch.tensor([8.0, 4, 2, 1, 0.5, 0.2])[None]
    )

    def mixed(n: int, seed: int) -> Features:
        plain = features(n, seed, channels=(6,), edges=(16,))
        generator = torch.Generator().manual_seed(seed + 100)
        noise = 0.01 * torch.randn(n, 64, 16, 16, generator=generator)
        maps = [torch.einsum("dc,nchw->ndhw", mixing, plain.maps[0]) + noise]
        return Features(maps, plain.vectors, SIZE, source="toy")

    normal, test = mixed(12, 0), mixed(2, 1)
    test.maps[0][0, :, :8] = normal.maps[0][3, :, 8:] * (1 + 1e-6)
    for kappa in (1, 5):
        scores = SPADE(layers=[1], k=12, kappa=kappa).fit(normal).score(test)
        _, maps = reference(normal, test, 12, kappa, "all_positions", "mean", power=1)
        np.testing.assert_allclose(scores.maps, maps, rtol=1e-5)


@pytest.mark.parametrize("kind", ["flat", "equal", "zero", "tiny", "huge", "far"])
def test_equals_the_definition_on_degenerate_features(kind: str) -> None:
    normal, test = (features(4, seed, channels=(128,), edges=(16,)) for seed in (0, 1))
    for maps in (normal.maps[0], test.maps[0]):
        maps *= {"equal": 0.0, "zero": 0.0, "tiny": 1e-18, "huge": 1e15}.get(kind, 1.0)
        maps += {"equal": 3.0, "far": 1e6}.get(kind, 0.0)
    _, maps = reference(normal, test, 3, 2, "all_positions", "mean", power=1)
    scores = SPADE(layers=[1], k=3, kappa=2).fit(normal).score(test)
    np.testing.assert_allclose(scores.maps, maps, rtol=1e-5)


SETTINGS: tuple[dict[str, object], ...] = (
    {"k": 1},
    {"k": 3, "kappa": 2},
    {"k": 50},
    {"k": 5, "gallery": "same_position", "kappa": 3},
    {"k": 2, "gallery": "same_position"},
    {"distance": "squared", "k": 4},
    {"anomaly_map": AnomalyMap(sigma=0.0)},
)


def assert_same(a: Scores, b: Scores) -> None:
    """The same bits."""
    assert torch.equal(a.images, b.images)
    assert torch.equal(torch.as_tensor(a.maps), torch.as_tensor(b.maps))


def test_an_image_that_was_seen_is_at_distance_zero() -> None:
    normal = features(5)
    scores = SPADE(k=1).fit(normal).score(normal)
    assert torch.equal(scores.images, torch.zeros(5))
    assert scores.maps is not None
    assert torch.equal(scores.maps, torch.zeros(5, *SIZE))


def test_a_planted_defect_is_found_where_it_is() -> None:
    normal, test = features(8), features(1, seed=1)
    test.maps[0][0, :, 6, 1] += 10
    maps = SPADE().fit(normal).score(test).maps
    assert maps is not None
    row, column = np.unravel_index(int(maps[0].argmax()), SIZE)
    assert (row // 4, column // 4) == (6, 1)


def test_k_beyond_the_training_images_is_cut_and_noted() -> None:
    normal, test = features(6), features(2, seed=1)
    cut = SPADE(k=50).fit(normal)
    assert cut.notes_ == ["k 50 cut to the 6 training images"]
    assert torch.equal(cut.score(test).images, ask(cut, k=6).score(test).images)
    assert ask(cut, k=6).notes_ == []


def test_one_fit_serves_every_score_time_setting() -> None:
    normal, test = features(6), features(2, seed=1)
    fitted = SPADE().fit(normal)
    for settings in SETTINGS:
        fresh = SPADE(**settings).fit(normal)  # type: ignore[arg-type]
        assert_same(ask(fitted, **settings).score(test), fresh.score(test))


@pytest.mark.parametrize("merge", ["mean", "concat"])
def test_one_pass_over_the_test_images_serves_every_score_time_setting(merge: str) -> None:
    normal, test = features(6), features(2, seed=1)
    fitted = SPADE(merge=merge).fit(normal)  # type: ignore[arg-type]
    variants = [ask(fitted, **settings) for settings in SETTINGS]
    for variant, together in zip(variants, fitted.score_all(test, variants), strict=True):
        assert_same(together, variant.score(test))


def test_one_pass_costs_what_its_dearest_setting_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test position is compared with each image of the gallery once, whatever the settings."""
    read: list[int] = []
    search = Gallery.growing

    def counted(
        self: Gallery, queries: np.ndarray, images: np.ndarray, k: int, each: Each
    ) -> object:
        read.append(len(images))
        return search(self, queries, images, k, each)

    monkeypatch.setattr(Gallery, "growing", counted)
    fitted = SPADE().fit(features(6))
    variants = [ask(fitted, k=k, kappa=kappa) for k in (1, 5, 3) for kappa in (1, 2)]
    list(fitted.score_all(features(2, seed=1), variants))
    assert read == [5] * len(CHANNELS) * 2  # levels, test images


def test_learned_state_alone_restores_the_scores() -> None:
    normal, test = features(6), features(2, seed=1)
    fitted = SPADE(k=50).fit(normal)
    learned = state_of(fitted)
    assert set(learned) == {"vectors_", "maps_", "source_"}
    restored = restore(SPADE(k=50), learned)
    assert_same(restored.score(test), fitted.score(test))
    assert restored.notes_ == fitted.notes_


def test_does_not_depend_on_batches_order_threads_or_memory(tmp_path: Path) -> None:
    normal, test = features(7), features(4, seed=1)
    assert normal.vectors is not None
    spade = SPADE(k=4).fit(normal)
    expected = spade.score(test)
    assert expected.maps is not None
    alone = [spade.score(test[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.cat([s.images for s in alone]), expected.images)
    assert torch.equal(torch.cat([torch.as_tensor(s.maps) for s in alone]), expected.maps)

    order = [3, 6, 0, 4, 2, 1, 5]
    shuffled = Features([m[order] for m in normal.maps], normal.vectors[order], SIZE, source="toy")
    mapped = []
    for i, m in enumerate(normal.maps):
        np.save(tmp_path / f"{i}.npy", m.numpy())
        mapped.append(torch.from_numpy(np.load(tmp_path / f"{i}.npy", mmap_mode="c")))
    for other in (shuffled, Features(mapped, normal.vectors, SIZE, source="toy")):
        assert torch.equal(torch.as_tensor(SPADE(k=4).fit(other).score(test).maps), expected.maps)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(torch.as_tensor(spade.score(test).maps), expected.maps)
    finally:
        torch.set_num_threads(threads)


def test_image_scores_alone_need_no_maps() -> None:
    normal, test = features(6), features(3, seed=1)
    spade = SPADE(k=2).fit(normal)
    blank = [m.new_full(m.shape, torch.nan) for m in test.maps]
    variants = [spade, ask(spade, k=5, distance="squared")]
    without = Features(blank, test.vectors, SIZE, source="toy")
    for variant, alone in zip(
        variants, spade.score_all(without, variants, maps=False), strict=True
    ):
        assert torch.equal(alone.images, variant.score(test).images)
        assert alone.maps is None


def test_the_fit_keeps_the_maps_without_copying_and_forgets_earlier_ones() -> None:
    first, second, test = features(3), features(5, seed=2), features(2, seed=1)
    before = [m.clone() for m in (*second.maps, *test.maps)]
    spade = SPADE(k=2)
    assert spade.fit(first) is spade
    earlier = ask(spade, k=1)
    expected = earlier.score(test)
    spade.fit(second)
    pairs = zip(spade.maps_, second.maps, strict=True)
    assert all(kept.data_ptr() == given.data_ptr() for kept, given in pairs)
    assert torch.equal(spade.score(test).images, SPADE(k=2).fit(second).score(test).images)
    assert torch.equal(torch.as_tensor(earlier.score(test).maps), torch.as_tensor(expected.maps))
    after = (*second.maps, *test.maps)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert state_bytes(spade) > sum(m.nbytes for m in second.maps)


@pytest.mark.parametrize("layers", [[1, 2, 3], [3, 2, 1], [2, 3, 1]])
def test_less_memory_goes_without_the_finest_layers_in_whatever_order(layers: list[int]) -> None:
    assert list(SPADE(layers=layers).less_memory()) == [{"layers": [2, 3]}, {"layers": [3]}]


def test_multiply_adds_count_the_comparisons() -> None:
    fitted = SPADE(k=3).fit(features(5))
    comparisons = 5 * 64 * 64 + 9 * 16 * 16 + 12 * 4 * 4  # channels x positions x positions
    assert fitted.multiply_adds() == 3 * comparisons // 64
    assert (
        ask(fitted, gallery="same_position").multiply_adds() == 3 * (5 * 64 + 9 * 16 + 12 * 4) // 64
    )
    assert SPADE(k=3, merge="concat").fit(features(5)).multiply_adds() == 3 * 26 * 64


@pytest.mark.parametrize("settings", [{"k": 0}, {"kappa": 0}, {"k": -1}, {"layers": []}])
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 1|at least 1"):
        SPADE(**settings)  # type: ignore[arg-type]


def test_bad_input() -> None:
    normal, test = features(3), features(1, seed=1)
    with pytest.raises(NotFittedError, match="called before fit"):
        SPADE().score(test)
    with pytest.raises(AdbenchError, match="no training images"):
        SPADE().fit(features(0))
    without = Features(normal.maps, None, SIZE, source="toy")
    with pytest.raises(AdbenchError, match="these features have none"):
        SPADE().fit(without)
    spade = SPADE().fit(normal)
    with pytest.raises(AdbenchError, match="these features have none"):
        spade.score(Features(test.maps, None, SIZE, source="toy"))
    with pytest.raises(
        AdbenchError, match="source 'toy' and cannot score features of source 'other'"
    ):
        spade.score(Features(test.maps, test.vectors, SIZE, source="other"))
    with pytest.raises(
        ImpossibleError, match="SPADE: kappa 13 is larger than the gallery of 12 positions"
    ):
        ask(spade, kappa=13).score(test)
    test.maps[1][0, 2, 1, 1] = torch.nan
    with pytest.raises(AdbenchError, match="test features hold 1 NaN or infinite values of 144"):
        spade.score(test)
    with pytest.raises(AdbenchError, match="hold 1 NaN or infinite"):
        SPADE().fit(test)
    assert normal.vectors is not None
    normal.vectors[2, 3] = torch.inf
    with pytest.raises(AdbenchError, match="training vectors hold 1 NaN"):
        spade.fit(normal)
    with pytest.raises(NotFittedError, match="called before fit"):
        spade.score(test)
