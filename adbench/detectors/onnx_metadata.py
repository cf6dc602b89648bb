"""What an exported graph says of itself, for programs and for people."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from adbench.data.geometry import STRIDE, Geometry
from adbench.data.images import Size
from adbench.data.listing import shown
from adbench.detectors.header import Header, read
from adbench.errors import AdbenchError

HEADER = "adbench"
"""The key of the whole header; the other keys repeat parts of it in short."""


def metadata(header: Header, geometry: Geometry) -> dict[str, str]:
    """The metadata_props of a graph.

    Args:
        header: Of the detector.
        geometry: Its own.
    """
    decision, normal = header.decision(), header.normal
    spread = None
    if normal is not None:
        lowest, median, highest = np.quantile(normal.scores, [0, 0.5, 1]).tolist()
        spread = {"lowest": lowest, "median": median, "highest": highest}
    return {
        HEADER: header.to_json(),
        "input": preparation(geometry, header.size),
        "geometry": json.dumps(header.parts["geometry"]),
        "settings": json.dumps(header.parts),
        "threshold": json.dumps(decision and decision.value),
        "pixel_threshold": json.dumps(decision and decision.pixel_value),
        "alpha": json.dumps(decision and decision.alpha),
        "score_range": json.dumps(spread),
        "weights_sha256": str(header.identity.get("backbone", {}).get("sha256")),
        "training_content": header.training.content,
    }


def header_of(said: Mapping[str, str], path: Path) -> Header:
    """The header in the metadata of a graph.

    Raises:
        AdbenchError: There is none, or it is damaged or of another format version.
    """
    if HEADER not in said:
        raise AdbenchError(
            f"{shown(path)}: is a graph that was not exported by adbench, so its geometry and its "
            "thresholds are unknown; adbench export writes graphs from detectors"
        )
    return read(said[HEADER], path)


def preparation(geometry: Geometry, size: Size) -> str:
    """Lines of Python that turn the file ``path`` into the input ``images`` of a graph.

    They do for a picture in 8-bit RGB what ``read_image`` and ``Geometry.image`` do for any: it is
    turned upright, resized and cropped. Resizing stays out of the graph, because Pillow rounds to 8
    bits between rows and columns.

    Args:
        geometry: Of the detector.
        size: (H, W) of the graph's input.
    """
    height, width = size
    lines = [
        "import math",
        "import numpy",
        "from PIL import Image, ImageOps",
        "image = ImageOps.exif_transpose(Image.open(path)).convert('RGB')",
    ]
    if (sides := _sides(geometry)) is not None:
        filter_ = f"Image.Resampling.{geometry.interpolation.upper()}"
        lines.append(f"image = image.resize({sides}, {filter_})")
    if geometry.crop is not None:
        lines.append(
            f"x, y = (round((a - b) / 2) for a, b in zip(image.size, ({width}, {height})))"
        )
        lines.append(f"image = image.crop((x, y, x + {width}, y + {height}))")
    lines.append(f"images = numpy.asarray(image)[None]  # (1, {height}, {width}, 3) uint8")
    return "\n".join(lines)


def _sides(geometry: Geometry) -> str | None:
    """The (width, height) after resizing, in Python; None where images are not resized."""
    if isinstance(geometry.resize, tuple):
        return str((geometry.resize[1], geometry.resize[0]))
    if geometry.resize is not None:
        return f"[int({geometry.resize} * side / min(image.size)) for side in image.size]"
    if geometry.area is None:
        return None
    scaled = f"side * ({geometry.area} / math.sqrt(math.prod(image.size)))"
    return f"[max(1, round({scaled} / {STRIDE})) * {STRIDE} for side in image.size]"
