"""Graphs of fitted methods against the scores of these methods, in torch and in other runtimes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adbench.errors import ImpossibleError
from adbench.features.features import Features
from adbench.methods import padim
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset
from adbench.methods.crd import CRD
from adbench.methods.embedding import PatchEmbedding
from adbench.methods.graph import patchcore
from adbench.methods.method import Exports, ask
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.subspace import SubspaceAD

SHAPES = ((6, 7, 6), (10, 4, 3))  # no whole multiples, as at 300 pixels
SIZE = (24, 20)


def features(n, seed, shapes=SHAPES, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(n, *shape, generator=generator) + 0.5 for shape in shapes]
    return Features(maps, None, size, source="toy")


NORMAL, TEST = features(7, seed=0), features(4, seed=1)


def graph_of(method, normal):
    assert isinstance(method, Exports)
    return method.graph([tuple(m.shape[1:]) for m in normal.maps], normal.size).eval()


def require_equal(found, expected, tolerance):
    """Images and maps, relative to the largest value of each."""
    for ours, theirs in zip(found, (expected.images, expected.maps), strict=True):
        ours, theirs = np.asarray(ours), theirs.numpy()
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def check(method, normal=NORMAL, test=TEST):
    """The graph scores new images and those of the fit as the method does."""
    graph = graph_of(method.fit(normal), normal)
    with torch.inference_mode():
        require_equal(graph(*test.maps), method.score(test), 1e-5)
        if float(method.score(normal).images.max()) > 0:
            require_equal(graph(*normal.maps), method.score(normal), 1e-4)


@pytest.mark.parametrize("patch", [1, 3])
@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "adaptive"])
@pytest.mark.parametrize("pool_padding", [True, False, "shrink"])
def test_every_embedding(pool_padding, upsample, patch):
    embedding = PatchEmbedding(patch=patch, pool_padding=pool_padding, upsample=upsample)
    check(PatchCore(ratio=0.3, embedding=embedding))


def test_the_official_embedding():
    shapes = ((512, 4, 5), (1024, 2, 3))
    normal, test = features(2, 0, shapes), features(3, 1, shapes)
    embedding = PatchEmbedding(kind="official")
    check(PatchCore(ratio=0.5, embedding=embedding), normal, test)
    check(CRD(embedding=embedding), normal, test)


@pytest.mark.parametrize("upsample", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("edge", ["reflect", "mirror", "zero"])
@pytest.mark.parametrize(("sigma", "radius"), [(0, None), (2, None), (2, 3), (4, 40)])
def test_every_anomaly_map(upsample, edge, sigma, radius):
    drawn = AnomalyMap(upsample=upsample, edge=edge, sigma=sigma, radius=radius)
    check(PatchCore(ratio=0.3, anomaly_map=drawn))


@pytest.mark.parametrize(("distance", "block"), [("root", 4), ("squared", 1000)])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reweight", ["none", "paper", "scaled"])
@pytest.mark.parametrize("map_k", [1, 5])
def test_every_score_of_patchcore(map_k, reweight, include_self, distance, block, monkeypatch):
    monkeypatch.setattr(patchcore, "BLOCK", block)
    settings = {"map_k": map_k, "reweight": reweight, "include_self": include_self}
    check(PatchCore(ratio=0.3, b=3, distance=distance, **settings))


@pytest.mark.parametrize("distance", ["root", "squared", "cosine"])
@pytest.mark.parametrize(
    ("reweight", "share"), [("none", 0.5), ("top_share", 0.01), ("top_share", 0.3)]
)
@pytest.mark.parametrize("map_k", [1, 3])
def test_every_image_score_of_anomalydino(map_k, reweight, share, distance):
    check(PatchCore(ratio=0.3, map_k=map_k, reweight=reweight, share=share, distance=distance))


@pytest.mark.parametrize("share", [0.001, 0.2, 1.0])
@pytest.mark.parametrize("variance", [0.3, 0.7])
@pytest.mark.parametrize("merge", ["mean", "concat"])
@pytest.mark.parametrize("patch", [1, 3])
def test_every_setting_of_subspacead(patch, merge, variance, share):
    shapes = ((6, 7, 6), (6, 7, 6)) if merge == "mean" else SHAPES
    normal, test = features(7, 0, shapes), features(4, 1, shapes)
    embedding = PatchEmbedding(patch=patch)
    check(
        SubspaceAD(merge=merge, embedding=embedding, variance=variance, share=share), normal, test
    )


def test_an_image_in_the_bank_is_at_distance_zero_however_far_the_patches_are_from_the_origin():
    near = features(3, seed=0, shapes=((20, 8, 8), (40, 4, 4)))
    far = replace(near, maps=[m + 50 for m in near.maps])
    fitted = PatchCore(ratio=1.0).fit(far)
    assert float(fitted.score(far).images.max()) == 0
    other = features(1, seed=1, shapes=((20, 8, 8), (40, 4, 4)))
    other = replace(other, maps=[m + 50 for m in other.maps])
    with torch.inference_mode():
        images, maps = graph_of(fitted, far)(*far.maps)
    largest = float(fitted.score(other).images.max())
    assert float(images.max()) < 1e-4 * largest
    assert float(maps.max()) < 1e-4 * largest


def test_reweighting_survives_distances_whose_exponential_overflows():
    # Just far enough: the weight takes over the rounding of the distances, which grows with them.
    far = replace(TEST, maps=[m * 60 for m in TEST.maps])
    method = PatchCore(ratio=1.0, reweight="paper", b=3)
    assert float(method.fit(NORMAL).score(far).images.min()) > 88
    check(method, test=far)


def test_a_smaller_bank_and_other_score_settings_have_their_own_graph():
    fitted = PatchCore(ratio=0.5).fit(NORMAL)
    changed = ask(fitted.cut(0.1), map_k=2, reweight="paper", b=4)
    with torch.inference_mode():
        require_equal(graph_of(changed, NORMAL)(*TEST.maps), changed.score(TEST), 1e-5)


def test_more_neighbours_than_items_are_refused():
    with pytest.raises(ImpossibleError, match="map_k 30 is larger than the bank of 14 patches"):
        graph_of(PatchCore(ratio=0.05, map_k=30).fit(NORMAL), NORMAL)


@pytest.mark.parametrize(
    ("measure", "power"), [("residual", "squared"), ("objective", "squared"), ("residual", "root")]
)
@pytest.mark.parametrize("lambda_mode", ["absolute", "per_sample", "trace"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize", ["none", "l2"])
def test_every_score_of_crd(normalize, center, lambda_mode, measure, power):
    settings = {"lambda_mode": lambda_mode, "measure": measure, "power": power}
    check(CRD(normalize=normalize, center=center, lambda_=0.3, **settings))


@pytest.mark.parametrize("tolerance", [0, 1e-6])
@pytest.mark.parametrize("upsample", ["bilinear", "nearest", "adaptive"])
def test_crd_on_fewer_patches_than_dimensions(upsample, tolerance):
    shapes = ((60, 7, 6), (100, 4, 3))
    bank = {"bank": "coreset", "ratio": 0.1, "coreset": Coreset(dim=8)}
    method = CRD(embedding=PatchEmbedding(upsample=upsample), tolerance=tolerance, **bank)
    check(method, features(7, 0, shapes), features(4, 1, shapes))


def test_crd_whose_lambda_is_above_every_eigenvalue():
    check(CRD(lambda_=1e12))


def test_crd_on_eigenvalues_that_differ_by_twelve_powers_of_ten():
    scales = torch.logspace(0, -6, 16)
    parts = [scales[:6, None, None], scales[6:, None, None]]
    normal, test = (
        replace(given, maps=[m * part for m, part in zip(given.maps, parts, strict=True)])
        for given in (NORMAL, TEST)
    )
    fitted = CRD(lambda_=1e-9).fit(normal)
    assert float(fitted.eigenvalues_[-1] / fitted.eigenvalues_[0]) > 1e10
    check(CRD(lambda_=1e-9), normal, test)


@pytest.mark.parametrize("images", [3, 40])
@pytest.mark.parametrize(
    ("ridge_scale", "image_score"), [("absolute", "blurred"), ("trace", "raw")]
)
@pytest.mark.parametrize("solver", ["primal", "dual"])
@pytest.mark.parametrize("reduction", ["select", "gaussian", "orthonormal", "sparse", "none"])
def test_every_form_of_padim(reduction, solver, ridge_scale, image_score, images, monkeypatch):
    dims = None if reduction == "none" else 9
    settings = {"solver": solver, "ridge_scale": ridge_scale, "image_score": image_score}
    method = PaDiM(layers=[2, 3], reduction=reduction, dims=dims, **settings)
    check(method, features(images, 0))
    monkeypatch.setattr(
        padim, "STATE", 0
    )  # where all channels are kept, the maps are now the state
    check(method, features(images, 0))


def test_padim_with_a_ridge_far_below_the_variances():
    normal = replace(features(5, 0), maps=[m * 100 for m in features(5, 0).maps])
    test = replace(TEST, maps=[m * 100 for m in TEST.maps])
    check(PaDiM(layers=[2, 3], ridge=1e-3, solver="dual"), normal, test)


@pytest.fixture(
    params=[
        PatchCore(ratio=0.3),
        PatchCore(ratio=0.3, map_k=3, reweight="paper", distance="squared"),
        PatchCore(ratio=0.5, distance="cosine", reweight="top_share", share=0.1, map_k=2),
        SubspaceAD(variance=0.7, share=0.1),
        CRD(normalize="l2", center=True, power="root"),
        CRD(bank="coreset", ratio=0.02, coreset=Coreset(sampler="random"), lambda_=100.0),
        PaDiM(layers=[2, 3]),
        PaDiM(layers=[2, 3], reduction="gaussian", solver="dual", ridge_scale="trace"),
    ],
    ids=lambda method: type(method).__name__,
)
def exported(request, tmp_path):
    """A fitted method and the ONNX file of its graph."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    method = request.param.fit(NORMAL)
    file = tmp_path / "method.onnx"
    free = tuple({0: torch.export.Dim("n")} for _ in TEST.maps)
    program = torch.onnx.export(
        graph_of(method, NORMAL),
        tuple(m[:2] for m in TEST.maps),
        dynamo=True,
        dynamic_shapes={"maps": free},
        input_names=["fine", "deep"],
        verbose=False,
    )
    program.save(file)
    nodes = onnx.load(file).graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx"}  # operations of the standard alone
    return method, file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_other_runtimes_have_the_same_scores_whatever_the_number_of_images(exported):
    method, file = exported
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    batches = [TEST[:1], TEST, NORMAL]
    fed = [dict(zip(["fine", "deep"], [m.numpy() for m in b.maps], strict=True)) for b in batches]
    for batch, inputs in zip(batches, fed, strict=True):
        require_equal(session.run(None, inputs), method.score(batch), 1e-4)
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch, inputs in zip(batches, fed, strict=True):
        made = compiled(inputs)
        require_equal([made[0], made[1]], method.score(batch), 1e-4)
