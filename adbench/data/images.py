"""Image and mask files to arrays, with every damaged file named."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile

from adbench.data.listing import LEAVE_OUT, open_file, shown
from adbench.errors import DataError

Size = tuple[int, int]
"""Height and width in pixels."""

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for, whatever its name. Its reader of EPS starts another program."""
_LOSSY = ("JPEG", "MPO")  # Pillow calls a JPEG with several pictures MPO
_ORIENTATION = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture of each orientation is brought upright; from 5 on, its sides are exchanged."""
_PNG_SIGNATURE = 8  # bytes
_XMP = b"XML:com.adobe.xmp\0"  # the keyword of metadata in XML
# Pillow before 11 opens a 16-bit grey PNG as "I".
_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: Path) -> np.ndarray:
    """The picture in a file as it is meant to be seen: (h, w, 3) uint8 RGB.

    Grey is repeated over the three channels. 16-bit grey is divided by 257, so that 65535 becomes
    255. Palettes are resolved, an EXIF orientation is applied where it is one of the eight, and of
    several frames the first is taken. An alpha channel is dropped and the colours stay as they are
    stored, which is what ``convert("RGB")`` of Pillow gives.

    Raises:
        DataError: The file is missing, no regular file, empty, truncated, no image, or larger than
            Pillow decodes safely. The message names the file and the cause.
    """
    return _rgb(_decode(path), path)


def inspect_image(path: Path) -> tuple[Size, str]:
    """Size and Pillow's mode (``RGB``, ``L``, ``I;16`` ...) of an image that ``read_image`` reads.

    Raises:
        DataError: As ``read_image`` does.
    """
    image = _decode(path)
    height, width, _ = _rgb(image, path).shape
    return (height, width), image.mode


def image_size(path: Path) -> Size:
    """Height and width of the picture as ``read_image`` gives it.

    They are read from the header of the file. Its pixels are decoded only where Pillow tells the
    orientation in no other way.

    Raises:
        DataError: The file is missing or has no header of an image.
    """
    with _opened(path) as image:
        if isinstance(image, PngImageFile) and image.fp and _tells_later(image.fp):
            image = _upright(image)
            return image.height, image.width
        turned = _orientation(image) >= 5
        if (
            turned and image.format == "TIFF"
        ):  # some versions of Pillow have turned the size already
            image = _upright(image)
            return image.height, image.width
        return (image.width, image.height) if turned else (image.height, image.width)


def read_masks(paths: Sequence[Path], size: Size, fit: bool = False) -> np.ndarray:
    """The ground truth of an image as (h, w) bool: what any of its masks marks, see ``read_mask``.

    Args:
        paths: The masks, at least one.
        size: Of the image.
        fit: Whether masks of another size are brought to that of the image.

    Raises:
        DataError: As ``read_mask`` does.
    """
    return np.asarray(np.any([read_mask(path, size, fit) for path in paths], axis=0))


def read_mask(path: Path, size: Size, fit: bool = False) -> np.ndarray:
    """Ground truth as (h, w) bool: every pixel whose colour is not black is anomalous.

    Args:
        path: The mask, in any format without loss.
        size: Of the image that it belongs to.
        fit: Whether a mask of another size is brought to that of the image, by the nearest pixel.

    Raises:
        DataError: The file cannot be read, is a JPEG (whose black is seldom 0), or has another
            size than its image and ``fit`` is false.
    """
    image = _decode(path)
    if (image.height, image.width) != size and not fit:
        raise DataError(
            f"{shown(path)}: the mask has {image.height}x{image.width} pixels but its image "
            f"{size[0]}x{size[1]} (height x width)"
        )
    if image.format in _LOSSY:
        raise DataError(
            f"{shown(path)}: a JPEG mask has values near 0 where it was 0; save the mask as PNG"
        )
    single = image.mode in ("1", "L", "F", *_SIXTEEN_BIT)
    values = np.asarray(image if single else _coloured(image))
    marked = np.atleast_3d(values).any(axis=2)
    if marked.shape == size:
        return np.asarray(marked)
    fitted = Image.fromarray(marked).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(fitted)


def _decode(path: Path) -> Image.Image:
    """The picture of a file, upright, with the format of the file."""
    with _opened(path) as image:
        return _upright(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header was read; whatever is raised while it is used names the file."""
    try:
        with open_file(path) as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or np.inf):
                raise Image.DecompressionBombError(f"{image.width}x{image.height}")
            yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{shown(path)}: more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are safe to "
            f"decode; scale it down ({error})"
        ) from error
    except UnidentifiedImageError:
        raise DataError(
            f"{shown(path)}: not an image of a format that is read ({', '.join(FORMATS)}); "
            f"{LEAVE_OUT}"
        ) from None
    except Exception as error:  # damaged files make Pillow's readers raise errors of every kind
        why = str(error) or type(error).__name__
        raise DataError(f"{shown(path)}: cannot be decoded: {why}; {LEAVE_OUT}") from error


def _upright(image: Image.Image) -> Image.Image:
    """The decoded picture as it is meant to be seen."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation as far as it was read, 1 to 8; 1 where it is missing or garbage."""
    try:
        # The method of PNG files would decode the pixels first.
        value = Image.Image.getexif(image).get(_ORIENTATION)
    except Exception:  # damaged metadata, of which the pixels are independent
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _tells_later(file: IO[bytes]) -> bool:
    """Whether a PNG may tell its orientation behind its pixels."""
    start = file.tell()
    file.seek(_PNG_SIGNATURE)
    pixels = found = False
    while not found and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        pixels |= kind == b"IDAT"
        text = pixels and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
        content = file.read(length) if text else b""
        found = text and _may_turn(kind, content)
        file.seek(4 if text else length + 4, 1)  # the checksum follows
    file.seek(start)
    return found


def _may_turn(kind: bytes, content: bytes) -> bool:
    """Whether a chunk of a PNG is one of those in which Pillow finds an orientation."""
    if kind == b"iTXt" and content.startswith(_XMP):
        compressed = content[len(_XMP) : len(_XMP) + 1] != b"\0"
        return compressed or b"tiff:Orientation" in content
    return kind == b"eXIf" or content.startswith(b"Raw profile type exif")


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    """(h, w, 3) uint8 of a decoded picture; ``path`` is named where it cannot be had."""
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError(
                f"{shown(path)}: grey values from {grey.min()} to {grey.max()} exceed 16 bits; "
                "save 8 or 16 bits"
            )
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(
            f"{shown(path)}: floating-point pixels have no agreed white; save it with 8 or 16 bits"
        )
    return np.array(_coloured(image))


def _coloured(image: Image.Image) -> Image.Image:
    if "transparency" in image.info:  # straight to RGB, Pillow would warn of several alphas
        image = image.convert("RGBA")
    return image.convert("RGB")
