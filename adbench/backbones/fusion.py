"""Exact fusion of a frozen network: the same function up to the rounding of float32, but faster.

Batch norms are folded into the convolutions before them. On x86 CPUs oneDNN then computes sums and
activations inside the convolution or the matrix product, on weights that are packed once. These are
the operators that ``torch.compile`` emits, called by name, so that no compiler is needed. Eager
torch gives linear layers to MKL, which is slow on AMD.
"""

import logging
import operator
import platform
from collections import Counter
from typing import TypeGuard

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_weights

from adbench.backbones.network import Precision, Run

log = logging.getLogger(__name__)

# oneDNN's name of the function, its constants, its algorithm
_Activation = tuple[str, list[float], str]
_NONE: _Activation = ("none", [], "")
_LARGEST_LEARNT = (32 << 20) - (64 << 10)  # bytes; glibc learns from blocks below 32 MiB


def compiled(network: nn.Module, example: Tensor, precision: Precision) -> Run:
    """The network in torch, fused.

    Args:
        network: In evaluation mode, float32; it is given up.
        example: An input: float32, on the device that is to compute.
        precision: Of weights and activations.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = fold(network).to(example.device, dtype)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)
    fused = fuse(network, example.to(dtype, memory_format=torch.channels_last))
    # glibc returns freed memory beyond a limit to the system, whose pages are then made anew, full
    # of zeros, in the next layer. That is a third to two thirds of the time of a small network. A
    # large block that is freed once raises the limit, see mallopt(3).
    torch.empty(_LARGEST_LEARNT, dtype=torch.uint8)
    return lambda images: fused(images.to(dtype))


def fold(network: nn.Module) -> nn.Module:
    """The network with each batch norm folded into the convolution that it follows.

    A network that cannot be traced, because its code branches on what it computes, is returned as
    it is.

    Args:
        network: In evaluation mode, float32; it is given up.
    """
    try:
        traced = fx.GraphModule(network, _Tracer().trace(network))
    except Exception as error:  # tracing runs the network's own code, which may fail in any way
        log.info("the network runs as it is written, without fusion: %s", error)
        return network
    calls = Counter(node.target for node in traced.graph.nodes)
    for node in list(traced.graph.nodes):
        layer = _layer(node)
        if isinstance(layer, nn.Identity | nn.Dropout):
            _replace([node], _input(node))
        elif _is_norm(layer):
            source = _input(node)
            conv = _layer(source)
            if _is_convolution(conv) and list(source.users) == [node] and calls[source.target] == 1:
                _fold_norm(conv, layer)
                activation = getattr(layer, "act", None)  # of a BatchNormAct2d
                _replace([node], _call(node, activation, source) if activation else source)
    return _finish(traced)


def fuse(network: nn.Module, example: Tensor) -> nn.Module:
    """The folded network with its convolutions and linear layers computed by oneDNN.

    On a processor that oneDNN does not serve, the network is returned as it is.

    Args:
        network: What ``fold`` returned, in evaluation mode; it is given up.
        example: Of the shape, precision and device of the inputs to come.
    """
    if not isinstance(network, fx.GraphModule) or not _onednn_serves(example):
        return network
    ShapeProp(network).propagate(example)
    for node in list(network.graph.nodes):
        layer = _layer(node)
        if _is_convolution(layer):
            chain, addend = _with_sum(node)
            chain, activation = _with_activation(chain)
            fused: nn.Module = _Convolution(layer, activation, _shape(_input(node)))
        elif type(layer) is nn.Linear:
            addend = None
            chain, activation = _with_activation([node])
            fused = _Linear(layer, activation, _shape(_input(node)))
        else:
            continue
        inputs = [_input(node)] if addend is None else [_input(node), addend]
        _replace(chain, _call(chain[-1], fused, *inputs))
    return _finish(network)


class _Convolution(nn.Module):
    """activation(convolution(x) + addend), the weights packed for inputs of one shape."""

    def __init__(self, conv: nn.Conv2d, activation: _Activation, shape: list[int]) -> None:
        super().__init__()
        self.same = isinstance(conv, Conv2dSame)
        self.kernel = conv.kernel_size
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.activation = activation
        shape = list(self._pad(torch.empty(shape, device="meta")).shape)
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight.detach(), *self.geometry, shape
        )
        self.bias = conv.bias

    def _pad(self, x: Tensor) -> Tensor:
        _, stride, dilation, _ = self.geometry
        return pad_same(x, list(self.kernel), list(stride), list(dilation)) if self.same else x

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        inputs = [self._pad(x)] if addend is None else [self._pad(x), addend]
        arguments = (*inputs, self.packed, self.bias, *self.geometry)
        out: Tensor
        if addend is None:
            out = torch.ops.mkldnn._convolution_pointwise(*arguments, *self.activation)
        else:
            last = (None, [], None) if self.activation == _NONE else self.activation
            out = torch.ops.mkldnn._convolution_pointwise.binary(*arguments, "add", 1.0, *last)
        return out


class _Linear(nn.Module):
    """activation(linear(x)), the weights packed for inputs of one shape."""

    def __init__(self, linear: nn.Linear, activation: _Activation, shape: list[int]) -> None:
        super().__init__()
        self.activation = activation
        rows = torch.Size(shape[:-1]).numel()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.packed, self.bias, *self.activation
        )
        return out


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(
            m, module_qualified_name
        )


def _onednn_serves(example: Tensor) -> bool:
    if example.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    return example.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_convolution(layer: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Of exactly these types: any other subclass may transform its weights at every call."""
    if not isinstance(layer, nn.Conv2d) or type(layer) not in (nn.Conv2d, Conv2dSame):
        return False
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _is_norm(layer: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:
    if not isinstance(layer, nn.BatchNorm2d) or type(layer) not in (nn.BatchNorm2d, BatchNormAct2d):
        return False
    return layer.running_mean is not None


def _fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )


