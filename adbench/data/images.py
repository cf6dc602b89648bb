"""Image and mask files to arrays, with every damaged file named."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from adbench.errors import DataError

Size = tuple[int, int]
"""Height and width in pixels."""

# What Pillow's readers raise on damaged files. Damaged metadata is a UserWarning, which is raised
# where warnings are errors.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    UserWarning,
)
_ORIENTATION = 0x0112  # of EXIF; above 4, height and width are exchanged
# Pillow before 11 opens a 16-bit grey PNG as "I".
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: Path) -> np.ndarray:
    """The picture in a file as it is meant to be seen: (h, w, 3) uint8 RGB.

    Grey is repeated over the three channels. 16-bit grey is divided by 257, so that 65535 becomes
    255. Palettes are resolved, an EXIF orientation is applied, and of several frames the first is
    taken. An alpha channel is dropped and the colours stay as they are stored, which is what
    ``convert("RGB")`` of Pillow gives.

    Raises:
        DataError: The file is missing, empty, truncated, no image, or larger than Pillow decodes
            safely. The message names the file and the cause.
    """
    image = _decode(path)
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(
                f"{path}: grey values from {grey.min()} to {grey.max()} exceed 16 bits; "
                "save 8 or 16 bits"
            )
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(
            f"{path}: floating-point pixels have no agreed white; save it with 8 or 16 bits"
        )
    return np.array(_coloured(image))


def image_size(path: Path) -> Size:
    """Height and width of the picture as ``read_image`` gives it, from the header of the file.

    Raises:
        DataError: The file is missing or has no header of an image.
    """
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # Pillow turns it while it decodes
                image.load()
            # A PNG may name its orientation behind its pixels. To see that, it would have to be
            # decoded, so an orientation at that place is not looked for.
            has_exif = image.format != "PNG" or "exif" in image.info
            turned = has_exif and image.getexif().get(_ORIENTATION, 1) > 4
            return (image.width, image.height) if turned else (image.height, image.width)
    except _BROKEN as error:
        raise DataError(f"{path}: {_cause(path, error)}") from error


def read_mask(path: Path, size: Size) -> np.ndarray:
    """Ground truth as (h, w) bool: every pixel whose colour is not black is anomalous.

    Args:
        path: The mask, in any format without loss.
        size: Of the image that it belongs to.

    Raises:
        DataError: The file cannot be read, is a JPEG (whose black is seldom 0), or has another
            size than its image.
    """
    image = _decode(path)
    if (image.height, image.width) != size:
        raise DataError(
            f"{path}: the mask has {image.height}x{image.width} pixels but its image "
            f"{size[0]}x{size[1]} (height x width)"
        )
    if image.format == "JPEG":
        raise DataError(
            f"{path}: a JPEG mask has values near 0 where it was 0; save the mask as PNG"
        )
    single = image.mode in ("1", "L", "F", *_SIXTEEN_BIT)
    values = np.asarray(image if single else _coloured(image))
    return np.asarray(np.atleast_3d(values).any(axis=2))


def inspect_image(path: Path) -> tuple[Size, str]:
    """Size and Pillow's mode (``RGB``, ``L``, ``I;16`` ...) of an image that decodes to its end.

    Raises:
        DataError: It does not.
    """
    image = _decode(path)
    return (image.height, image.width), image.mode


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf):
                raise Image.DecompressionBombError(f"{image.width}x{image.height}")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are safe to decode; "
            f"scale it down ({error})"
        ) from error
    except _BROKEN as error:
        raise DataError(f"{path}: {_cause(path, error)}") from error


def _cause(path: Path, error: Exception) -> str:
    if not path.is_file():
        return "is a folder, not an image" if path.is_dir() else "the image file does not exist"
    if path.stat().st_size == 0:
        return "the image file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow knows"
    return f"cannot be decoded: {error}"


def _coloured(image: Image.Image) -> Image.Image:
    if "transparency" in image.info:  # straight to RGB, Pillow would warn of several alphas
        image = image.convert("RGBA")
    return image.convert("RGB")
