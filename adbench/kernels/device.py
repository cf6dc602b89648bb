"""Work on a device in blocks that fit it, in the precision that it has."""

from collections.abc import Callable
from typing import TypeVar

import torch

from adbench.errors import AdbenchError

CHUNK = 512 * 1024**2
"""Bytes that the intermediate values of a block may take at first."""

T = TypeVar("T")


def has_double(device: torch.device) -> bool:
    """Whether the device computes in float64, which Apple's GPUs (mps) do not."""
    return device.type != "mps"


def widest(device: torch.device) -> torch.dtype:
    """The most precise floating-point type of the device."""
    return torch.float64 if has_double(device) else torch.float32


def memory_is_short(error: BaseException) -> bool:
    """Whether an error says that the memory of a device was too small.

    Torch has a class for it, but Apple's GPUs, cuBLAS, cuDNN and cuSOLVER say it in words alone.
    """
    words = ("out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def block_size(bytes_per_row: int) -> int:
    """How many rows fill ``CHUNK``, at least one."""
    return max(1, CHUNK // max(1, bytes_per_row))


def in_blocks(work: Callable[[slice], T], rows: int, size: int, what: str) -> list[T]:
    """Work on consecutive rows, in smaller blocks where the device has no memory for larger ones.

    A block that runs out of memory is halved and done again; those that follow it keep the smaller
    size. Every other error is raised as it is.

    Args:
        work: Is given the rows of a block. What it did before it ran out of memory must not count.
        rows: How many there are.
        size: Rows of a block at first.
        what: What the rows are, in the plural, for the error.

    Returns:
        What ``work`` returned, block by block.

    Raises:
        AdbenchError: The memory of the device does not hold a single row.
    """
    results: list[T] = []
    done = 0
    while done < rows:
        size = min(size, rows - done)
        short: RuntimeError | None = None
        try:
            results.append(work(slice(done, done + size)))
            done += size
        except RuntimeError as error:
            if not memory_is_short(error):
                raise
            # Its traceback holds the tensors of the failed block, which must go before the next.
            short = error.with_traceback(None)
        if short is not None:
            if size == 1:
                raise AdbenchError(
                    f"the memory of the device does not hold one of {rows} {what}; set device=cpu, "
                    "or a smaller geometry.resize and geometry.crop"
                ) from short
            size //= 2
    return results
