"""Heat maps over the images they explain, beside the ground truth."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from adbench.data.geometry import Geometry
from adbench.data.images import read_image, read_mask
from adbench.data.samples import Sample
from adbench.errors import AdbenchError
from adbench.system.files import whole_file

GAP = 4  # pixels between panels
CAPTION = 16  # pixels below them


def save_heatmaps(
    folder: Path,
    samples: Sequence[Sample],
    scores: np.ndarray,
    maps: np.ndarray,
    geometry: Geometry,
    count: int,
) -> None:
    """Write one PNG per chosen image.

    It shows the image, its ground truth outlined in green, and the anomaly map over it. The colours
    span the category's lowest to highest map value, so pictures of a category can be compared.

    Args:
        folder: Where the pictures go, named after the image.
        samples: The n test images.
        scores: (n,) their scores.
        maps: (n, H, W) their anomaly maps at the network's input size.
        geometry: Prepares the images as the network saw them.
        count: How many, taken from the defect types in turn; -1 for all.

    Raises:
        AdbenchError: The folder cannot be written.
    """
    from matplotlib import colormaps  # slow to load, and many runs draw nothing

    low, high = float(maps.min()), float(maps.max())
    for index in _in_turn([s.defect for s in samples], count):
        sample = samples[index]
        original = read_image(sample.path)
        image = geometry.image(original)
        truth = image.copy()
        if sample.mask is not None:
            mask = geometry.mask(read_mask(sample.mask, (original.shape[0], original.shape[1])))
            truth[mask & ~binary_erosion(mask, iterations=2)] = (0, 255, 0)
        heat = colormaps["turbo"]((maps[index] - low) / max(high - low, 1e-12))[..., :3] * 255
        overlay = (0.5 * image + 0.5 * heat).round().astype(np.uint8)
        caption = f"{sample.name}   score {float(scores[index]):.4g}"
        name = re.sub(r"[^\w.-]+", "_", str(Path(sample.name).with_suffix(""))) + ".png"
        try:
            with whole_file(folder / name) as file:
                _side_by_side([image, truth, overlay], caption).save(file, format="PNG")
        except OSError as error:
            raise AdbenchError(
                f"cannot write the picture {folder / name}: {error.strerror or error}"
            ) from error


def _in_turn(groups: Sequence[str], count: int) -> list[int]:
    """Places of ``count`` items, one group after the other in turn."""
    members = [[i for i, g in enumerate(groups) if g == group] for group in sorted(set(groups))]
    dealt = [i for row in zip_longest(*members) for i in row if i is not None]
    return dealt if count < 0 else dealt[:count]


def _side_by_side(panels: Sequence[np.ndarray], caption: str) -> Image.Image:
    height, width = panels[0].shape[:2]
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + CAPTION), "white")
    for place, panel in enumerate(panels):
        sheet.paste(Image.fromarray(panel), (place * (width + GAP), 0))
    ImageDraw.Draw(sheet).text((2, height + 2), caption, fill="black")
    return sheet
