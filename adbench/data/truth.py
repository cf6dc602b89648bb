"""Ground truth as a geometry shows it, and what the geometry leaves out of images and masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adbench.data.geometry import Geometry
from adbench.data.images import Size, image_size, read_masks
from adbench.data.listing import some
from adbench.data.samples import Sample


@dataclass(frozen=True)
class Look:
    """A test image under a geometry."""

    name: str
    left_out: float
    """The share of its area that a crop leaves out."""
    truth: np.ndarray | None = None
    """Its mask where pixels are compared, (H, W) bool; None where there is none."""
    marked: int = 0
    """Pixels that its mask marks in the file."""
    inside: int = 0
    """Those of them that lie wholly inside the crop."""
    fitted: bool = False
    """Whether a mask had another size than the image and was brought to it."""


@dataclass(frozen=True)
class LeftOut:
    """What a geometry leaves out of the test images of a category."""

    area: float
    """The share of the area of an image, in the mean over the images."""
    marked: float | None
    """The share of the pixels that the masks mark; None where they mark none."""
    outside: tuple[str, ...]
    """Images with a defect that lies outside the crop as a whole."""
    lost: tuple[str, ...]
    """Images with a defect inside the crop of which the resized mask marks nothing."""
    unmarked: tuple[str, ...]
    """Anomalous images whose mask marks nothing in the file."""

    def facts(self) -> dict[str, Any]:
        """The same as a record keeps it; without the masks that mark nothing by themselves."""
        images = sorted([*self.outside, *self.lost])
        return {"area": self.area, "marked": self.marked, "images": images}

    def hidden(self) -> list[str]:
        """A sentence for each way in which the geometry hides the defects of whole images."""
        kinds = {
            "the whole defect lies outside the crop": self.outside,
            "resizing leaves nothing of the mask": self.lost,
        }
        return [_sentence(what, names) for what, names in kinds.items() if names]

    def blank(self) -> list[str]:
        """A sentence about masks that mark nothing, where there are any."""
        return [_sentence("the mask marks no pixel", self.unmarked)] if self.unmarked else []


def _sentence(what: str, names: Sequence[str]) -> str:
    images = "image" if len(names) == 1 else "images"
    return f"{what} in {len(names)} anomalous {images}, whose pixels count as normal: {some(names)}"


def look(sample: Sample, geometry: Geometry, size: Size | None = None) -> Look:
    """Read the mask of a test image under a geometry.

    Args:
        sample: The image.
        geometry: Brings the mask to where pixels are compared.
        size: Of the image, where it is known.

    Raises:
        DataError: The image or its mask cannot be read.
        AdbenchError: The image cannot be brought to the network's size.
    """
    if size is None and not sample.masks and geometry.crop is None:
        return Look(sample.name, 0.0)  # without opening the file
    size = size or image_size(sample.path)
    left_out = geometry.left_out(size)
    if not sample.masks:
        return Look(sample.name, left_out)
    mask = read_masks(sample.masks, size, sample.fit_masks)
    part = geometry.mask_original(mask)
    truth = part if geometry.evaluate_at == "original" else geometry.mask(mask)
    marked, inside = (int(np.count_nonzero(m)) for m in (mask, part))
    fitted = sample.fit_masks and any(image_size(mask) != size for mask in sample.masks)
    return Look(sample.name, left_out, truth, marked, inside, fitted)


def left_out(looks: Sequence[Look]) -> LeftOut:
    """What a geometry leaves out of the images that were looked at."""
    masked = [seen for seen in looks if seen.truth is not None]
    marked = sum(seen.marked for seen in masked)
    empty = [seen for seen in masked if seen.truth is not None and not seen.truth.any()]
    return LeftOut(
        area=float(np.mean([seen.left_out for seen in looks])) if looks else 0.0,
        marked=1 - sum(seen.inside for seen in masked) / marked if marked else None,
        outside=tuple(seen.name for seen in empty if seen.marked and not seen.inside),
        lost=tuple(seen.name for seen in empty if seen.inside),
        unmarked=tuple(seen.name for seen in empty if not seen.marked),
    )
