"""Systems that train on images are detectors like any other; those of anomalib, on small images."""

import dataclasses
import importlib.util
import math

import numpy as np
import pytest
import torch
from made_runs import plans, run_jobs

from adbench.backbones.timm_maps import TimmMaps
from adbench.cli.main import main
from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.anomalib import library, training
from adbench.detectors.anomalib.detector import Normal
from adbench.detectors.anomalib.extractor import extractor, student
from adbench.detectors.detector import MakesDetector
from adbench.detectors.direct import Direct
from adbench.errors import AdbenchError, ImpossibleError, NotFittedError
from adbench.results import records

CONFIGS = Configs()
SYSTEMS = [
    name
    for name in CONFIGS.choices("method")
    if isinstance(build(CONFIGS.compose([f"method={name}"]).method, "method"), MakesDetector)
]
SMALL = {  # a training of two steps
    "efficientad": ("steps=2", "distill_steps=2", "distill_batch=1"),
    "stfpm": ("epochs=2", "batch=8"),
    "cfa": ("epochs=2", "batch=8"),
    "cflow": ("epochs=1", "fibers=16", "coupling_blocks=2"),
    "anomalib_patchcore": ("ratio=0.1",),
    "anomalib_padim": ("dims=20",),
}
BACKBONE = ("backbone=timm", "backbone.model=resnet18", "backbone.weights=random")
GEOMETRY = Geometry(resize=(64, 64), crop=None)
LARGE = Geometry(resize=(256, 256), crop=None)
needs_anomalib = pytest.mark.skipif(
    importlib.util.find_spec("anomalib") is None, reason="anomalib is not installed"
)


def trains(test):
    """Marks a test that imports anomalib, which takes seconds."""
    return pytest.mark.slow(needs_anomalib(test))


def words(name):
    return tuple(f"method.{word}" for word in SMALL[name])


def unfitted(name, *more, backbone=None):
    system = build(CONFIGS.compose([f"method={name}", *words(name), *more]).method, "method")
    network = backbone or TimmMaps("resnet18", weights="random", device="cpu")
    return system.detector(LARGE if name == "efficientad" else GEOMETRY, network, "cpu")


