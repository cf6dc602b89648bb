"""Whether a graph gives the scores of the detector that it was made from."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adbench.data.content import digests
from adbench.data.listing import files_below, is_image, no_images, shown
from adbench.data.samples import Images
from adbench.detectors.header import Header
from adbench.detectors.onnx_detector import OnnxDetector
from adbench.detectors.saved import SavedDetector
from adbench.errors import AdbenchError
from adbench.features.inputs import batches_of

TOLERANCE = 1e-4
"""Of scores and maps, relative to the largest value."""
_BATCH = 16


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its detector, on n images.

    Differences are relative to the largest value that either the detector gives these images or the
    folds gave other normal ones. An image that was learned by heart scores 0, and rounding is
    everything in such a score.
    """

    images: int
    score: float
    """The largest difference of image scores."""
    map: float
    """The largest difference of values of anomaly maps."""
    batch: float
    """The largest difference of image scores between a batch and its images one by one."""
    decisions: int | None
    """Images about which the two decide differently; None without a threshold."""

    @property
    def holds(self) -> bool:
        """All differences are within the tolerance."""
        return all(apart <= TOLERANCE for apart in (self.score, self.map, self.batch))  # no NaN

    def words(self) -> str:
        """The figures in a line."""
        decided = "" if self.decisions is None else f"; {self.decisions} decisions differ"
        return (
            f"largest difference on {self.images} images, relative to the largest value: scores "
            f"{self.score:.1e}, maps {self.map:.1e}, a batch against its images one by one "
            f"{self.batch:.1e} (at most {TOLERANCE:.0e} each){decided}"
        )


def images_for(header: Header, folder: Path | None) -> Images:
    """The images on which parity is measured.

    Args:
        header: Of the detector; it names the training images.
        folder: Images to take in their place.

    Raises:
        AdbenchError: There are none.
    """
    if folder is not None:
        if not os.path.isdir(folder):
            raise AdbenchError(f"images={shown(folder)}: there is no such folder")
        files = files_below(folder)
        paths = [file for file in files if is_image(file)]
        if not paths:
            raise AdbenchError(f"images={shown(folder)}: {no_images(files)}")
        return Images(tuple(paths))
    named = zip(header.training.paths(), header.training.sha256, strict=False)
    there = [(path, sha256) for path, sha256 in named if os.path.isfile(path)]
    found = digests([path for path, _ in there])
    same = [path for (path, sha256), own in zip(there, found, strict=True) if sha256 == own]
    if not same:
        raise AdbenchError(
            f"none of the {header.training.images} training images is found again "
            f"({shown(header.training.folder or 'they came as arrays')}), and the graph is written "
            "only where it gives the same scores; give images=DIR, a folder of normal images"
        )
    return Images(tuple(same))


def measure(saved: SavedDetector, exported: OnnxDetector, images: Images) -> Parity:
    """Score images by both, a few at a time.

    Raises:
        AdbenchError: An image that cannot be read, or that the detector does not take.
    """
    normal, decision = saved.header.normal, saved.decision()
    score = map_ = 0.0
    highest = max(normal.scores) if normal else 0.0
    highest_map = max(normal.highest) if normal and normal.highest else 0.0
    differ = 0
    for start in range(0, len(images), _BATCH):
        some = Images(images.paths[start : start + _BATCH])
        expected, found = saved.score(some), exported.score(some)
        assert expected.maps is not None
        assert found.maps is not None
        score = max(score, float((found.images - expected.images).abs().max()))
        map_ = max(map_, float((found.maps - expected.maps).abs().max()))
        highest = max(highest, float(expected.images.abs().max()))
        highest_map = max(highest_map, float(expected.maps.abs().max()))
        if decision is not None:
            over = (expected.images > decision.value) != (found.images > decision.value)
            differ += int(over.sum())
    return Parity(
        images=len(images),
        score=_relative(score, highest),
        map=_relative(map_, highest_map),
        batch=_relative(_of_batch(exported, Images(images.paths[:_BATCH])), highest),
        decisions=None if decision is None else differ,
    )


def _of_batch(exported: OnnxDetector, images: Images) -> float:
    """The largest difference of scores between a batch and its images one by one."""
    [inputs] = batches_of(images, exported.geometry, len(images))
    together, _ = exported.graph.run(np.ascontiguousarray(inputs.permute(0, 2, 3, 1).numpy()))
    return float(np.abs(together - exported.score(images).images.numpy()).max())


def _relative(difference: float, largest: float) -> float:
    if not difference:
        return 0.0
    return difference / largest if largest else math.inf
