"""The sizes of the images of a category, before and after a geometry."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from adbench.data.geometry import Geometry
from adbench.data.images import Size, image_size
from adbench.data.listing import shown
from adbench.errors import AdbenchError, DataError

SHOWN = 3
"""Sizes that are told one by one; of more, the smallest and the largest are told."""


def unequal(sizes: Iterable[Size], geometry: Geometry) -> str:
    """That images of these sizes end up with several, which no run takes; empty where they do not.

    Raises:
        AdbenchError: An image cannot be brought to the network's size.
    """
    before = set(sizes)
    after = {geometry.size_of(size) for size in before}
    if len(after) < 2:
        return ""
    return (
        f"images of {in_words(before)} pixels end up as {in_words(after)} (height x width), and a "
        "run needs one size; set geometry=square256, or both sides by geometry.resize=[256,256]"
    )


def require_one_size(paths: Sequence[Path], geometry: Geometry) -> None:
    """Refuse images that a geometry brings to several sizes, before any of them is decoded.

    Raises:
        DataError: The sizes differ, or a file is no image, or its image does not fit the geometry.
    """
    sizes = {image_size(path): path for path in paths}
    for size, path in sizes.items():
        try:
            geometry.size_of(size)
        except AdbenchError as error:
            raise DataError(f"{shown(path)}: {error}") from error
    if problem := unequal(sizes, geometry):
        raise DataError(problem)


def in_words(sizes: Iterable[Size]) -> str:
    """Sizes as ``height x width``, a few of them one by one."""
    ordered = [f"{h}x{w}" for h, w in sorted(sizes, key=lambda size: (size[0] * size[1], size))]
    if len(ordered) <= SHOWN:
        return ", ".join(ordered)
    return f"{len(ordered)} sizes from {ordered[0]} to {ordered[-1]}"
