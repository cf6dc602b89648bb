"""The images of a category as a run needs them: named by their content, with their ground truth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from adbench.bench.plan import Plan
from adbench.data.content import digests, fingerprint
from adbench.data.geometry import Geometry
from adbench.data.images import image_size
from adbench.data.samples import Dataset, Images, Sample, Split
from adbench.data.sizes import require_one_size
from adbench.data.truth import LeftOut, Look, left_out, look
from adbench.errors import AdbenchError

log = logging.getLogger(__name__)


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
    _looks: tuple[Geometry, bool, list[Look]] | None = None

    @classmethod
    def load(cls, plan: Plan, name: str) -> Self:
        """Read a category of the plan's dataset. Raises AdbenchError where it cannot be used."""
        return cls.read(plan.dataset, name, plan.detector.geometry)

    @classmethod
    def read(cls, dataset: Dataset, name: str, geometry: Geometry | None) -> Self:
        """Read a category.

        Args:
            dataset: Holds it.
            name: The category's name.
            geometry: Must bring its images to one size; None: their sizes may differ.

        Raises:
            AdbenchError: It cannot be used.
        """
        split = dataset.load(name)
        if not split.train:
            raise AdbenchError("no normal training images")
        if geometry is not None and geometry.size is None:
            paths = [sample.path for sample in (*split.train, *split.test)]
            require_one_size(paths, geometry)
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
        without = [s.name for s in self.split.test if s.anomalous and not s.masks]
        if not without:
            return None
        return f"{len(without)} anomalous test images have no mask, such as {without[0]}"

    def masks(self, geometry: Geometry, shape: tuple[int, int]) -> list[np.ndarray]:
        """Ground truth of every test image where pixels are compared, read once for all jobs.

        Args:
            geometry: Brings masks there.
            shape: (H, W) of the anomaly maps.
        """
        looks = zip(self._look(geometry, with_masks=True), self.split.test, strict=True)
        return [
            seen.truth if seen.truth is not None else _nothing(sample, geometry, shape)
            for seen, sample in looks
        ]

    def left_out(self, geometry: Geometry, with_masks: bool) -> LeftOut:
        """What the geometry leaves out of the test images, and of their masks."""
        return left_out(self._look(geometry, with_masks))

    def notes(self, unmarked: Sequence[str]) -> list[str]:
        """What a record says of the images.

        Args:
            unmarked: Anomalous images whose mask marks nothing.
        """
        found = {
            "broken training images were left out": self.split.skipped,
            "anomalous images whose mask marks no pixel, so that all of them count as normal": (
                unmarked
            ),
        }
        return [f"{what}: {', '.join(names)}" for what, names in found.items() if names]

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

    def _look(self, geometry: Geometry, with_masks: bool) -> list[Look]:
        """Every test image under a geometry, with a warning of defects that it hides."""
        if self._looks is None or self._looks[:2] != (geometry, with_masks):
            samples = self.split.test
            if not with_masks:
                samples = [replace(sample, masks=()) for sample in samples]
            looks = [look(sample, geometry) for sample in samples]
            self._looks = geometry, with_masks, looks
            found = left_out(looks)
            for warning in (*found.hidden(), *found.blank()):
                log.warning("%s: %s", self.name, warning)
        return self._looks[2]


def _files(samples: list[Sample]) -> Images:
    paths = tuple(sample.path for sample in samples)
    return Images(paths, tuple(digests(paths)))


def _nothing(sample: Sample, geometry: Geometry, shape: tuple[int, int]) -> np.ndarray:
    """The ground truth of an image without a mask."""
    if geometry.evaluate_at == "original":
        return geometry.mask_original(np.zeros(image_size(sample.path), bool))
    return np.zeros(shape, bool)
