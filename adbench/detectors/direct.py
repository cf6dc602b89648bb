"""A provider for a single detector: features are made for each call, or kept in a folder."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adbench.backbones.backbone import Backbone
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.features.extract import Extractor
from adbench.features.features import Features
from adbench.features.store import Store


class Unshared:
    """The part of a provider that hands picks on, where nothing is shared and nothing is kept."""

    def selecting(
        self, normal: Features, selection: dict[str, Any]
    ) -> AbstractContextManager[None]:
        """Nobody waits for the picks."""
        return nullcontext()

    def read_order(self, normal: Features, selection: dict[str, Any]) -> np.ndarray | None:
        """There are none."""
        return None

    def keep_order(self, normal: Features, selection: dict[str, Any], order: np.ndarray) -> None:
        """Nothing is kept."""


def at_once(images: Images, batch: int) -> int:
    """How many images go through the backbone at once.

    Decoded images without digests are a batch already, whose size was chosen by who scores them.

    Args:
        images: All that features are wanted of.
        batch: How many of all others go at once.
    """
    return len(images) if images.arrays and not images.digests else batch


@dataclass(frozen=True)
class Direct(Unshared):
    """See ``adbench.detectors.detector.Provider``."""

    batch: int = 16
    """Images that go through the backbone at once, see ``at_once``."""
    device: str = "cpu"
    folder: Path | None = None
    """Where features of images with digests are kept; None: nowhere."""
    store: Store = field(default_factory=Store, repr=False, compare=False)
    """Opens kept features; it reads each file through once for its checksum."""

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """Features that are made now, or were kept."""
        batch = at_once(images, self.batch)
        extractor = Extractor(backbone, geometry, self.folder, batch, self.device, self.store)
        return extractor(images, layers, vectors)[0]
