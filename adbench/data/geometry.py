"""The geometry that brings images and masks to the size of a network's input.

Resize and crop are those of torchvision's transforms on PIL images, bit for bit.
"""

import math
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.images import Size
from adbench.errors import AdbenchError
from adbench.system.settings import STRICT, When

Pixels = Annotated[int, Field(ge=1)]
STRIDE = 32
"""Pixels. Sides that are multiples of it fit convolutional networks and most transformers."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


@dataclass(frozen=True, config=STRICT)
class Geometry:
    """How images and masks reach the network's input size, and where pixels are compared."""

    resize: Pixels | tuple[Pixels, Pixels] | None = 256
    """Pixels. One number: the length of the shorter side, keeping the aspect; [height, width]:
    exactly that size; null: as ``area`` says."""
    crop: Pixels | tuple[Pixels, Pixels] | None = 224
    """Pixels of the centre crop after resizing: one number for a square, or [height, width]; null:
    none."""
    interpolation: Interpolation = "bilinear"
    """Pillow's filter, always antialiased."""
    mask_rule: Literal["nearest", "half", "floor", "any"] = "nearest"
    """nearest: a mask is resized without interpolation. The other rules resize it as a grey image,
    by ``interpolation``, and differ in what they call anomalous. half: pixels that are at least
    half white. floor: pixels that are still fully white, as patchcore-inspection does, whose
    ``int`` floors and so loses small defects. any: pixels that are not black."""
    evaluate_at: Literal["input", "original"] = "input"
    """Where pixel metrics compare map and mask: at the network's input size, or in the original
    pixels of the crop."""
    area: Annotated[Pixels | None, When("keeps_area")] = None
    """Pixels. Side of the square whose area an image is brought to. The image keeps its aspect as
    far as sides in steps of 32 pixels, the stride of most networks, allow; null: images stay as
    they are. Read where ``resize`` is null."""

    @property
    def keeps_area(self) -> bool:
        """``resize`` is null and an area is given."""
        return self.resize is None and self.area is not None

    @property
    def size(self) -> Size | None:
        """(H, W) of every result, or None where it depends on the image."""
        if self.crop is not None:
            return _pair(self.crop)
        return self.resize if isinstance(self.resize, tuple) else None

    def of_images(self) -> dict[str, Any]:
        """The settings on which the images depend; the others concern masks and metrics alone."""
        edges = {"resize": self.resize, "crop": self.crop}
        plain = {name: list(e) if isinstance(e, tuple) else e for name, e in edges.items()}
        area = {"area": self.area} if self.keeps_area else {}
        return {**plain, **area, "interpolation": self.interpolation}

    def image(self, image: np.ndarray) -> np.ndarray:
        """An (h, w, 3) uint8 image resized and cropped to (H, W, 3) uint8.

        Raises:
            AdbenchError: The crop is larger than the resized image, or the resized image is larger
                than Pillow holds safely.
        """
        return np.array(self._apply(Image.fromarray(image), self.interpolation))

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """An (h, w) bool mask resized and cropped to (H, W) bool by ``mask_rule``."""
        interpolation = "nearest" if self.mask_rule == "nearest" else self.interpolation
        white = np.asarray(self._apply(Image.fromarray(mask.astype(np.uint8) * 255), interpolation))
        lowest = {"nearest": 255, "half": 128, "floor": 255, "any": 1}[self.mask_rule]
        return white >= lowest

    def to_original(self, anomaly_map: np.ndarray, size: Size) -> np.ndarray:
        """A map brought back, bilinearly, to the original pixels that lie wholly inside the crop.

        Args:
            anomaly_map: (H, W) float32 at the network's input size.
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

    def map_of(self, anomaly_map: np.ndarray, size: Size, cropped: bool) -> np.ndarray:
        """A map of any size, brought bilinearly to where pixels are compared.

        Args:
            anomaly_map: (h, w) float32, of the whole image or of what the crop leaves of it.
            size: (h, w) of the original image.
            cropped: Whether the map shows what the crop leaves.

        Returns:
            float32, of the shape of the image's mask there.
        """
        if cropped:
            at_input = _stretched(anomaly_map, self.size_of(size))
            original = self.evaluate_at == "original"
            return self.to_original(at_input, size) if original else at_input
        if self.evaluate_at == "original":
            return self.mask_original(_stretched(anomaly_map, size))
        whole = _stretched(anomaly_map, self._resized(size))
        (top, left), (height, width) = self._corner(size), self.size_of(size)
        return whole[top : top + height, left : left + width]

    def left_out(self, size: Size) -> float:
        """The share of the area of an image of (h, w) that the crop leaves out, from 0 to 1.

        Raises:
            AdbenchError: The image cannot be brought to the network's size.
        """
        self._corner(size)  # refuses a crop that does not fit
        resized, crop = self._resized(size), self.size_of(size)
        return 1 - crop[0] * crop[1] / (resized[0] * resized[1])

    def mask_original(self, mask: np.ndarray) -> np.ndarray:
        """The part of an (h, w) mask whose pixels lie wholly inside the crop, untouched."""
        y0, x0, y1, x1 = self._region((mask.shape[0], mask.shape[1]))
        return mask[y0:y1, x0:x1]

    def _apply(self, image: Image.Image, interpolation: str) -> Image.Image:
        size = (image.height, image.width)
        (rows, columns), (top, left) = self._resized(size), self._corner(size)
        height, width = self.size_of(size)
        resized = image.resize((columns, rows), Image.Resampling[interpolation.upper()])
        return resized.crop((left, top, left + width, top + height))

    def _resized(self, size: Size) -> Size:
        height, width = self._wanted(size)
        if height * width > (Image.MAX_IMAGE_PIXELS or np.inf):
            raise AdbenchError(
                f"the geometry resizes an image of {size[0]}x{size[1]} to {height}x{width} (height "
                f"x width), more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are safe to hold; "
                "leave the image out, or give both sides, such as geometry.resize=[256,256]"
            )
        return height, width

    def _wanted(self, size: Size) -> Size:
        if isinstance(self.resize, tuple):
            return self.resize
        if self.resize is not None:
            shorter = min(size)
            # torchvision truncates the longer side.
            height, width = (int(self.resize * side / shorter) for side in size)
        elif self.area is not None:
            scale = self.area / math.sqrt(size[0] * size[1])
            height, width = (max(1, round(side * scale / STRIDE)) * STRIDE for side in size)
        else:
            height, width = size
        return height, width

    def size_of(self, size: Size) -> Size:
        """(H, W) of the result for an image of (h, w)."""
        return self._resized(size) if self.crop is None else _pair(self.crop)

    def _corner(self, size: Size) -> Size:
        resized, crop = self._resized(size), self.size_of(size)
        if crop[0] > resized[0] or crop[1] > resized[1]:
            raise AdbenchError(
                f"geometry.crop {crop[0]}x{crop[1]} is larger than an image of "
                f"{size[0]}x{size[1]} resized to {resized[0]}x{resized[1]} (height x width); "
                "use a smaller crop or a larger geometry.resize"
            )
        # Half to even, as torchvision.
        return round((resized[0] - crop[0]) / 2), round((resized[1] - crop[1]) / 2)

    def _region(self, size: Size) -> tuple[int, int, int, int]:
        """Top, left, bottom, right of the crop in original pixels, rounded inwards."""
        resized, crop, corner = self._resized(size), self.size_of(size), self._corner(size)
        (y0, y1), (x0, x1) = (
            (-(-start * side // scaled), (start + length) * side // scaled)
            for start, length, side, scaled in zip(corner, crop, size, resized, strict=True)
        )
        return y0, x0, y1, x1


def _stretched(anomaly_map: np.ndarray, size: Size) -> np.ndarray:
    """A map resized bilinearly to (h, w); Pillow's filter is antialiased where it shrinks."""
    height, width = size
    return np.array(Image.fromarray(anomaly_map).resize((width, height), Image.Resampling.BILINEAR))


def _pair(edge: int | Size) -> Size:
    return (edge, edge) if isinstance(edge, int) else edge
