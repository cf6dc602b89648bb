"""What the evaluation server of MVTec AD 2 takes (Heckler-Kram et al., arXiv 2503.21622).

A folder holds ``anomaly_images/CATEGORY/PART/NAME.tiff`` with maps of 16-bit floats, and may hold
``anomaly_images_thresholded/CATEGORY/PART/NAME.png`` with their decisions.
"""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from adbench.data.listing import shown
from adbench.errors import AdbenchError

PARTS = ("test_private", "test_private_mixed")
"""The test sets whose ground truth the server alone has."""
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
"""Below it, 16-bit floats lose digits."""


def place_of(path: Path) -> Path:
    """Where the files of an image lie below the folder of their kind, without the suffix.

    Args:
        path: Of the image, which lies in ``CATEGORY/test_private`` or ``.../test_private_mixed``.

    Raises:
        AdbenchError: The image lies elsewhere.
    """
    *_, category, part, _ = (path.anchor, *Path(path.absolute()).parts)
    if part not in PARTS:
        raise AdbenchError(
            f"{shown(path)}: a submission takes images of CATEGORY/{' and CATEGORY/'.join(PARTS)} "
            f"of MVTec AD 2, and this one lies in {shown(part)}"
        )
    return Path(category, part, path.stem)


def submission_files(path: Path, heat: np.ndarray, level: float | None) -> dict[Path, bytes]:
    """The files of one image, by their paths below the folder.

    Args:
        path: Of the image, as for ``place_of``.
        heat: (h, w) float32, its anomaly map in its own pixels; NaN where the detector did not
            look, which becomes the lowest value of the map.
        level: The threshold of pixels; None where there is none, and then there is no decision.
            Maps are multiplied by the power of two that brings it to 0.5 to 1, which is the same
            for all images and changes no order, so that 16-bit floats hold small scores too.

    Raises:
        AdbenchError: The image lies elsewhere, or 16-bit floats do not hold the map.
    """
    place = place_of(path)
    scale = 2.0 ** -math.frexp(level)[1] if level else 1.0
    filled = scale * np.where(np.isnan(heat), np.nanmin(heat), heat).astype(np.float64)
    largest = float(np.abs(filled).max())
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        raise AdbenchError(
            f"{shown(path)}: the largest value of its map is {largest / scale:.3g}, and the "
            f"server's 16-bit floats hold {_SMALLEST:.2g} to {_LARGEST:.0f}; fit the detector with "
            "a threshold, by which maps are scaled, or use another method"
        )
    found = {Path("anomaly_images") / place.with_name(f"{path.stem}.tiff"): _tiff(filled)}
    if level is not None:
        name = Path("anomaly_images_thresholded") / place.with_name(f"{path.stem}.png")
        found[name] = _png(heat > level)
    return found


def _tiff(values: np.ndarray) -> bytes:
    """A map as 16-bit floats, which Pillow does not write."""
    import tifffile

    content = io.BytesIO()
    tifffile.imwrite(content, values.astype(np.float16), compression="zlib")
    return content.getvalue()


def _png(marked: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(marked.astype(np.uint8) * 255).save(content, format="PNG")
    return content.getvalue()
