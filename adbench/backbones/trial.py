"""One image through a network as its library wrote it, before and after it is compiled.

A compiled network can hide what is wrong: a fused activation turns NaN into 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adbench.backbones.network import Network, Precision, wrong_size
from adbench.errors import AdbenchError

FAR = 1e-3
"""Difference of float32 features, relative to the largest, that rounding does not explain: fused
networks of timm were off by 1.1e-5 at most."""


def outputs(module: nn.Module, image: Tensor, network: Network) -> list[Tensor]:
    """The outputs of the network as it is written, for one image.

    Args:
        module: What ``network.cut`` gave.
        image: (1, 3, H, W) float32, normalised.
        network: Where it comes from.

    Raises:
        ImpossibleError: The network takes no images of this size, but does of its own.
        AdbenchError: The outputs are not finite.
    """
    size = int(image.shape[2]), int(image.shape[3])
    try:
        found: list[Tensor] = list(module(image))
    except (AssertionError, RuntimeError, IndexError, ValueError) as error:
        if size == network.made_for or _memory_is_short(error):
            raise
        module(image.new_zeros(1, 3, *network.made_for))
        raise wrong_size(network.name, size, network.made_for) from error
    if not all(bool(torch.isfinite(output).all()) for output in found):
        raise AdbenchError(
            f"{network.name}: its weights give NaN or infinite features; check backbone.weights"
        )
    return found


def require_same(
    compiled: Sequence[Tensor], expected: Sequence[Tensor], name: str, precision: Precision
) -> None:
    """Raise AdbenchError where compiled outputs are not those of the network as it is written.

    Args:
        compiled: One tensor per output.
        expected: The same in float32 by the network as it is written.
        name: Of the network, for the error.
        precision: Of ``compiled``; bf16 is too coarse to be compared.
    """
    if precision == "bf16":
        return
    for number, (ours, theirs) in enumerate(zip(compiled, expected, strict=True), start=1):
        difference = float((ours - theirs).abs().max())
        if not difference <= FAR * float(theirs.abs().max()):
            raise AdbenchError(
                f"{name}: output {number} of the compiled network is off by {difference:.2g}; its "
                "weights overflow in float32, or its layers are computed wrongly here: check "
                "backbone.weights, or set another backbone.engine"
            )


def _memory_is_short(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate" in str(error)
