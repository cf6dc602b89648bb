"""Whether a computation fits the memory that is free, on the device too, before it starts."""

import math
from collections.abc import Callable
from typing import Any

from adbench.data.samples import Images
from adbench.detectors.detector import (
    Detector,
    EstimatesDeviceMemory,
    EstimatesMemory,
    Provider,
)
from adbench.errors import AdbenchError, MemoryShortError
from adbench.system import machine


def require(
    detector: Detector, normal: Images, test: int, provider: Provider, rest: int = 0
) -> None:
    """Raise unless fitting and scoring fit into what is free, with the settings that would.

    Where memory is short, the detector first gives back what it can make anew.

    Args:
        detector: Not fitted; one that makes no estimate always passes.
        normal: The images to fit on.
        test: How many images are to be scored.
        provider: Gives the features whose sizes are read.
        rest: Bytes that the rest of the run needs at the same time.

    Raises:
        MemoryShortError: With what is needed and what is free, in the memory or on the device.
    """
    if not isinstance(detector, EstimatesMemory):
        return
    place = detector.device if isinstance(detector, EstimatesDeviceMemory) else "cpu"

    def free_there() -> int | None:
        return machine.free_device_memory(place)

    def on_device(other: EstimatesDeviceMemory) -> int:
        return other.device_memory(normal, test, provider)

    def on_cpu(other: Any) -> int:
        own: int = other.memory(normal, test, provider) + rest
        shared = place != "cpu" and free_there() is None  # Apple's GPUs take the CPU's memory
        return own + on_device(other) if shared else own

    if on_cpu(detector) > machine.free_memory() or _short(detector, on_device, free_there()):
        detector.release()
    advice = "free some, or set a smaller geometry.resize and geometry.crop"
    _require(detector, len(normal), on_cpu, machine.free_memory(), "", advice)
    if (free := free_there()) is not None:
        advice = "set device=cpu, or a smaller geometry.resize and geometry.crop"
        _require(detector, len(normal), on_device, free, f" on {place}", advice)


def _short(detector: Any, needed: Callable[[Any], int], free: int | None) -> bool:
    return free is not None and needed(detector) > free


def _require(
    detector: Any, images: int, needed: Callable[[Any], int], free: int, where: str, advice: str
) -> None:
    """Raise unless what is needed of one kind of memory is free."""
    if (missing := needed(detector)) <= free:
        return
    for words, other in detector.less_memory():
        if _possible(needed, other) <= free:
            advice = f"{words} would fit"
            break
    raise MemoryShortError(
        f"{detector.title} on {images} images needs about {missing / 1e9:.1f} GB of memory{where} "
        f"and {free / 1e9:.1f} GB are free; {advice}"
    )


def _possible(needed: Callable[[Any], int], detector: Any) -> float:
    """Bytes, and no bound for a setting that cannot be had, or whose features do not fit."""
    try:
        return needed(detector)
    except AdbenchError:
        return math.inf