def _with_sum(node: fx.Node) -> tuple[list[fx.Node], fx.Node | None]:
    """The convolution and the sum that it goes into, if any, with the other summand."""
    user = _only_user(node)
    if user is not None and user.target is operator.add:  # ``a += b`` is traced as a sum too
        addend = next((a for a in user.args if a is not node), None)
        if isinstance(addend, fx.Node) and _shape(addend) == _shape(node):
            return [node, user], addend
    return [node], None


def _with_activation(chain: list[fx.Node]) -> tuple[list[fx.Node], _Activation]:
    """The chain and the activation that it goes into, if oneDNN can compute it there."""
    user = _only_user(chain[-1])
    if user is None:
        return chain, _NONE
    match _layer(user):
        case nn.ReLU():
            activation: _Activation = ("relu", [], "")
        case nn.ReLU6() if len(chain) == 1:
            activation = ("hardtanh", [0.0, 6.0], "")
        case nn.SiLU() if len(chain) == 1:
            activation = ("swish", [], "")
        case nn.GELU(approximate=algorithm) if len(chain) == 1:
            activation = ("gelu", [], algorithm)
        case _:
            return chain, _NONE
    return [*chain, user], activation


def _owner(node: fx.Node) -> fx.GraphModule:
    assert node.graph.owning_module is not None
    return node.graph.owning_module


def _layer(node: fx.Node) -> nn.Module | None:
    """The module that the node calls."""
    return _owner(node).get_submodule(str(node.target)) if node.op == "call_module" else None


def _input(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _shape(node: fx.Node) -> list[int]:
    return list(node.meta["tensor_meta"].shape)


def _call(place: fx.Node, module: nn.Module, *inputs: fx.Node) -> fx.Node:
    """A new call of ``module`` right before ``place``."""
    name = f"{place.name}_fused"
    _owner(place).add_module(name, module)
    with place.graph.inserting_before(place):
        node = place.graph.call_module(name, inputs)
    node.meta = dict(place.meta)
    return node


def _replace(chain: list[fx.Node], by: fx.Node) -> None:
    """Let ``by`` stand for the last node of the chain, and drop the chain."""
    chain[-1].replace_all_uses_with(by)
    for node in reversed(chain):
        node.graph.erase_node(node)


def _finish(network: fx.GraphModule) -> fx.GraphModule:
    network.delete_all_unused_submodules()
    network.recompile()
    return network
