"""Image and mask files to arrays, and the geometry that brings both to a network's input.

Resize and crop are those of torchvision's transforms on PIL images, bit for bit.
"""

import struct
import zlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.core import STRICT, AdbenchError, DataError, Interpolation

Size = tuple[int, int]
"""Height and width in pixels."""
Pixels = Annotated[int, Field(ge=1)]

# What Pillow's readers raise on damaged files; damaged metadata is a UserWarning, here where warnings are errors.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, UserWarning)
_ORIENTATION = 0x0112  # of EXIF; above 4, height and width are exchanged
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow before 11 opens a 16-bit grey PNG as "I"


def read_image(path: Path) -> np.ndarray:
    """The picture in a file as it is meant to be seen: (h, w, 3) uint8 RGB.

    Grey is repeated over the three channels, 16-bit grey is divided by 257 (65535 becomes 255), palettes are resolved,
    an EXIF orientation is applied, and of several frames the first is taken. An alpha channel is dropped and colours
    stay as stored: what ``convert("RGB")`` gives every peer.

    Raises:
        DataError: The file is missing, empty, truncated, no image, or larger than Pillow decodes safely; names both.
    """
    image = _decode(path)
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(f"{path}: grey values from {grey.min()} to {grey.max()} exceed 16 bits; save 8 or 16 bits")
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels have no agreed white; save it with 8 or 16 bits")
    return np.array(_coloured(image))


def image_size(path: Path) -> Size:
    """Height and width of the picture in a file as ``read_image`` gives it, from its header; else DataError."""
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # Pillow turns it while it decodes
                image.load()
            # A PNG that names no orientation before its pixels would have to be decoded to look behind them.
            turned = (image.format != "PNG" or "exif" in image.info) and image.getexif().get(_ORIENTATION, 1) > 4
            return (image.width, image.height) if turned else (image.height, image.width)
    except _BROKEN as error:
        raise DataError(f"{path}: {_cause(path, error)}") from error


def read_mask(path: Path, size: Size) -> np.ndarray:
    """Ground truth as (h, w) bool: a pixel whose colour is not black is anomalous, in any format without loss.

    Args:
        path: The mask.
        size: Of the image that it belongs to.

    Raises:
        DataError: The file cannot be read, is a JPEG (whose black is seldom 0), or has another size than its image.
    """
    image = _decode(path)
    if (image.height, image.width) != size:
        raise DataError(
            f"{path}: the mask has {image.height}x{image.width} pixels but its image {size[0]}x{size[1]} "
            "(height x width)"
        )
    if image.format == "JPEG":
        raise DataError(f"{path}: a JPEG mask has values near 0 where it was 0; save the mask as PNG")
    single = image.mode in ("1", "L", "F", *_SIXTEEN_BIT)
    values = np.asarray(image if single else _coloured(image))
    return np.asarray(np.atleast_3d(values).any(axis=2))


def inspect_image(path: Path) -> tuple[Size, str]:
    """Size and Pillow mode (``RGB``, ``L``, ``I;16`` ...) of an image that decodes to its end; else DataError."""
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
            f"{path}: more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are safe to decode; scale it down ({error})"
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
    if "transparency" in image.info:  # straight to RGB, Pillow would warn of a palette with several alphas
        image = image.convert("RGBA")
    return image.convert("RGB")


