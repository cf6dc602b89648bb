"""What flows through a benchmark: samples, features, scores, and the contracts of the three parts that make them.

The flow is one-way: images -> Sample -> Features -> fit -> Scores -> metrics -> Record. A method never sees an image, a
path or a label; a metric never sees a method.
"""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from adbench.memo import Arrays, Entry, Memo

STRICT = ConfigDict(strict=True, extra="forbid", validate_default=True)
"""For the settings of every dataset, geometry, backbone and method: a wrong type, range or name is refused at once."""


class AdbenchError(Exception):
    """Something the user can mend; the message says what is wrong, what was got and what to do."""


class DataError(AdbenchError):
    """An image, a mask or a folder that cannot be used; it ends its category, not the run."""


class NotFittedError(AdbenchError):
    """``score`` was called before ``fit``."""


@dataclass(frozen=True)
class Sample:
    """One image on disk and what is known of it."""

    path: Path
    """The image file; made absolute by the dataset."""
    name: str
    """A name that is unique in its category and the same on every machine, such as ``test/broken_large/003.png``."""
    defect: str
    """Defect type; ``good`` for normal images."""
    mask: Path | None = None
    """Ground truth of an anomalous image (non-zero is anomalous); None for normal images and where there is none."""

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != "good"


@dataclass(frozen=True)
class Split:
    """The images of one category: normal ones to fit on, normal and anomalous ones to score."""

    train: list[Sample]
    test: list[Sample]


class Dataset(Protocol):
    """A source of categories. Its settings are its dataclass fields."""

    name: ClassVar[str]

    def names(self) -> list[str]:
        """The categories that the settings choose, in order. Raises DataError where the root is missing."""
        ...

    def load(self, category: str) -> Split:
        """The images of one category, sorted by name. Raises DataError naming what is missing or broken."""
        ...

    def check(self) -> list[dict[str, Any]]:
        """One row per category: its counts and the problems found, for ``adbench data check``."""
        ...


@dataclass(frozen=True)
class Features:
    """What a frozen backbone says of some images; everything that a method may see.

    Attributes:
        maps: One (n, c, h, w) float32 tensor per layer, finest first; may be memory-mapped and must not be written to.
        vectors: (n, d) pooled last stage, or None where the method did not ask for it.
        size: (H, W) of the network's input in pixels.
        key: Names the content: images, geometry, weights, layers, precision.
        source: Names all of that but the images; a fitted method refuses features of another source.
        memo: Where results derived from these features are kept.
        progress: Whether long computations on these features show a progress bar.
        device: Where a method may compute; the arrays themselves are on the CPU, whatever it is.
        files: Where the maps are mapped from, if they are.
    """

    maps: list[Tensor]
    vectors: Tensor | None
    size: tuple[int, int]
    key: str = ""
    source: str = ""
    memo: Memo = field(default_factory=Memo)
    progress: bool = False
    device: str = "cpu"
    files: list[mmap.mmap] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.maps[0]) if self.maps else len(self.vectors) if self.vectors is not None else 0

    def __getitem__(self, rows: slice) -> "Features":
        """The features of some of the images. They have no key, so nothing derived from them is kept."""
        vectors = None if self.vectors is None else self.vectors[rows]
        return Features([m[rows] for m in self.maps], vectors, self.size, source=self.source, device=self.device)

    def evict(self) -> None:
        """Take mapped maps out of memory until they are read again; for when what was read is done with.

        The system would do the same, but only once memory is short, and until then they count as the process's.
        """
        for file in self.files:
            if hasattr(mmap, "MADV_DONTNEED"):
                file.madvise(mmap.MADV_DONTNEED)

    def derive(
        self,
        what: str,
        settings: dict[str, Any],
        compute: Callable[[], Arrays],
        extend: Callable[[Arrays], Arrays | None] | None = None,
        cost: Callable[[Arrays], float] | None = None,
    ) -> Entry:
        """Arrays that follow from these features and ``settings`` alone, computed once and kept with their cost.

        Features without a key (slices, features made by hand) compute every time. The arguments are those of
        ``Memo.recall``.
        """
        if not self.key:
            return Entry.of(compute)
        return self.memo.recall(what, {"features": self.key, **settings}, compute, extend, cost)


