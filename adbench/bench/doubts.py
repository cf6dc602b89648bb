"""What may be wrong with maps and scores that were given, told and noted beside their numbers."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from adbench.data.images import Size
from adbench.evaluation.measured import Measured

Sign = Literal["higher", "lower"]
"""Which values are more anomalous."""


@dataclass
class Maps:
    """Maps where pixels are compared, and what must be known of them as they were given."""

    placed: list[np.ndarray] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    highest: list[float] = field(default_factory=list)
    stretched: list[tuple[Size, Size]] = field(default_factory=list)
    """Sizes of maps and of what they show, where these have different aspects."""


def of_maps(maps: Maps | None) -> list[str]:
    """What may be wrong with maps as they were given."""
    if maps is None:
        return []
    said, n = [], len(maps.highest)
    if constant := sum(low == high for low, high in zip(maps.lowest, maps.highest, strict=True)):
        said.append(f"{constant} of {n} maps have one value alone")
    elif n > 1 and len(set(maps.highest)) == 1:
        said.append(
            f"every map reaches the same highest value, {maps.highest[0]:g}: maps that were scaled "
            "one by one, or cut off, cannot be compared with each other"
        )
    if maps.stretched:
        (h, w), (height, width) = maps.stretched[0]
        said.append(
            f"{len(maps.stretched)} of {n} maps have another aspect than what they show and are "
            f"stretched, such as {h}x{w} to {height}x{width} (height x width)"
        )
    return said


def of_scores(sign: Sign, measured: Measured, scores: np.ndarray) -> list[str]:
    """What may be wrong with the scores.

    Args:
        sign: Which of them are more anomalous, as they were given.
        measured: The metrics.
        scores: One per image; higher ones are more anomalous, so that others were negated.
    """
    said = []
    for name, title in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC")):
        value = measured.values.get(name)
        if value is not None and value < 0.5:
            other = "lower" if sign == "higher" else "higher"
            said.append(
                f"the {title} is {100 * value:.2f}, below 50: {sign} values were taken for "
                f"more anomalous; if the sign is wrong, sign={other} negates scores and maps"
            )
    given = scores if sign == "higher" else -scores
    ends = int(np.isin(given, (0.0, 1.0)).sum())
    if ends > 1 and given.min() >= 0 and given.max() <= 1:
        said.append(
            f"{ends} of {len(scores)} image scores are exactly 0 or 1: scores that were cut off "
            "tie; give those before any clamping"
        )
    return said
