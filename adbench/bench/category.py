"""The images of a category as a run needs them: named by their content, with their ground truth."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from adbench.bench.plan import Plan
from adbench.data.content import digests, fingerprint
from adbench.data.geometry import Geometry
from adbench.data.images import image_size, read_mask
from adbench.data.samples import Images, Sample, Split
from adbench.errors import AdbenchError


@dataclass
class Category:
    """One category, read once for all jobs on it.

    Attributes:
        name: The category's name.
        split: Its images.
        train: The files of the normal training images.
        test: The files of the test images.
        fingerprint: Names names, labels, images and masks.
    """

    name: str
    split: Split
    train: Images
    test: Images
    fingerprint: str
    _masks: tuple[Geometry, list[np.ndarray]] | None = None

    @classmethod
    def load(cls, plan: Plan, name: str) -> Self:
        """Read a category of the plan's dataset. Raises AdbenchError where it cannot be used."""
        split = plan.dataset.load(name)
        if not split.train:
            raise AdbenchError("no normal training images")
        train, test = (_files(part) for part in (split.train, split.test))
        named = fingerprint(split, train.digests, test.digests)
        return cls(name, split, train, test, named)

    @property
    def labels(self) -> np.ndarray:
        """(n,) bool, true for anomalous test images."""
        return np.array([s.anomalous for s in self.split.test])

    @property
    def counts(self) -> dict[str, int]:
        """Training and test images, and anomalous ones among these."""
        n = int(self.labels.sum())
        return {"train": len(self.train), "test": len(self.test), "anomalous": n}

    def why_no_masks(self) -> str | None:
        """Why pixels cannot be compared; None where they can."""
        if not any(s.anomalous for s in self.split.test):
            return "no anomalous test images"
        without = [s.name for s in self.split.test if s.anomalous and s.mask is None]
        if not without:
            return None
        return f"{len(without)} anomalous test images have no mask, such as {without[0]}"

    def masks(self, geometry: Geometry, shape: tuple[int, int]) -> list[np.ndarray]:
        """Ground truth of every test image where pixels are compared, kept for the next job.

        Args:
            geometry: Brings masks there.
            shape: (H, W) of the anomaly maps.
        """
        if self._masks is None or self._masks[0] != geometry:
            self._masks = geometry, [_truth(s, geometry, shape) for s in self.split.test]
        return self._masks[1]

    def maps(self, geometry: Geometry, maps: np.ndarray) -> list[np.ndarray]:
        """Anomaly maps (n, H, W) where pixels are compared."""
        if geometry.evaluate_at == "input":
            return list(maps)
        sizes = (image_size(s.path) for s in self.split.test)
        return [geometry.to_original(m, size) for m, size in zip(maps, sizes, strict=True)]

    def pixels(self, geometry: Geometry) -> int:
        """How many pixels are compared."""
        if geometry.evaluate_at == "input" and geometry.size is not None:
            return len(self.test) * geometry.size[0] * geometry.size[1]
        sizes = [image_size(s.path) for s in self.split.test]
        if geometry.evaluate_at == "input":
            sizes = [geometry.size_of(size) for size in sizes]
        return sum(height * width for height, width in sizes)


def _files(samples: list[Sample]) -> Images:
    paths = tuple(sample.path for sample in samples)
    return Images(paths, tuple(digests(paths)))


def _truth(sample: Sample, geometry: Geometry, shape: tuple[int, int]) -> np.ndarray:
    original = geometry.evaluate_at == "original"
    if sample.mask is None:
        if not original:
            return np.zeros(shape, bool)
        return geometry.mask_original(np.zeros(image_size(sample.path), bool))
    mask = read_mask(sample.mask, image_size(sample.path))
    return geometry.mask_original(mask) if original else geometry.mask(mask)
