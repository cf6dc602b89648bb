"""The cosine distance and the mean over the highest patches, as AnomalyDINO uses them."""

import numpy as np
import pytest
import torch

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.embedding import PatchEmbedding
from adbench.methods.image_score import mean_of_top
from adbench.methods.method import ask
from adbench.methods.patchcore import PatchCore
from adbench.system.settings import settings_of

SINGLE = PatchEmbedding(patch=1)
SHARP = AnomalyMap(upsample="nearest", sigma=0.0)


def features(n, seed, shapes=((6, 8, 8), (10, 4, 4))):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(n, *shape, generator=generator) + 0.5 for shape in shapes]
    return Features(maps, None, (32, 32), source="toy")


NORMAL, TEST = features(5, seed=0), features(3, seed=1)
TOKENS, NEW_TOKENS = (features(n, n, shapes=((12, 16, 16),)) for n in (3, 2))


def preset(*overrides):
    return build(Configs().compose(["method=anomalydino", *overrides]).method, "method")


def test_the_preset_is_anomalydino_by_its_description():
    # A vision transformer's last block: one map of tokens; nothing but numpy on this side.
    method = preset("method.layers=[4]").fit(TOKENS)
    scores = ask(method, anomaly_map=SHARP).score(NEW_TOKENS)
    bank, tokens = (
        f.maps[0].double().permute(0, 2, 3, 1).reshape(-1, 12).numpy() for f in (TOKENS, NEW_TOKENS)
    )
    cosines = (tokens @ bank.T) / np.outer(
        np.linalg.norm(tokens, axis=1), np.linalg.norm(bank, axis=1)
    )
    patch_scores = (1 - cosines.max(axis=1)).reshape(2, 256)
    highest = np.sort(patch_scores, axis=1)[:, ::-1][:, : int(0.01 * 256)]
    assert highest.shape[1] == 2
    np.testing.assert_allclose(scores.images, highest.mean(axis=1), rtol=1e-5)
    maps = scores.maps.numpy()[:, ::2, ::2].reshape(2, 256)
    np.testing.assert_allclose(maps, patch_scores, rtol=1e-4, atol=1e-6)


def test_a_case_worked_by_hand():
    # At 60 degrees from the only item of the bank: 1 - cos = 0.5, whatever the lengths.
    def single(*values):
        return Features([torch.tensor(values).reshape(1, 2, 1, 1)], None, (1, 1))

    method = PatchCore(
        layers=[4], ratio=1.0, embedding=SINGLE, distance="cosine", anomaly_map=SHARP
    ).fit(single(3.0, 0.0))
    assert method.score(single(1.0, 3**0.5)).images.item() == pytest.approx(0.5, rel=1e-6)
    assert method.score(single(7.0, 0.0)).images.item() == 0
    assert method.score(single(-2.0, 0.0)).images.item() == pytest.approx(2.0, rel=1e-6)
    assert method.score(single(0.0, 0.0)).images.item() == pytest.approx(0.5)  # it has no angle


def test_the_length_of_patches_does_not_matter():
    method = PatchCore(ratio=0.5, distance="cosine").fit(NORMAL)
    longer = Features([m * 3 for m in TEST.maps], None, TEST.size, source="toy")
    ours, theirs = method.score(TEST), method.score(longer)
    torch.testing.assert_close(ours.images, theirs.images, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("share", "count"), [(1e-9, 1), (0.01, 1), (0.05, 5), (0.25, 25), (1, 100)]
)
def test_the_mean_over_the_highest_patches(share, count):
    scores = torch.stack([torch.randperm(100), torch.randperm(100)]).float()
    expected = np.arange(100)[-count:].mean()
    assert mean_of_top(scores, share).tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize("distance", ["root", "squared", "cosine"])
def test_one_patch_at_the_top_is_the_largest(distance):
    fitted = PatchCore(ratio=1.0, distance=distance).fit(NORMAL)
    top = ask(fitted, reweight="top_share", share=0.001).score(TEST)
    assert top.images.tolist() == fitted.score(TEST).images.tolist()


def test_all_distances_and_image_scores_are_asked_of_one_fit_together():
    fitted = PatchCore(ratio=0.5).fit(NORMAL)
    variants = [
        ask(fitted, reweight="top_share", share=0.2),
        ask(fitted, distance="cosine", map_k=3),
        ask(fitted, reweight="paper", b=3),
        ask(fitted.cut(0.2), distance="cosine", reweight="top_share"),
        ask(fitted, distance="squared", reweight="top_share", share=0.2),
    ]
    together = list(fitted.score_all(TEST, variants))
    for variant, scores in zip(variants, together, strict=True):
        fresh = PatchCore(
            **{n: getattr(variant, n) for n in ("ratio", "map_k", "reweight", "share", "b")},
            distance=variant.distance,
        )
        expected = fresh.fit(NORMAL).score(TEST)
        torch.testing.assert_close(scores.images, expected.images, rtol=0, atol=0)
        torch.testing.assert_close(scores.maps, expected.maps, rtol=0, atol=0)


def test_reweighting_by_angles_is_refused():
    with pytest.raises(ValueError, match="reweight=paper is defined for Euclidean distances"):
        PatchCore(distance="cosine", reweight="paper")
    with pytest.raises(AdbenchError, match="use reweight=none or top_share"):
        preset("method.reweight=scaled", "method.b=3")


def test_the_share_is_a_setting_only_where_it_is_read():
    assert "share" not in settings_of(PatchCore(share=0.5))
    assert settings_of(PatchCore(reweight="top_share"))["share"] == 0.01