def pictures(count, seed=0, edge=64):
    """Decoded images with a common pattern and some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:edge, :edge]
    pattern = 128 + 60 * np.sin(rows / 7)[..., None] * np.cos(columns / 9)[..., None]
    noisy = [pattern + rng.normal(0, 12, (edge, edge, 3)) for _ in range(count)]
    return Images(arrays=tuple(image.clip(0, 255).astype(np.uint8) for image in noisy))


@pytest.fixture(scope="module")
def fitted():
    """Fitted systems by name, each trained once."""
    known = {}

    def fit(name):
        if name not in known:
            known[name] = unfitted(name).fit(pictures(8), Direct())
        return known[name]

    return fit


def test_every_system_has_a_small_training_here():
    assert set(SMALL) == set(SYSTEMS)


@trains
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_fits_and_scores_as_a_detector(name, fitted):
    detector = fitted(name)
    height, width = detector.geometry.size
    scores = detector.score(pictures(3, seed=1))
    assert scores.images.shape == (3,)
    assert scores.maps.shape == (3, height, width)
    for values in (scores.images, scores.maps):
        assert values.dtype == torch.float32
        assert bool(torch.isfinite(values).all())
    assert detector.facts()["state_bytes"] > 0
    assert detector.facts()["notes"][0] == f"a system of anomalib {library.version()}"


@trains
@pytest.mark.parametrize("name", SYSTEMS)
def test_each_image_is_scored_alone(name, fitted):
    test = pictures(3, seed=1)
    whole = fitted(name).score(test)
    for place in range(3):
        alone = fitted(name).score(Images(arrays=test.arrays[place : place + 1]))
        torch.testing.assert_close(alone.images[0], whole.images[place], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(alone.maps[0], whole.maps[place], rtol=1e-3, atol=1e-5)


@trains
@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "efficientad"])
def test_the_same_seed_trains_the_same_and_leaves_the_generators_alone(name, fitted):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = unfitted(name).fit(pictures(8), Direct())
    torch.testing.assert_close(torch.rand(3), expected)
    test = pictures(2, seed=1)
    torch.testing.assert_close(again.score(test).images, fitted(name).score(test).images)
    other = unfitted(name, "seed=1")
    assert other.identity()["method"]["settings"]["seed"] == 1
    assert other.identity() != again.identity()


@needs_anomalib
@pytest.mark.parametrize("name", SYSTEMS)
def test_an_unfitted_system_scores_nothing(name):
    with pytest.raises(NotFittedError, match="fit it first"):
        unfitted(name).score(pictures(1))


@needs_anomalib
def test_the_identity_names_the_library_the_weights_and_the_budget():
    said = unfitted("stfpm").identity()
    assert said["method"]["class"] == "STFPM"
    assert said["method"]["anomalib"] == library.version()
    assert said["method"]["settings"]["epochs"] == 2
    assert len(said["backbone"]["sha256"]) == 64


@trains
def test_a_training_that_diverges_is_an_error_and_no_detector():
    with pytest.raises(AdbenchError, match=r"STFPM: the loss is nan at step \d+ of \d+.*method.lr"):
        unfitted("stfpm", "method.lr=1e30", "method.epochs=9").fit(pictures(8), Direct())


@trains
def test_scores_that_are_no_numbers_are_refused(fitted):
    detector = unfitted("anomalib_padim").fit(pictures(8), Direct())
    detector.trained.model.gaussian.mean.fill_(math.nan)
    with pytest.raises(AdbenchError, match="no numbers"):
        detector.score(pictures(1))


# What a system cannot take is said before any work.


@needs_anomalib
@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "efficientad"])
def test_a_system_without_a_layer_is_refused_before_any_image(name):
    with pytest.raises(AdbenchError, match=r"method\.layers: .*at least 1"):
        build(CONFIGS.compose([f"method={name}", "method.layers=[]"]).method, "method")


@needs_anomalib
def test_efficientad_refuses_small_images():
    system = build(CONFIGS.compose(["method=efficientad"]).method, "method")
    with pytest.raises(ImpossibleError, match=r"at least 256 x 256.*64 x 64.*geometry=square256"):
        system.detector(GEOMETRY, TimmMaps("resnet18", weights="random"), "cpu")


@needs_anomalib
def test_cfa_refuses_images_that_are_not_square():
    system = build(CONFIGS.compose(["method=cfa"]).method, "method")
    with pytest.raises(ImpossibleError, match=r"square images.*64 x 96"):
        system.detector(
            Geometry(resize=(64, 96), crop=None), TimmMaps("resnet18", weights="random"), "cpu"
        )


class NoNetwork:
    """A backbone of a user that gives features and nothing else."""


@needs_anomalib
def test_a_backbone_that_is_no_network_is_refused():
    with pytest.raises(ImpossibleError, match="STFPM needs the network itself, and NoNetwork"):
        unfitted("stfpm", backbone=NoNetwork())


@needs_anomalib
def test_another_precision_is_refused():
    network = TimmMaps("resnet18", weights="random", device="cpu", precision="bf16")
    with pytest.raises(ImpossibleError, match=r"backbone.precision=bf16.*backbone.precision=fp32"):
        unfitted("cflow", backbone=network)


@needs_anomalib
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method.teacher=nowhere.pth", r"method.teacher=nowhere.pth: there is no such file"),
        ("method.penalty_images=nowhere", r"method.penalty_images=nowhere: there is no such fold"),
        ("method.distill_images=nowhere", r"method.distill_images=nowhere: there is no such fold"),
    ],
)
def test_a_missing_file_of_efficientad_is_named(word, message):
    with pytest.raises(AdbenchError, match=message):
        unfitted("efficientad", word)


@trains
def test_fibers_that_a_batch_does_not_fill_are_refused():
    detector = unfitted("cflow", "method.fibers=100000")
    with pytest.raises(AdbenchError, match=r"8 patches|512 patches.*method.fibers"):
        detector.fit(pictures(8), Direct())


# Against anomalib's own models, called by hand.


def normal(images):
    stacked = torch.from_numpy(np.stack(images.arrays)).permute(0, 3, 1, 2)
    backbone = TimmMaps("resnet18", weights="random", device="cpu")
    return Normal(stacked, GEOMETRY, backbone, "cpu")


@trains
def test_patchcore_is_anomalibs_model_on_our_network(fitted):
    """The memory bank is a part of the patches, and the scores are those of a plain search."""
    train, test = pictures(8), pictures(3, seed=1)
    model = fitted("anomalib_patchcore").trained.model
    frozen = extractor(normal(train).backbone, [2, 3], GEOMETRY.size)

    def patches(images):
        maps = list(frozen(normal(images).images.float()).values())
        pooled = [torch.nn.functional.avg_pool2d(m, 3, 1, 1) for m in maps]
        large = torch.nn.functional.interpolate(pooled[1], size=(8, 8), mode="bilinear")
        return torch.cat([pooled[0], large], dim=1).permute(0, 2, 3, 1).flatten(1, 2)

    known = patches(train).flatten(0, 1)
    bank = model.memory_bank
    assert len(bank) == int(0.1 * len(known))
    assert float(torch.cdist(bank.double(), known.double()).min(dim=1).values.max()) < 1e-4
    distances = torch.cdist(patches(test), bank.expand(3, -1, -1)).min(dim=2).values
    detector = unfitted("anomalib_patchcore", "method.k=1").fit(train, Direct())
    torch.testing.assert_close(detector.trained.model.memory_bank, bank)
    expected = distances.amax(dim=1)
    torch.testing.assert_close(detector.score(test).images, expected, rtol=1e-3, atol=1e-4)


@trains
def test_padim_is_anomalibs_model_on_our_network(fitted):
    """The Gaussians are numpy's, with anomalib's two terms on the diagonal."""
    model = fitted("anomalib_padim").trained.model
    frozen = extractor(normal(pictures(8)).backbone, [1, 2, 3], GEOMETRY.size)
    maps = list(frozen(normal(pictures(8)).images.float()).values())
    large = [torch.nn.functional.interpolate(m, size=(16, 16), mode="nearest") for m in maps]
    chosen = torch.cat(large, dim=1)[:, model.idx].flatten(2).double().numpy()
    assert len(set(model.idx.tolist())) == 20
    for place in (0, 100, 255):
        covariance = np.cov(chosen[:, :, place].T) + (0.01 + 1e-5) * np.eye(20)
        inverse = np.linalg.inv(covariance)
        found = model.gaussian.inv_covariance[place].numpy()
        np.testing.assert_allclose(found, inverse, rtol=0.01, atol=0.05)
        np.testing.assert_allclose(
            model.gaussian.mean[:, place].numpy(), chosen[:, :, place].mean(axis=0), rtol=1e-4
        )


@trains
def test_the_teacher_of_stfpm_is_the_backbone_and_stays_so(fitted):
    model = fitted("stfpm").trained.model
    teacher = dict(TimmMaps("resnet18", weights="random").module((64, 64), [1]).named_parameters())
    found = dict(model.teacher_model.network.named_parameters())
    torch.testing.assert_close(
        found["cut.network.conv1.weight"], teacher["cut.network.conv1.weight"]
    )
    learned = dict(model.student_model.network.named_parameters())
    assert not torch.equal(
        found["cut.network.layer1.0.conv1.weight"], learned["cut.network.layer1.0.conv1.weight"]
    )


@pytest.mark.parametrize(("seed", "more"), [(0, 0), (3, 2**32), (2**64 - 1, 0)])
def test_a_student_never_starts_as_its_teacher(seed, more):
    teacher = TimmMaps("resnet18", weights="random", seed=seed + more, device="cpu")
    names = ["cut.network.conv1.weight", "cut.network.layer1.0.conv1.weight"]
    first = student(teacher, [1], (64, 64), seed).network.state_dict()
    own = teacher.module((64, 64), [1]).state_dict()
    assert not any(torch.equal(first[name], own[name]) for name in names)
    other = TimmMaps("resnet18", weights="random", seed=1, device="cpu")
    apart = student(other, [1], (64, 64), seed).network.state_dict()
    assert all(torch.equal(apart[name], own[name]) for name in names)  # as always


def test_seeds_are_those_that_torch_takes():
    with training.seeded(202611262136):  # which is more than numpy takes
        large = float(torch.rand(1)), np.random.rand()  # noqa: NPY002
    with training.seeded(202611262136 % 2**32):
        assert large == (float(torch.rand(1)), np.random.rand())  # noqa: NPY002
    for name in SYSTEMS:
        with pytest.raises(AdbenchError, match=r"method\.seed: must be less than 1844"):
            unfitted(name, f"method.seed={2**64}")


@trains
def test_without_penalty_images_their_term_alone_is_left_out():
    from adbench.detectors.anomalib.efficientad import loss

    code = library.module("models.image.efficient_ad.torch_model")
    with training.seeded(0):
        model = code.EfficientAdModel(384).train()
        image, penalty = torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256)
    with training.seeded(1), torch.no_grad():
        whole = loss(model, image, penalty)
        term = (model.student(penalty)[:, :384] ** 2).mean()
    with training.seeded(1), torch.no_grad():
        without = loss(model, image, None)
    assert float(whole - without) == pytest.approx(float(term), rel=1e-3)
    assert float(term) > 0


@trains
def test_a_teacher_and_penalty_images_come_from_files(tmp_path):
    from PIL import Image

    code = library.module("models.image.efficient_ad.torch_model")
    teacher = code.SmallPatchDescriptionNetwork(384)
    torch.save(teacher.state_dict(), tmp_path / "teacher.pth")
    (tmp_path / "penalty").mkdir()
    for number, array in enumerate(pictures(2, seed=7).arrays):
        Image.fromarray(array).save(tmp_path / "penalty" / f"{number}.png")
    more = [f"method.teacher={tmp_path}/teacher.pth", f"method.penalty_images={tmp_path}/penalty"]
    detector = unfitted("efficientad", *more)
    said = detector.identity()["method"]
    assert said["settings"]["teacher"] == "teacher.pth"
    assert said["settings"]["penalty_images"] == "penalty"
    assert "distill_steps" not in said["settings"]
    assert len(said["teacher_sha256"]) == len(said["penalty_images_sha256"]) == 64
    fitted = detector.fit(pictures(3), Direct())
    found = fitted.trained.model.model.teacher.conv1.weight
    torch.testing.assert_close(found, teacher.conv1.weight)
    assert any("read from a file" in note for note in fitted.facts()["notes"])
    model = fitted.trained.model.model
    learned = [model.student, model.ae, model.mean_std, model.quantiles]
    tensors = [t for part in learned for t in (*part.parameters(), *part.buffers())]
    assert fitted.facts()["state_bytes"] == sum(t.nbytes for t in tensors)
    bad = tmp_path / "bad.pth"
    torch.save({"weight": torch.zeros(2)}, bad)
    with pytest.raises(AdbenchError, match=r"method.teacher=.*bad.pth: does not fit the small"):
        unfitted("efficientad", f"method.teacher={bad}").fit(pictures(3), Direct())


@trains
def test_images_of_several_sizes_are_distilled_on(tmp_path):
    from PIL import Image

    for number, size in enumerate([(300, 375), (375, 300), (300, 250)]):
        Image.new("RGB", size, (60 * number, 90, 30)).save(tmp_path / f"{number}.png")
    detector = unfitted(
        "efficientad", f"method.distill_images={tmp_path}", "method.distill_batch=3"
    )
    whole = dataclasses.replace(detector, geometry=Geometry(resize=None, crop=None, area=256))
    assert whole.fit(pictures(3, edge=256), Direct()).size == (256, 256)


# Through the commands.


@trains
def test_a_run_leaves_a_record_that_no_reader_can_tell_from_others(
    tmp_path, make_category, capfd, monkeypatch
):
    make_category(tmp_path / "images", "bottle", edge=64)
    monkeypatch.chdir(tmp_path)
    common = [
        "dataset=mvtec",
        f"dataset.root={tmp_path / 'images'}",
        "dataset.categories=[bottle]",
        "geometry.resize=[64,64]",
        "geometry.crop=null",
        *BACKBONE,
    ]
    job = ["method=anomalib_padim", *words("anomalib_padim"), "threshold=train"]
    (outcome,) = run_jobs(tmp_path / "runs", " ".join(job), common=common)
    assert outcome.failures == {}
    (record,) = outcome.records
    assert set(record.metrics) >= {"image_auroc", "pixel_auroc"}
    assert record.weights["setting"] == "random"
    assert record.channels == {"1": 64, "2": 128, "3": 256}
    assert record.seconds["fit"] > 0
    assert record.seconds["extract"] > 0
    assert len(records.load_scores(tmp_path / "runs" / "records", record)) == record.counts["test"]
    assert {path.name for path in tmp_path.iterdir()} == {"images", "runs"}
    assert "it/s" not in capfd.readouterr().err  # no bar of the library's


@needs_anomalib
def test_a_system_is_not_saved(tmp_path, make_category, capsys):
    make_category(tmp_path / "images", "bottle", edge=64)
    with pytest.raises(SystemExit) as end:
        main(
            [
                "fit",
                "dataset=mvtec",
                f"dataset.root={tmp_path / 'images'}",
                "dataset.categories=[bottle]",
                "method=stfpm",
                *BACKBONE,
                f"out={tmp_path / 'part.safetensors'}",
            ]
        )
    assert end.value.code == 2
    assert "STFPM: a system that trains on images cannot be saved yet" in capsys.readouterr().err
    assert not (tmp_path / "part.safetensors").exists()


@pytest.mark.parametrize("name", SYSTEMS)
def test_without_the_extra_a_system_is_refused_with_what_to_install(name, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *rest: None if n == "anomalib" else find(n, *rest)
    )
    with pytest.raises(AdbenchError, match=r"needs adbench-vision\[anomalib\].*pip install 'adben"):
        plans(tmp_path, f"method={name}", common=["geometry=square256", *BACKBONE])


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_listed_with_what_it_needs(name):
    assert "needs adbench-vision[anomalib]" in CONFIGS.describe("method", name)
