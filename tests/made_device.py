"""A device that computes on the CPU, and is as strict and as small as a GPU.

Its tensors do not mix with those of the CPU, it counts what crosses over, and it refuses tensors
that are larger than its limit. It stands under the name of a device that this torch cannot use.
"""

import weakref
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy:0"
CROSSES = {"aten::_to_copy", "aten::copy_"}


class There(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=NAME,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} met a tensor of the device outside the block")


class Device(TorchDispatchMode):
    """A block in which the device is there.

    Args:
        limit: Bytes of the largest tensor that it makes.

    Attributes:
        limit: The same.
        maps: How many tensors of floats with four axes crossed over, in either direction.
        held: Bytes of the tensors that are there now.
        peak: The most that ``held`` was; what a function takes inside does not count.
        up: How many tensors went to the device.
        down: How many tensors and numbers came back; each waits for the device.
        refused: How often its memory was too small.
    """

    def __init__(self, limit=2**40):
        super().__init__()
        self.limit = limit
        self.up = self.down = self.refused = self.maps = self.held = self.peak = 0
        self._users = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func._schema.name
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = [isinstance(t, There) for t in tensors]
        if name == "aten::_local_scalar_dense" and all(there):
            self.down += 1
        if any(there) and name not in CROSSES:
            strange = [t for t, own in zip(tensors, there, strict=True) if not own and t.ndim]
            assert not strange, f"{name} mixes tensors of the device and of the CPU"
        target = kwargs.get("device")
        on_device = any(there) if target is None else torch.device(target) == torch.device(NAME)
        if name in CROSSES and (on_device != there[0] or len(set(there)) == 2):
            self.up += on_device
            self.down += not on_device
            self.maps += tensors[-1].ndim == 4 and tensors[-1].is_floating_point()
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if not on_device:
            return out
        for made in tree_leaves(out):
            if isinstance(made, torch.Tensor) and made.nbytes > self.limit:
                self.refused += 1
                raise torch.OutOfMemoryError(f"{made.nbytes} bytes are more than {self.limit}")
        return tree_map(lambda t: self._there(t) if isinstance(t, torch.Tensor) else t, out)

    def _there(self, inner):
        made, memory = There(inner), inner.untyped_storage()
        place, size = memory.data_ptr(), memory.nbytes()
        self.held += 0 if self._users[place] else size
        self._users[place] += 1
        self.peak = max(self.peak, self.held)
        weakref.finalize(made, self._left, place, size)
        return made

    def _left(self, place, size):
        self._users[place] -= 1
        self.held -= 0 if self._users[place] else size


def _inner(value):
    return value.inner if isinstance(value, There) else value
