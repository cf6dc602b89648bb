"""What SPADE compares: vectors of images, and positions of one level of the pyramid."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.kernels import patches


def vectors_of(features: Features) -> Tensor:
    """(n, d) float32."""
    if features.vectors is None:
        raise AdbenchError(
            "SPADE reads the pooled vectors of the last stage, and these features have none"
        )
    return features.vectors


def shapes_of(maps: Sequence[Tensor], merge: str) -> list[tuple[int, int, int]]:
    """(c, h, w) of each level that is compared on its own: a layer, or all of them stacked."""
    shapes = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps]
    return [(sum(c for c, _, _ in shapes), *shapes[0][1:])] if merge == "concat" else shapes


def positions_of(maps: Sequence[Tensor], merge: str, level: int, number: int) -> Tensor:
    """(h w, c) rows of one level of one image."""
    layers = [m[number : number + 1] for m in maps]
    chosen = patches.stack(layers) if merge == "concat" else layers[level]
    return patches.rows(chosen).contiguous()


def arrays_of(maps: Sequence[Tensor], merge: str, level: int, number: int) -> np.ndarray:
    """``positions_of`` maps on the CPU, for numpy."""
    rows: np.ndarray = positions_of(maps, merge, level, number).numpy()
    return rows
