"""The contract of a detector: from images to scores.

What runs a detector knows nothing else of it. A frozen backbone with a method on its features is
one kind of detector; a system that trains on images, or a fitted detector read from a file, are
others.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from adbench.backbones.backbone import Backbone
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.header import Decision
from adbench.features.features import Features
from adbench.methods.method import Scores


class Provider(Protocol):
    """What a session gives to the detectors that it fits: work that others have done before."""

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """Features of images; those of files are made once for all detectors that read them.

        Stages: ``preprocess`` and ``backbone`` where features are made, and ``extract`` for all of
        it where features of files are made for this call alone.
        """
        ...

    def selecting(
        self, normal: Features, selection: dict[str, Any]
    ) -> AbstractContextManager[None]:
        """A block in which this process alone works on a selection; others wait for its picks."""
        ...

    def read_order(self, normal: Features, selection: dict[str, Any]) -> np.ndarray | None:
        """The picks of an earlier fit on the same features, or None."""
        ...

    def keep_order(self, normal: Features, selection: dict[str, Any], order: np.ndarray) -> None:
        """Keep picks for the next fit."""
        ...


class Detector(Protocol):
    """What is fitted on normal images, scores images, and is measured and timed."""

    @property
    def geometry(self) -> Geometry:
        """How images and masks reach the size at which the anomaly maps are given."""
        ...

    @property
    def title(self) -> str:
        """What messages call it, such as ``PatchCore``."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that bears on its numbers, JSON-like: settings by part, and the sha256 of weights."""
        ...

    def fit(self, normal: Images, provider: Provider) -> Self:
        """A fitted copy, which knows of no earlier fit. The stage ``fit`` holds its seconds.

        Args:
            normal: Files of normal images.
            provider: Gives what other detectors have computed before.

        Raises:
            AdbenchError: An image that cannot be read, or what the detector cannot learn from.
        """
        ...

    def score(self, images: Images) -> Scores:
        """Score each image alone, from files or from decoded arrays.

        Stages: ``preprocess``, ``backbone`` and ``score``, inside which a method names its own.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """What the record says of a fitted detector apart from its identity.

        Keys, all optional: ``weights`` (where they come from), ``channels`` (by layer), ``notes``,
        ``state_bytes``, ``multiply_adds``, ``fitted`` (why a fit took no seconds).
        """
        ...

    def wait(self) -> None:
        """Wait for the accelerator, so that a clock read afterwards has counted its work."""
        ...

    def release(self) -> None:
        """Give back memory that the next use makes anew, such as a network's."""
        ...


@runtime_checkable
class MakesDetector(Protocol):
    """Settings that stand in the place of a method, and make a detector of their own kind."""

    def detector(self, geometry: Geometry, backbone: Backbone, device: str) -> Detector:
        """The detector, not fitted.

        Raises:
            AdbenchError: A package is missing, or the parts do not fit one another.
        """
        ...


@runtime_checkable
class Shares(Protocol):
    """A detector that shares work with others that differ from it in a few settings."""

    def group(self) -> str:
        """Names the network and its input; detectors of a group follow one another."""
        ...

    def with_network_of(self, other: Self) -> Self:
        """Itself with the network of another detector of its group, so that there is one."""
        ...

    def reads(self) -> tuple[list[int], bool]:
        """The layers of the network that it reads, and whether it reads the pooled vectors."""
        ...

    def fit_key(self) -> str:
        """Names what a fit depends on; one fit serves all detectors with the same key."""
        ...

    def extent(self) -> float:
        """How much the fit keeps of what it selects; a fit of a larger extent serves a smaller."""
        ...

    def adopt(self, fitted: Self) -> Self:
        """A fitted copy of itself from one with the same ``fit_key`` and no smaller extent."""
        ...

    def score_all(self, images: Images, variants: Sequence[Self], maps: bool) -> Iterator[Scores]:
        """Scores of copies that ``adopt`` gave, in one pass where that is possible.

        Each is computed when the caller takes it, so that two of them need not be held at a time.
        """
        ...

    def sized(self, normal: Images, provider: Provider) -> Self:
        """A copy that knows the shapes of its features, as after a fit on these images."""
        ...

    def kept_bytes(self, images: int, variants: Sequence[Self]) -> int:
        """Bytes that such a pass keeps of the copies until the caller takes their scores.

        Args:
            images: How many are scored.
            variants: The copies, fitted or not.
        """
        ...


@runtime_checkable
class EstimatesMemory(Protocol):
    """A detector that knows how much memory it will need."""

    def memory(self, normal: Images, test: int, provider: Provider) -> int:
        """Bytes at the peak of fitting on ``normal`` and of scoring ``test`` images."""
        ...

    def less_memory(self) -> Iterator[tuple[str, Self]]:
        """Overrides that need less memory and the detector that they give, the mildest first."""
        ...


@runtime_checkable
class EstimatesDeviceMemory(Protocol):
    """A detector that knows how much memory of a device it will need."""

    @property
    def device(self) -> str:
        """Where it computes."""
        ...

    def device_memory(self, normal: Images, test: int, provider: Provider) -> int:
        """Bytes of the device at the peak of fitting on ``normal`` and scoring ``test`` images."""
        ...


@runtime_checkable
class Decides(Protocol):
    """A detector with thresholds of its own, which were found when it was fitted."""

    def decision(self) -> Decision | None:
        """The thresholds; None where none were wanted."""
        ...


@runtime_checkable
class HasRivals(Protocol):
    """A detector that is to be timed beside others."""

    def rivals(self) -> dict[str, "Detector"]:
        """Unfitted detectors by the name under which the record shows them."""
        ...