@dataclass(frozen=True, config=STRICT)
class Geometry:
    """How images and masks reach the size of the network's input, and where pixels are compared."""

    resize: Pixels | tuple[Pixels, Pixels] | None = 256
    """Pixels. One number: the shorter side, keeping the aspect; [height, width]: exactly that; null: leave as it is."""
    crop: Pixels | tuple[Pixels, Pixels] | None = 224
    """Pixels of the centre crop after resizing, one number for a square or [height, width]; null: none."""
    interpolation: Interpolation = "bilinear"
    """Pillow's filter, always antialiased."""
    mask_rule: Literal["nearest", "half", "floor", "any"] = "nearest"
    """nearest: a mask is resized without interpolation. The others resize it as a grey image, by ``interpolation``, and
    call anomalous, half: what is at least half white; floor: what is still fully white (patchcore-inspection, whose
    ``int`` floors and so loses small defects); any: what is not black."""
    evaluate_at: Literal["input", "original"] = "input"
    """Where pixel metrics compare map and mask: at the network's input size, or in the original pixels of the crop."""

    @property
    def size(self) -> Size | None:
        """(H, W) of every result, or None where it depends on the image."""
        if self.crop is not None:
            return _pair(self.crop)
        return self.resize if isinstance(self.resize, tuple) else None

    def image(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 resized and cropped to (H, W, 3) uint8. Raises AdbenchError where the crop does not fit."""
        return np.array(self._apply(Image.fromarray(image), self.interpolation))

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(h, w) bool resized and cropped to (H, W) bool by ``mask_rule``."""
        interpolation = "nearest" if self.mask_rule == "nearest" else self.interpolation
        white = np.asarray(self._apply(Image.fromarray(mask.astype(np.uint8) * 255), interpolation))
        lowest = {"nearest": 255, "half": 128, "floor": 255, "any": 1}[self.mask_rule]
        return white >= lowest

    def to_original(self, anomaly_map: np.ndarray, size: Size) -> np.ndarray:
        """An (H, W) float32 map brought back, bilinearly, to the original pixels that lie wholly inside the crop.

        Args:
            anomaly_map: At the network's input size.
            size: (h, w) of the original image.

        Returns:
            float32, of the shape that ``mask_original`` gives for a mask of ``size``.
        """
        (rows, columns), (top, left) = self._resized(size), self._corner(size)
        y0, x0, y1, x1 = self._region(size)
        down, across = rows / size[0], columns / size[1]  # resized pixels per original pixel
        high, wide = anomaly_map.shape
        box = (  # the region in pixels of the map; it lies inside but for rounding
            max(x0 * across - left, 0.0),
            max(y0 * down - top, 0.0),
            min(x1 * across - left, float(wide)),
            min(y1 * down - top, float(high)),
        )
        picture = Image.fromarray(anomaly_map.astype(np.float32))
        return np.array(picture.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box))

    def mask_original(self, mask: np.ndarray) -> np.ndarray:
        """The part of an (h, w) mask whose pixels lie wholly inside the crop, untouched."""
        y0, x0, y1, x1 = self._region((mask.shape[0], mask.shape[1]))
        return mask[y0:y1, x0:x1]

    def _apply(self, image: Image.Image, interpolation: str) -> Image.Image:
        size = (image.height, image.width)
        (rows, columns), (top, left) = self._resized(size), self._corner(size)
        height, width = self._cropped(size)
        resized = image.resize((columns, rows), Image.Resampling[interpolation.upper()])
        return resized.crop((left, top, left + width, top + height))

    def _resized(self, size: Size) -> Size:
        if not isinstance(self.resize, int):
            return self.resize or size
        shorter = min(size)
        height, width = (int(self.resize * side / shorter) for side in size)  # torchvision truncates the longer side
        return height, width

    def _cropped(self, size: Size) -> Size:
        return self._resized(size) if self.crop is None else _pair(self.crop)

    def _corner(self, size: Size) -> Size:
        resized, crop = self._resized(size), self._cropped(size)
        if crop[0] > resized[0] or crop[1] > resized[1]:
            raise AdbenchError(
                f"geometry.crop {crop[0]}x{crop[1]} is larger than an image of {size[0]}x{size[1]} resized to "
                f"{resized[0]}x{resized[1]} (height x width); use a smaller crop or a larger geometry.resize"
            )
        return round((resized[0] - crop[0]) / 2), round((resized[1] - crop[1]) / 2)  # half to even, as torchvision

    def _region(self, size: Size) -> tuple[int, int, int, int]:
        """Top, left, bottom, right of the crop in original pixels, rounded inwards."""
        resized, crop, corner = self._resized(size), self._cropped(size), self._corner(size)
        (y0, y1), (x0, x1) = (
            (-(-start * side // scaled), (start + length) * side // scaled)
            for start, length, side, scaled in zip(corner, crop, size, resized, strict=True)
        )
        return y0, x0, y1, x1


def _pair(edge: int | Size) -> Size:
    return (edge, edge) if isinstance(edge, int) else edge