@dataclass(frozen=True)
class Scores:
    """Anomaly scores, higher is more anomalous.

    Attributes:
        images: (n,) float32.
        maps: (n, H, W) float32 at the network's input size, or None for methods that do not localise.
    """

    images: Tensor
    maps: Tensor | None


class Backbone(Protocol):
    """A frozen network. Its settings are its dataclass fields; the network is made at the first use."""

    def identity(self) -> dict[str, Any]:
        """What names its numbers: architecture, weights, sha256 of the weights, precision, engine."""
        ...

    def release(self) -> None:
        """Give back the memory of the network; the next ``extract`` makes it anew."""
        ...

    def extract(self, images: Tensor, layers: Sequence[int], vectors: bool) -> tuple[list[Tensor], Tensor | None]:
        """Features of a batch.

        Args:
            images: (b, 3, H, W) uint8 RGB; the backbone normalises them itself.
            layers: Pyramid levels, 1 is the finest; level i of a CNN has stride 2^(i + 1), as layer i of a ResNet.
            vectors: Whether to return the (b, d) average-pooled last stage too.

        Raises:
            AdbenchError: A layer that the network lacks, naming those it has.
        """
        ...


class Method(Protocol):
    """An anomaly detector on features: one dataclass of settings in one file and one YAML file, nothing else."""

    layers: list[int]
    """Setting: the pyramid levels it reads, finest first."""
    needs_vectors: ClassVar[bool]
    """Whether it reads ``Features.vectors``."""
    asked: ClassVar[frozenset[str]]
    """Names of the settings that only ``score`` reads; changing them costs no new fit (see ``adbench.fitting.ask``)."""

    def fit(self, normal: Features) -> Self:
        """Learn from normal images alone, forgetting any earlier fit. Learned state ends in ``_``."""
        ...

    def score(self, test: Features) -> Scores:
        """Score each image alone: the scores of a batch are those of its images one by one."""
        ...


@runtime_checkable
class FitsTogether(Protocol):
    """A method of which one fit can give several states, such as coresets of several ratios."""

    def fit_with(self, others: Sequence[Self], normal: Features) -> list[tuple[Self, float]]:
        """``fit``, and copies of those of the unfitted ``others`` that this gives too, at little more cost.

        Returns:
            Itself and these, each with the seconds that a fit of its own would have spared.
        """
        ...

    def memory_with(self, others: Sequence[Self], normal: Features, test: int) -> int:
        """Bytes at the peak of fitting these on ``normal`` and of scoring ``test`` images, as ``EstimatesMemory``."""
        ...


@runtime_checkable
class ScoresImages(Protocol):
    """A method that knows a cheaper way to image scores than making the maps too."""

    def image_scores(self, test: Features) -> Tensor:
        """(n,) the image scores of ``score``."""
        ...


@runtime_checkable
class CountsWork(Protocol):
    """A method whose distance stage has a countable cost."""

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage, after the fit."""
        ...


@runtime_checkable
class HasRivals(Protocol):
    """A method that is to be timed beside others on the same features."""

    def rivals(self) -> dict[str, Any]:
        """Unfitted methods that count their work, by the name under which the record shows them."""
        ...


Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


def require_fitted(method: object, test: Features) -> None:
    """Raise unless ``method`` was fitted, and on features of the same source as ``test``."""
    if getattr(method, "source_", None) is None:
        raise NotFittedError(f"{type(method).__name__}.score was called before fit; call fit(normal features) first")
    fitted: str = method.source_  # type: ignore[attr-defined]
    if fitted != test.source:
        raise AdbenchError(
            f"{type(method).__name__} was fitted on features of source {fitted!r} and cannot score features of source "
            f"{test.source!r}: same backbone, weights, layers, geometry and precision are needed"
        )


def require_finite(rows: Tensor | np.ndarray, what: str) -> None:
    """Raise where ``rows`` holds NaN or infinity, counting them."""
    values = torch.as_tensor(rows)
    if bool(torch.isfinite(values.sum())):  # a NaN or an infinity survives every sum; an overflow is looked at below
        return
    if bad := int((~torch.isfinite(values)).sum()):
        raise AdbenchError(f"{what} hold {bad} NaN or infinite values of {values.numel()}; check weights and precision")
