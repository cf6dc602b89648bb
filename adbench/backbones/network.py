"""A network as its library made it, before an engine computes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from adbench.errors import ImpossibleError

Size = tuple[int, int]
"""Height and width in pixels."""
Precision = Literal["fp32", "bf16"]
EngineName = Literal["torch", "openvino"]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
"""What torch draws from. It takes 64 bits, of which a CPU reads the lower 32."""
Run = Callable[[Tensor], Sequence[Tensor]]
"""From normalised (b, 3, H, W) float32 images to the network's outputs, which stand until the next
call."""


@dataclass(frozen=True)
class Network:
    """A network as its library made it, for images of one size."""

    name: str
    """As the user calls it; for errors."""
    reductions: list[int]
    """Stride of every output that it can give, finest first; all are equal in a plain vision
    transformer."""
    mean: Sequence[float]
    """Of the RGB values in [0, 1] that it was trained on."""
    std: Sequence[float]
    """Likewise."""
    cut: Callable[[list[int]], nn.Module]
    """From ascending indices into ``reductions`` to a module from (b, 3, H, W) to those outputs,
    (b, c, h, w) each."""
    made_for: Size
    """The size of the images that it was trained on."""

    def levels(self, blocks: Sequence[int] | None) -> dict[int, int]:
        """Which of the outputs each pyramid level is.

        Level i of a network with stages is its last output of stride 2^(i + 1), as layer i of a
        ResNet. A plain vision transformer has one stride. Its levels 1, 2, 3, 4 come after a
        quarter, a half, three quarters and all of its blocks, or after ``blocks``, counted from 1.

        Raises:
            ImpossibleError: ``blocks`` of a network without them, beyond its depth or not
                ascending.
        """
        depth = len(self.reductions)
        if len(set(self.reductions)) > 1:
            if blocks is not None:
                raise ImpossibleError(
                    f"backbone.blocks={list(blocks)}: {self.name} has stages, not blocks; "
                    "leave it null"
                )
            return {r.bit_length() - 2: i for i, r in enumerate(self.reductions) if r >= 4}
        quarters = [round(depth * part / 4) for part in (1, 2, 3, 4)]
        chosen = quarters if blocks is None else list(blocks)
        in_order = bool(chosen) and chosen == sorted(set(chosen))
        if not in_order or chosen[0] < 1 or chosen[-1] > depth:
            raise ImpossibleError(
                f"backbone.blocks={chosen}: {self.name} has blocks 1 to {depth}; "
                "give them ascending"
            )
        return {level: block - 1 for level, block in enumerate(chosen, start=1)}

    def require_patches(self, size: Size) -> None:
        """Raise ImpossibleError where the patches of a transformer do not divide (H, W) pixels."""
        patch = self.reductions[0]
        if len(set(self.reductions)) == 1 and any(edge % patch for edge in size):
            raise ImpossibleError(
                f"images of {size[0]} x {size[1]} pixels: {self.name} reads patches of "
                f"{patch} x {patch}; set geometry.resize and geometry.crop to multiples of {patch}"
            )


def outputs_of(
    name: str, levels: dict[int, int], layers: Sequence[int], vectors: bool
) -> list[int]:
    """The outputs of a network that a request needs, ascending.

    Args:
        name: Of the network.
        levels: From ``Network.levels``.
        layers: Pyramid levels.
        vectors: Whether the last level is needed too.

    Raises:
        ImpossibleError: A layer that the network lacks.
    """
    for layer in layers:
        if layer not in levels:
            known = ", ".join(str(level) for level in levels)
            raise ImpossibleError(f"layer {layer}: {name} has the layers {known}")
    last = {levels[max(levels)]} if vectors else set()
    return sorted({levels[layer] for layer in layers} | last)


def wrong_size(name: str, size: Size, made_for: Size) -> ImpossibleError:
    """The error where a network takes no images of (H, W) pixels."""
    height, width = made_for
    return ImpossibleError(
        f"{name} takes no images of {size[0]} x {size[1]} pixels; it was made for {height} x "
        f"{width}: set geometry.resize=[{height},{width}] geometry.crop=null"
    )
