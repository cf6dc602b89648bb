"""Anomaly maps in files of any tool: NumPy arrays, TIFF and 16-bit PNG.

TIFF is read by tifffile, because Pillow reads no floats of 16 or 64 bits.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adbench.data.listing import shown
from adbench.errors import DataError

SUFFIXES = (".npy", ".npz", ".tiff", ".tif", ".png")
"""Of the files that are taken for maps."""
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey PNG files with more than 8 bits."""
_TIES = "; 8 bits tell 256 values apart, so that many pixels would tie"


@dataclass(frozen=True)
class MapFile:
    """A map and the sha256 of its file."""

    values: np.ndarray
    """(h, w) float32."""
    sha256: str


def read_map(path: Path) -> MapFile:
    """Read an anomaly map; leading axes of length 1 are dropped.

    Raises:
        DataError: It cannot be read, is no single (h, w) array of numbers, holds 8-bit values, NaN
            or infinity. The message names the file.
    """
    if not path.is_file():
        raise DataError(f"{shown(path)}: is no regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
    try:
        values = _decoded(content, path.suffix.lower())
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from None
    except Exception as error:  # damaged files make readers raise errors of every kind
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{shown(path)}: cannot be decoded: {why}; save a plain array of numbers, such as by "
            "numpy.save"
        ) from error
    return MapFile(_checked(values, path), hashlib.sha256(content).hexdigest())


def _decoded(content: bytes, suffix: str) -> np.ndarray:
    file = io.BytesIO(content)
    if suffix in (".npy", ".npz"):
        return _numpy(file)
    return _png(file) if suffix == ".png" else _tiff(file)


def _numpy(file: io.BytesIO) -> np.ndarray:
    found = np.load(file, allow_pickle=False)  # a pickle could run any code
    if isinstance(found, np.ndarray):
        return found
    if len(found.files) != 1:
        raise DataError(f"holds {len(found.files)} arrays; save one map in each file")
    return np.asarray(found[found.files[0]])


def _tiff(file: io.BytesIO) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        if len(tiff.pages) != 1:
            raise DataError(f"holds {len(tiff.pages)} pages; save one map in each file")
        return np.asarray(tiff.pages[0].asarray())


def _png(file: io.BytesIO) -> np.ndarray:
    with Image.open(file, formats=("PNG",)) as image:
        if image.mode not in _SIXTEEN_BIT:
            raise DataError(
                f"is a PNG of Pillow's mode {image.mode}, and a map is 16-bit grey{_TIES}; save "
                "16 bits or floats, before any colouring"
            )
        return np.asarray(image)


def _checked(values: np.ndarray, path: Path) -> np.ndarray:
    """The map as (h, w) float32."""
    where, kind = shown(path), values.dtype
    whole = np.issubdtype(kind, np.integer)
    if not whole and not np.issubdtype(kind, np.floating):
        raise DataError(f"{where}: holds {kind} values; a map is of real numbers")
    if whole and kind.itemsize == 1:
        raise DataError(f"{where}: holds {kind} values{_TIES}; save 16 bits or floats")
    shape = values.shape
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or not values.size:
        raise DataError(f"{where}: has the shape {shape}; a map is (h, w) or (1, h, w)")
    with np.errstate(over="ignore"):  # what exceeds float32 is told below
        single = values.astype(np.float32)
    if wrong := int(np.count_nonzero(~np.isfinite(single))):
        raise DataError(
            f"{where}: {wrong} of {single.size} values are NaN, infinite or beyond float32"
        )
    return single
