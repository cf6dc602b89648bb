"""SubspaceAD against the principal component analysis of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from adbench.backbones.timm_maps import TimmMaps
from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.features.features import Features
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.crd import CRD
from adbench.methods.embedding import PatchEmbedding
from adbench.methods.method import ask
from adbench.methods.patchcore import PatchCore
from adbench.methods.subspace import SubspaceAD

SHARP = AnomalyMap(upsample="nearest", sigma=0.0)
SINGLE = PatchEmbedding(patch=1)
TOKENS = ((12, 8, 8),) * 3
PYRAMID = ((6, 8, 8), (10, 4, 4))


def features(n, seed, shapes=TOKENS):
    """Maps whose channels differ in their spread, so that few axes hold most of the variance."""
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(n, c, h, w, generator=generator) * 0.6 ** torch.arange(c)[:, None, None] + 0.5
        for c, h, w in shapes
    ]
    return Features(maps, None, (16, 16), source="toy")


def patches_of(given, merge):
    """(n, h, w, d) by numpy: single positions, deeper maps copied blockwise."""
    maps = [m.double().numpy().transpose(0, 2, 3, 1) for m in given.maps]
    side = maps[0].shape[1]
    maps = [m.repeat(side // m.shape[1], 1).repeat(side // m.shape[2], 2) for m in maps]
    return np.mean(maps, axis=0) if merge == "mean" else np.concatenate(maps, axis=-1)


def by_scikit_learn(normal, test, variance, merge):
    """(n, h w) squared reconstruction errors."""
    x, y = patches_of(normal, merge), patches_of(test, merge)
    pca = PCA(variance, svd_solver="full").fit(x.reshape(-1, x.shape[-1]))
    y = y.reshape(-1, y.shape[-1])
    rest = y - pca.inverse_transform(pca.transform(y))
    return (rest**2).sum(axis=1).reshape(len(test), -1), pca.n_components_


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("merge", "shapes"), [("mean", TOKENS), ("concat", TOKENS), ("concat", PYRAMID)]
)
def test_equals_the_reconstruction_error_of_a_principal_component_analysis(merge, shapes, variance):
    normal, test = features(6, 0, shapes), features(3, 1, shapes)
    nearest = PatchEmbedding(patch=1, upsample="nearest")
    method = SubspaceAD(
        layers=list(range(1, len(shapes) + 1)),
        merge=merge,
        embedding=nearest,
        variance=variance,
        share=0.1,
        anomaly_map=SHARP,
    ).fit(normal)
    expected, rank = by_scikit_learn(normal, test, variance, merge)
    assert 0 < rank < len(method.axes_)
    scores = method.score(test)
    found = scores.maps[:, ::2, ::2].reshape(len(test), -1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    highest = np.sort(expected, axis=1)[:, -int(0.1 * 64) :].mean(axis=1)
    np.testing.assert_allclose(scores.images, highest, rtol=1e-4)
    assert f"{rank} of {len(method.axes_)} axes" in method.notes_[0]


def test_every_share_of_the_variance_comes_from_one_fit():
    normal, test = features(6, 0), features(3, 1)
    fitted = SubspaceAD(merge="mean", embedding=SINGLE, anomaly_map=SHARP).fit(normal)
    variants = [ask(fitted, variance=v) for v in (0.3, 0.6, 0.95)]
    for variant, scores in zip(variants, fitted.score_all(test, variants), strict=True):
        expected, _ = by_scikit_learn(normal, test, variant.variance, "mean")
        found = scores.maps[:, ::2, ::2].reshape(len(test), -1).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_it_is_crd_with_a_hard_threshold():
    # Between two eigenvalues that lie far apart, the soft threshold of CRD is a hard one.
    scale = torch.tensor([1e4, 1e4, 1.0, 1.0])[:, None, None]

    def drawn(n, seed):
        maps = torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * scale
        return Features([maps], None, (8, 8), source="toy")

    normal, test = drawn(5, 0), drawn(2, 1)
    shared = {"layers": [2], "embedding": SINGLE, "anomaly_map": SHARP}
    hard = SubspaceAD(variance=0.99, **shared).fit(normal)
    soft = CRD(center=True, lambda_=3e5, tolerance=0.0, **shared).fit(normal)
    assert "2 of 4 axes" in hard.notes_[0]
    torch.testing.assert_close(hard.score(test).maps, soft.score(test).maps, rtol=0.01, atol=0.1)


def test_a_patch_of_the_subspace_scores_nothing():
    # Normal patches on a line through (1, 0): what is left is the distance to it, here 2.
    def line(*points):
        return Features([torch.tensor(points).T.reshape(1, 2, 1, -1)], None, (1, len(points)))

    method = SubspaceAD(layers=[1], embedding=SINGLE, share=1.0, anomaly_map=SHARP)
    method.fit(line((1.0, -1.0), (1.0, 0.0), (1.0, 1.0)))
    assert method.score(line((1.0, 7.0), (1.0, -3.0), (1.0, 0.5))).images.item() < 1e-9
    assert method.score(line((3.0, 5.0), (-1.0, 0.0), (3.0, 1.0))).images.item() == pytest.approx(4)


def test_layers_of_different_shapes_have_no_mean():
    with pytest.raises(ImpossibleError, match=r"merge=mean needs .*\(6, 8, 8\).*use merge=concat"):
        SubspaceAD(merge="mean").fit(features(2, 0, PYRAMID))


def test_a_variance_that_takes_all_axes_names_the_largest_that_does_not():
    fitted = SubspaceAD(merge="mean").fit(features(6, 0))
    with pytest.raises(ImpossibleError, match=r"variance=0\.999999 keeps all 12 axes.*use at most"):
        ask(fitted, variance=0.999999).score(features(1, 1))


@pytest.mark.parametrize("preset", ["dinov2_small", "dinov2_base", "dinov2_large"])
def test_the_dinov2_presets_name_networks_of_timm(preset):
    node = Configs().compose([f"backbone={preset}", "backbone.weights=random"]).backbone
    backbone = build(node, "backbone")
    assert isinstance(backbone, TimmMaps)
    assert backbone.norm
    import timm

    assert backbone.model in timm.list_models(pretrained=True)


@pytest.fixture(scope="module")
def blocks():
    """Three blocks of a small vision transformer with random weights."""
    model = "deit_tiny_patch16_224.fb_in1k"
    backbone = TimmMaps(model=model, weights="random", blocks=[4, 6, 8], norm=True)
    images = torch.randint(0, 256, (6, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    maps, _ = backbone.extract(images.to(torch.uint8), [1, 2, 3], False)
    return Features([m.clone() for m in maps], None, (64, 64), source="vit")


@pytest.mark.parametrize(
    "method",
    [
        SubspaceAD(layers=[1, 2, 3], merge="mean", variance=0.9),
        SubspaceAD(layers=[1, 2, 3], merge="concat", variance=0.9),
        PatchCore(
            layers=[1, 2, 3], ratio=1.0, embedding=SINGLE, distance="cosine", reweight="top_share"
        ),
    ],
    ids=["subspace mean", "subspace concat", "anomalydino"],
)
def test_blocks_of_a_vision_transformer_are_layers(method, blocks):
    shapes = {tuple(m.shape[1:]) for m in blocks.maps}
    assert shapes == {(192, 4, 4)}
    scores = method.fit(blocks[:4]).score(blocks[4:])
    assert scores.maps.shape == (2, 64, 64)
    assert float(scores.images.min()) > 0
    graph = method.graph([(192, 4, 4)] * 3, (64, 64)).eval()
    with torch.inference_mode():
        images, maps = graph(*blocks[4:].maps)
    torch.testing.assert_close(images, scores.images, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(maps, scores.maps, rtol=1e-4, atol=1e-6)


def test_a_wrong_setting_is_refused():
    for word in ("variance=1.0", "variance=0", "share=0", "merge=sum"):
        with pytest.raises(AdbenchError, match=word.partition("=")[0]):
            build(Configs().compose(["method=subspacead", f"method.{word}"]).method, "method")
