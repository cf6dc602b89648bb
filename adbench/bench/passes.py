"""Passes over images that serve several settings: how many of them, and what they keep."""

from collections.abc import Sequence
from typing import Any

from adbench.data.samples import Images
from adbench.detectors.detector import Detector, Provider, Shares

TOGETHER = 2**29
"""Bytes that a pass may keep of settings until their anomaly maps are made."""
PIXEL = 11
"""Bytes that the map, the mask and the sorted copies of the pixel metrics take of a pixel."""
PAIR = 8
"""Bytes of a pair of images in the counts of ``adbench.evaluation.pairs``."""


def passes(largest: Detector, members: Sequence[Any], images: int) -> list[int]:
    """How many of the members of a family each pass over so many images serves, in their order.

    Args:
        largest: The member that is fitted first; it knows the shapes of its features.
        members: Those detectors of the family that are scored.
        images: How many there are.
    """
    if not isinstance(largest, Shares):
        return [1] * len(members)
    sizes, start = [], 0
    for end in range(2, len(members) + 1):
        several = end - start > 1
        if several and largest.kept_bytes(images, members[start:end]) > TOGETHER:
            sizes.append(end - 1 - start)
            start = end - 1
    return [*sizes, len(members) - start] if members else []


def room(
    largest: Detector,
    members: Sequence[Any],
    normal: Images,
    test: int,
    pixels: int,
    provider: Provider,
) -> int:
    """Bytes that scoring and measuring a family take beside its largest member's own estimate.

    Args:
        largest: The member that is fitted.
        members: All detectors of the family that are measured.
        normal: The images to fit on.
        test: How many images are scored.
        pixels: How many of their pixels are compared.
        provider: Gives features, whose sizes alone are read.
    """
    kept = 0
    if len(members) > 1 and isinstance(largest, Shares):
        kept = min(TOGETHER, largest.sized(normal, provider).kept_bytes(test, members))
    return PIXEL * pixels + PAIR * test**2 + kept
