"""Where a method computes: by compiled kernels on the CPU, or by plain torch on a device."""

from dataclasses import replace
from typing import Any

import torch

from adbench.features.features import Features
from adbench.kernels.device import has_double


def settle(method: Any, features: Features, *rebuilt: str) -> None:
    """Let a method compute where these features say.

    What it learned stays on the CPU. What is rebuilt from that, such as a search index, is kept on
    the device, so that no image pays for a copy of it. It is dropped where the device changes.

    Args:
        method: Fitted or not.
        features: That it is about to learn from or to score.
        rebuilt: Names of its cached properties.
    """
    if device_of(method) != features.torch_device:
        for name in rebuilt:
            vars(method).pop(name, None)
        vars(method)["_torch_device"] = features.torch_device


def device_of(method: Any) -> torch.device | None:
    """Where plain torch computes for a method; None for the compiled kernels on the CPU."""
    device: torch.device | None = vars(method).get("_torch_device")
    return device


def in_double(features: Features) -> Features:
    """The features for a computation in float64: on the CPU, if their device does not have it."""
    if has_double(torch.device(features.device)):
        return features
    return replace(features, device="cpu")
