"""What a method learned, as named tensors for a file and plain values beside them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adbench.errors import AdbenchError

TENSOR, NUMPY = "tensor", "numpy"
"""Keys under which the plain values name an array, and say what it is in memory."""


def taken_apart(state: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Plain values in which a mapping with one key names each array, and the arrays.

    Args:
        state: Tensors, numpy arrays, plain values, and lists of all of these.
        prefix: Before the name of each array.

    Raises:
        AdbenchError: A value of another kind, which no file could hold without running code.
    """
    arrays: dict[str, Tensor] = {}
    plain = {name: _apart(value, f"{prefix}{name}", arrays) for name, value in state.items()}
    return plain, arrays


def put_together(value: Any, arrays: Mapping[str, Tensor]) -> Any:
    """What ``taken_apart`` was given; KeyError where an array is missing."""
    if isinstance(value, dict):
        if TENSOR in value:
            return arrays[value[TENSOR]]
        if NUMPY in value:
            return arrays[value[NUMPY]].numpy()
        return {name: put_together(inner, arrays) for name, inner in value.items()}
    return [put_together(inner, arrays) for inner in value] if isinstance(value, list) else value


def _apart(value: Any, name: str, arrays: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        arrays[name] = value.detach().cpu().contiguous()
        return {TENSOR: name}
    if isinstance(value, np.ndarray):
        arrays[name] = torch.from_numpy(np.ascontiguousarray(value))
        return {NUMPY: name}
    if isinstance(value, list | tuple):
        return [_apart(inner, f"{name}.{i}", arrays) for i, inner in enumerate(value)]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise AdbenchError(
        f"{name} is a {type(value).__name__}, which a file cannot hold; a method learns tensors, "
        "numpy arrays, numbers, texts and lists of them"
    )
