"""What a dataset gives: the images of a category, and what is known of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from adbench.data.geometry import Geometry
from adbench.data.listing import shown
from adbench.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One image on disk and what is known of it."""

    path: Path
    """The image file; made absolute by the dataset."""
    name: str
    """Unique in its category and the same on every machine, such as
    ``test/broken_large/003.png``."""
    defect: str
    """Defect type; ``good`` for normal images."""
    masks: tuple[Path, ...] = ()
    """Ground truth of an anomalous image: what any of these files marks (non-zero) is anomalous.
    Empty for normal images and where there is none."""
    fit_masks: bool = False
    """Whether masks of another size than the image are brought to it, by the nearest pixel;
    otherwise they are refused."""

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != "good"


@dataclass(frozen=True)
class Split:
    """The images of one category: normal ones to fit on, normal and anomalous ones to score.

    Raises:
        DataError: The name of an image is no UTF-8, so that no record could hold it.
    """

    train: list[Sample]
    test: list[Sample]
    skipped: tuple[str, ...] = ()
    """Names of training images that were left out because they are broken."""

    def __post_init__(self) -> None:
        for sample in (*self.train, *self.test):
            try:
                sample.name.encode()
            except UnicodeEncodeError:
                raise DataError(
                    f"{shown(sample.path)}: the name is no UTF-8; rename the file or its folder"
                ) from None


@dataclass(frozen=True)
class Images:
    """Images in order, as files or as decoded arrays."""

    paths: tuple[Path, ...] = ()
    digests: tuple[str, ...] = ()
    """sha256 of each file or array, where results may be kept under the name of the content; else
    empty."""
    arrays: tuple[np.ndarray, ...] = ()
    """(h, w, 3) uint8 RGB each, in place of ``paths``."""

    def __len__(self) -> int:
        return len(self.paths) or len(self.arrays)


@runtime_checkable
class HoldsOut(Protocol):
    """A dataset that may take test images from the normal ones that it was given to train on."""

    def all_normal(self, category: str) -> list[Sample]:
        """All of them, sorted by name. Raises DataError as ``load`` does."""
        ...


class Dataset(Protocol):
    """A source of categories. Its settings are its dataclass fields."""

    name: ClassVar[str]

    def names(self) -> list[str]:
        """The categories that the settings choose, in order.

        Raises:
            DataError: The root is missing.
        """
        ...

    def load(self, category: str) -> Split:
        """The images of one category, sorted by name.

        Raises:
            DataError: Something is missing or broken; the message names it.
        """
        ...

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category for ``adbench data check``, as ``adbench.data.survey`` makes it.

        Args:
            geometry: Under which the images would be run.
        """
        ...


def normal_of(dataset: Dataset, category: str) -> list[Sample]:
    """All normal images of a category that may be learned from, sorted by name.

    Raises:
        DataError: There are none, or something is missing or broken; the message names it.
    """
    if isinstance(dataset, HoldsOut):
        found = dataset.all_normal(category)
    else:
        found = dataset.load(category).train
    if not found:
        raise DataError(f"{category}: no normal training images")
    return found
