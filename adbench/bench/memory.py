"""Whether a computation fits the memory that is free, on the device too, before it starts."""

import math
from collections.abc import Callable
from typing import Any

from adbench.data.samples import Images
from adbench.detectors.detector import (
    Decides,
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
        detector: Not fitted; one that makes no estimate needs ``rest`` alone.
        normal: The images to fit on.
        test: How many images are to be scored.
        provider: Gives the features whose sizes are read.
        rest: Bytes that the rest of the run needs at the same time.

    Raises:
        MemoryShortError: With what is needed and what is free, in the memory or on the device.
    """
    place = detector.device if isinstance(detector, EstimatesDeviceMemory) else "cpu"

    def free_there() -> int | None:
        return machine.free_device_memory(place)

    def on_device(other: Any) -> int:
        found: int = other.device_memory(normal, test, provider)
        return found

    def on_cpu(other: Any) -> int:
        estimates = isinstance(other, EstimatesMemory)
        own = rest + (other.memory(normal, test, provider) if estimates else 0)
        shared = place != "cpu" and free_there() is None  # Apple's GPUs take the CPU's memory
        return own + on_device(other) if shared else own

    # Asked once: where features cannot be kept, each estimate makes those of all images.
    needed, free = on_cpu(detector), free_there()
    there = 0 if free is None else on_device(detector)
    if needed > machine.free_memory() or (free is not None and free < there):
        detector.release()
    smaller = "a smaller geometry.resize and geometry.crop"
    if (free := machine.free_memory()) < needed:
        # A detector from a file has the geometry that it was fitted with.
        how = "fit the detector with" if isinstance(detector, Decides) else "set"
        advice = _lighter(detector, on_cpu, free) or f"free some, or {how} {smaller}"
        raise _short(detector, len(normal), needed, free, "", advice)
    if (free := free_there()) is not None and free < there:
        advice = _lighter(detector, on_device, free) or f"set device=cpu, or {smaller}"
        raise _short(detector, len(normal), there, free, f" on {place}", advice)


def _lighter(detector: Any, needed: Callable[[Any], int], free: int) -> str:
    """The mildest setting that would fit; empty where there is none."""
    if isinstance(detector, EstimatesMemory):
        for words, other in detector.less_memory():
            if _possible(needed, other) <= free:
                return f"{words} would fit"
    return ""


def _short(
    detector: Detector, images: int, needed: int, free: int, where: str, advice: str
) -> MemoryShortError:
    return MemoryShortError(
        f"{detector.title} on {images} images needs about {needed / 1e9:.1f} GB of memory{where} "
        f"and {free / 1e9:.1f} GB are free; {advice}"
    )


def _possible(needed: Callable[[Any], int], detector: Any) -> float:
    """Bytes, and no bound for a setting that cannot be had, or whose features do not fit."""
    try:
        return needed(detector)
    except AdbenchError:
        return math.inf
