"""Anomaly maps as colours over the image they explain; what is normal stays without colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from adbench.data.geometry import Geometry
from adbench.data.images import read_image, read_masks
from adbench.data.samples import Sample

NORMAL_SHARE = 0.99
"""Of the pixels of normal images, those that get no colour where no threshold of pixels is known.
"""
STEP = 4  # maps are smooth, so that every fourth row and column tells their quantile
DARKEST = 0.45  # share of the colour map that is left out: black would be lost on dark images
OPAQUE = 0.9
DIM = 0.45  # of the grey image below the colours


@dataclass(frozen=True)
class Scale:
    """The colours of all pictures of a category."""

    low: float
    """There is no colour up to it."""
    high: float
    meaning: str
    """What lies below ``low``, in words."""

    def colours(self, values: np.ndarray) -> np.ndarray:
        """(..., 4) RGBA in [0, 1] of map values (...); transparent up to ``low`` and where NaN."""
        shares = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        rgba = np.asarray(colour_map()(np.nan_to_num(shares)))
        rgba[..., 3] = np.where(values > self.low, OPAQUE, 0)
        return rgba


@dataclass(frozen=True)
class View:
    """One test image as a picture shows it."""

    image: np.ndarray
    """(h, w, 3) uint8."""
    heat: np.ndarray
    """(h, w) anomaly map, NaN where the detector did not look."""
    mask: np.ndarray | None
    """(h, w) bool ground truth; None where it is not known."""
    unmarked: str = "no mask"
    """Why the ground truth shows nothing, where it does not."""

    @property
    def marked(self) -> bool:
        """Whether the ground truth marks a defect."""
        return self.mask is not None and bool(self.mask.any())


def scale_of(maps: np.ndarray, anomalous: np.ndarray, level: float | None) -> Scale:
    """One scale for all pictures of a category.

    Args:
        maps: (n, H, W) of the test images.
        anomalous: (n,) bool.
        level: The threshold of pixels that is known from normal training images, if there is one.
    """
    normal = maps[~anomalous, ::STEP, ::STEP]
    if level is not None:
        low, meaning = level, "the threshold of pixels, from normal training images"
    elif normal.size:
        low = float(np.quantile(normal, NORMAL_SHARE))
        meaning = f"{NORMAL_SHARE:.0%} of all pixels of the normal test images lie below"
    else:
        low, meaning = float(np.median(maps)), "half of all pixels lie below"
    high = float(maps.max())
    least = low + 1e-6 * max(abs(low), 1.0)  # maps may be constant
    return Scale(low, max(high, least), meaning)


def colour_map() -> Any:
    """The light part of matplotlib's inferno: it grows lighter evenly, so that it reads in grey."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["inferno"](np.linspace(DARKEST, 1, 256)))


def over_grey(view: View, scale: Scale) -> np.ndarray:
    """(h, w, 3) in [0, 1]: the colours of the map over the image in dark grey."""
    grey = view.image @ np.array([0.299, 0.587, 0.114]) / 255 * DIM
    rgba = scale.colours(view.heat)
    return np.asarray(grey[..., None] * (1 - rgba[..., 3:]) + rgba[..., :3] * rgba[..., 3:])


def view_of(sample: Sample, heat: np.ndarray, geometry: Geometry, full: bool) -> View:
    """An image with its map and its ground truth.

    Args:
        sample: The image.
        heat: (H, W) its anomaly map at the network's input size.
        geometry: Prepares the image as the network saw it.
        full: The whole image in its own pixels, and not the part that the network saw.
    """
    original = read_image(sample.path)
    size = original.shape[0], original.shape[1]
    mask = read_masks(sample.masks, size, sample.fit_masks) if sample.masks else None
    unmarked = "no mask" if sample.anomalous else "normal: nothing to mark"
    if mask is not None:
        unmarked = "outside of what is seen" if mask.any() else "the mask marks nothing"
    if not full:
        seen = None if mask is None else geometry.mask(mask)
        return View(geometry.image(original), heat, seen, unmarked)
    return View(original, placed(heat, geometry, size), mask, unmarked)


def placed(heat: np.ndarray, geometry: Geometry, size: tuple[int, int]) -> np.ndarray:
    """An anomaly map in the pixels of the whole image, NaN where the detector did not look.

    Args:
        heat: (H, W) at the network's input size.
        geometry: Brought the image there.
        size: (h, w) of the image.

    Returns:
        (h, w) float32.
    """
    whole = np.full(size, np.nan, np.float32)
    seen = geometry.mask_original(whole)  # a view of that part
    seen[:] = geometry.to_original(heat, size)
    return whole
