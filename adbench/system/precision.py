"""The precision of products on a GPU."""

from contextlib import AbstractContextManager, nullcontext

import torch


def whole_floats(device: torch.device) -> AbstractContextManager[None]:
    """A block in which convolutions read all bits: by default cuDNN rounds what goes in to 10."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
