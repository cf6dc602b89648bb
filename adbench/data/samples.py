"""What a dataset gives: the images of a category, and what is known of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np


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
    mask: Path | None = None
    """Ground truth of an anomalous image (non-zero is anomalous); None for normal images and where
    there is none."""

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != "good"


@dataclass(frozen=True)
class Split:
    """The images of one category: normal ones to fit on, normal and anomalous ones to score."""

    train: list[Sample]
    test: list[Sample]


@dataclass(frozen=True)
class Images:
    """Images in order, as files or as decoded arrays."""

    paths: tuple[Path, ...] = ()
    digests: tuple[str, ...] = ()
    """sha256 of each file, where results may be kept under the name of the content; else empty."""
    arrays: tuple[np.ndarray, ...] = ()
    """(h, w, 3) uint8 RGB each, in place of ``paths``."""

    def __len__(self) -> int:
        return len(self.paths) or len(self.arrays)


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

    def check(self) -> list[dict[str, Any]]:
        """One row per category: its counts and the problems found, for ``adbench data check``."""
        ...
