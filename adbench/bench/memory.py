"""Whether a computation fits the memory that is free, found out before it starts."""

import math

from adbench.data.samples import Images
from adbench.detectors.detector import Detector, EstimatesMemory, Provider
from adbench.errors import AdbenchError, ImpossibleError
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
        AdbenchError: With what is needed and what is free.
    """
    if not isinstance(detector, EstimatesMemory):
        return
    needed = detector.memory(normal, test, provider) + rest
    if needed > machine.free_memory():
        detector.release()
    if needed <= (free := machine.free_memory()):
        return
    words = next(
        (
            words
            for words, other in detector.less_memory()
            if _needed(other, normal, test, provider) + rest <= free
        ),
        "",
    )
    advice = (
        f"{words} would fit"
        if words
        else ("free some, or set a smaller geometry.resize and geometry.crop")
    )
    raise AdbenchError(
        f"{detector.title} on {len(normal)} images needs about {needed / 1e9:.1f} GB of memory and "
        f"{free / 1e9:.1f} GB are free; {advice}"
    )


def _needed(detector: EstimatesMemory, normal: Images, test: int, provider: Provider) -> float:
    """Bytes, and no bound for a setting that these features cannot have."""
    try:
        return detector.memory(normal, test, provider)
    except ImpossibleError:
        return math.inf
