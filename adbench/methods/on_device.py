"""Where a method computes: by compiled kernels on the CPU, or by plain torch on a device."""

from dataclasses import replace
from typing import Any

import torch

from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.kernels.device import has_double
from adbench.methods.method import forget


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


def begin_fit(method: Any, normal: Features, *rebuilt: str) -> None:
    """Forget an earlier fit and settle where this one computes.

    Args:
        method: Fitted or not.
        normal: Features of normal images, that it is about to learn from.
        rebuilt: Names of its cached properties.

    Raises:
        AdbenchError: There is no image.
    """
    forget(method, *rebuilt)
    settle(method, normal)
    if not len(normal):
        raise AdbenchError(f"{type(method).__name__}.fit: no training images")


def bytes_beside(features: Features, test: int) -> int:
    """Bytes of the CPU's memory for the anomaly maps of ``test`` images from a device.

    They come in blocks, which are put together then.
    """
    return 2 * 4 * test * features.size[0] * features.size[1]


def device_of(method: Any) -> torch.device | None:
    """Where plain torch computes for a method; None for the compiled kernels on the CPU."""
    device: torch.device | None = vars(method).get("_torch_device")
    return device


def double_device(features: Features) -> torch.device | None:
    """``Features.torch_device`` for a method that needs float64, see ``in_double``."""
    device = features.torch_device
    return device if device is None or has_double(device) else None


def in_double(features: Features) -> Features:
    """The features for a computation in float64: on the CPU, if their device does not have it."""
    if has_double(torch.device(features.device)):
        return features
    return replace(features.on_cpu(), device="cpu")
