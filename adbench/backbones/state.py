"""The tensors in a file of weights: unwrapped, and refused where they cannot give features."""

import math
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adbench.errors import AdbenchError

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
"""Names under which training code keeps a state_dict in a larger checkpoint, the first found
first."""


def read_state(path: Path) -> State:
    """The tensors of a .safetensors or torch file, out of what wraps them.

    Raises:
        AdbenchError: It is damaged, or holds objects other than tensors, which are not unpickled,
            or tensors that are no weights of a network. The message says what the file holds.
    """
    state, _ = unwrapped(path)
    require_weights(state, path)
    return state


def unwrapped(path: Path) -> tuple[State, str]:
    """The tensors of a file unchecked, and the dotted keys under which it holds them."""
    content, under = _content(path), []
    while not _is_state(content):
        inside = content if isinstance(content, Mapping) else {}
        key = next((key for key in WRAPPERS if isinstance(inside.get(key), Mapping)), None)
        if key is None:
            raise AdbenchError(
                f"backbone.weights={path}: holds {_described(content)}, not a state_dict of "
                "tensors; save the network's state_dict()"
            )
        under.append(key)
        content = inside[key]
    return {str(name): values for name, values in content.items()}, ".".join(under)


def require_weights(state: State, path: Path) -> None:
    """Raise AdbenchError where a tensor of a file cannot be a weight, naming the first one."""
    for name, values in state.items():
        if problem := _problem(name, values):
            raise AdbenchError(
                f"backbone.weights={path}: the tensor {name} {problem}; the file is damaged or "
                "its training diverged: use other weights"
            )


def without_prefix(state: State, names: Collection[str]) -> State:
    """The state without what all its names begin with, such as ``module.`` or ``model.backbone.``.

    Args:
        state: Of a network inside another one.
        names: Names in the network's own state; nothing is taken away once one of them is met.
    """
    while not state.keys() & set(names):
        parts = [name.partition(".") for name in state]
        if len({first for first, _, _ in parts}) > 1 or not all(rest for _, _, rest in parts):
            break
        state = {rest: values for (_, _, rest), values in zip(parts, state.values(), strict=True)}
    return state


def load_carried(network: nn.Module, state: Mapping[str, Tensor], model: str) -> None:
    """Give a network the weights that came with a detector; AdbenchError where they do not fit."""
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        lines = [f"the weights in the detector's file do not fit {model}:", *_first_keys(error)]
        raise AdbenchError("\n  ".join(lines)) from error


def misfit(model: str, weights: str, error: Exception) -> AdbenchError:
    """The error where a strict ``load_state_dict`` refused the weights, with the first keys."""
    lines = [f"backbone.weights={weights} does not fit {model}:", *_first_keys(error)]
    return AdbenchError("\n  ".join(lines))


def _first_keys(error: Exception) -> list[str]:
    lines = str(error).splitlines()
    shown = [line.strip() for line in lines[1:4] or lines]
    return [line if len(line) <= 200 else f"{line[:200]}..." for line in shown]


def _content(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on damaged pickles, for programmers
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the unpickler raise errors of every kind
        raise AdbenchError(
            f"backbone.weights={path}: not a .safetensors file nor a torch file of tensors only; "
            f"{_held(path)}"
        ) from error


def _held(path: Path) -> str:
    """What an unreadable file holds, and what to do; PyTorch's advice is for programmers."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "it is empty; fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the weights with git lfs pull"
    if start.lstrip()[:1] == b"<":
        return "it is a web page; fetch the file itself"
    if start[8:9] == b"{" and path.suffix != ".safetensors":
        return "it is a .safetensors file under another name; let its name end in .safetensors"
    if start[:2] == b"PK" and path.suffix == ".safetensors":
        return "it is a torch file under another name; let its name end in .pth"
    if start[:2] == b"PK":
        return _held_in_archive(path)
    if start[:1] == b"\x80":
        return (
            "it holds pickled objects, which are not read, because that runs their code; save the "
            "network's state_dict()"
        )
    return "it is damaged or of another format; fetch it again or save the network's state_dict()"


def _held_in_archive(path: Path) -> str:
    """The same of an archive such as ``torch.save`` makes."""
    try:
        kinds = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:
        return "it is a TorchScript program; save the state_dict() of the network it was made from"
    except Exception:  # as above
        return "it is damaged; fetch it again"
    shown = ", ".join(kinds[:3]) + ", ..." * (len(kinds) > 3)
    return (
        f"it holds objects of {shown}, which are not read, because that runs their code; save the "
        "network's state_dict() alone"
    )


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = [str(key) for key in content]
    shown = ", ".join(names[:6]) + ", ..." * (len(names) > 6)
    return f"a mapping of {shown}" if names else "an empty mapping"


def _problem(name: str, values: Tensor) -> str | None:
    """Why a tensor cannot be a network's weights; None where it can."""
    if not values.is_floating_point():
        if name.endswith(".weight"):
            kind = str(values.dtype).removeprefix("torch.")
            return f"holds {kind}, where floating-point numbers are needed"
        return None
    single = values.float()  # as networks compute, where a large float64 is infinite
    # A NaN or an infinity survives the sum, which takes a tenth of the time of a look at each.
    summed = math.isfinite(float(single.sum()))
    if not summed and (bad := values.numel() - int(torch.isfinite(single).sum())):
        return f"holds {bad} NaN or infinite values of {values.numel()}"
    if name.endswith("running_var") and bool((single < 0).any()):
        return "is a variance and holds negative values"
    return None
