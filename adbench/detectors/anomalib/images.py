"""Images beside the normal ones: those that a teacher is distilled on, and penalty images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adbench.data.geometry import Geometry
from adbench.data.given import all_of
from adbench.data.images import Size, read_image
from adbench.errors import AdbenchError

GREY = 0.3
"""Part of the penalty images that lose their colour (EfficientAD, appendix A)."""


class Drawn:
    """Images of a folder in random order, read when they are drawn, again and again.

    Args:
        folder: All images below it.
        seed: Of the order.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._paths = all_of(str(folder))[0]
        self._rng = np.random.default_rng(seed)
        self._order: list[int] = []

    def next(self) -> np.ndarray:
        """An (h, w, 3) uint8 image."""
        if not self._order:
            self._order = self._rng.permutation(len(self._paths)).tolist()
        return read_image(self._paths[self._order.pop()])

    def batch(self, size: int, geometry: Geometry) -> Tensor:
        """(b, 3, H, W) uint8 images under a geometry that gives every image one size."""
        return _stacked([geometry.image(self.next()) for _ in range(size)])

    def penalty(self, size: Size) -> Tensor:
        """(1, 3, H, W) uint8: the centre of an image of twice that size, grey now and then."""
        height, width = size
        picture = Image.fromarray(self.next())
        picture = picture.resize((2 * width, 2 * height), Image.Resampling.BILINEAR)
        if self._rng.random() < GREY:
            picture = picture.convert("L").convert("RGB")
        left, top = width // 2, height // 2
        return _stacked([np.array(picture.crop((left, top, left + width, top + height)))])


def require_images(setting: str, path: Path) -> None:
    """Raise AdbenchError, before any work, unless a folder with images is there."""
    if not path.is_dir():
        raise AdbenchError(f"{setting}={path}: there is no such folder; name a folder of images")
    all_of(str(path))


def _stacked(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
