"""Scores of normal images by detectors that have not seen them: k folds over the training images.

Every image belongs to one fold. For each fold a detector is fitted on the images of all others, and
scores those of the fold. Copies of an image belong to one fold, so that no image is scored by a
detector that has seen it under another name.

With k folds a detector sees (k - 1) / k of the images. Where the scale of its scores depends on
their number, a threshold from the scores is off by that: those of CRD with an absolute lambda far
below every eigenvalue are (k / (k - 1))^2 times as high as those of the fit on all images.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from adbench.backbones.backbone import Backbone
from adbench.bench import memory
from adbench.data.geometry import Geometry
from adbench.data.images import image_size
from adbench.data.samples import Images
from adbench.detectors.detector import Detector, Provider, Shares
from adbench.detectors.family import Family
from adbench.errors import AdbenchError, DataError, MemoryShortError
from adbench.features.features import Features
from adbench.system import machine
from adbench.system.progress import doing

TOGETHER = 2**28
"""Bytes of anomaly maps that are made at once, and of what a pass keeps of settings."""

Reads = tuple[tuple[int, ...], bool]
"""Layers, and whether the pooled vectors are read too."""


@dataclass(frozen=True)
class OutOfFold:
    """Scores of n different normal images, each by a detector that was fitted without its fold.

    Of an image and its copies there is one score: copies promise nothing more.

    Attributes:
        places: (n,) int64, where each image stands among all that were given.
        fold: (n,) int64, the fold of each image.
        images: (n,) float64 image scores.
        highest: (n,) float64, the largest value of each anomaly map; None without maps.
    """

    places: np.ndarray
    fold: np.ndarray
    images: np.ndarray
    highest: np.ndarray | None


def contents(images: Images) -> list[Any]:
    """What tells images apart: the digest of each, or its path where there are no digests."""
    if images.arrays and not images.digests:
        raise ValueError("decoded arrays are told apart by digests; give them")
    return list(images.digests or images.paths)


def different(images: Images) -> np.ndarray:
    """(n,) int64, the places of the images without copies of earlier ones."""
    first: dict[Any, int] = {}
    for place, name in enumerate(contents(images)):
        first.setdefault(name, place)
    return np.array(list(first.values()), np.int64)


def fold_of(images: Images, folds: int, seed: int) -> np.ndarray:
    """(n,) int64, the fold of each image: a random one, and folds of about the same size.

    Args:
        images: Files.
        folds: How many; where there are fewer different images, each is a fold of its own.
        seed: Of the draw.

    Raises:
        AdbenchError: There are not two different images.
    """
    names = contents(images)
    different = list(dict.fromkeys(names))
    if len(different) < 2:
        raise AdbenchError(
            "threshold=folds needs at least 2 different normal training images; "
            f"got {len(different)}"
        )
    places = np.random.default_rng(seed).permutation(len(different))
    chosen = dict(zip(different, (places % folds).tolist(), strict=True))
    return np.array([chosen[name] for name in names])


def out_of_fold(
    detectors: Sequence[Detector], images: Images, provider: Provider, folds: int, seed: int
) -> list[OutOfFold]:
    """Scores of normal images by detectors that have not seen them.

    Features are made once, of all images. Each fold costs one fit, which serves all the detectors.

    Args:
        detectors: Unfitted, with one ``fit_key``, or a single one of any kind.
        images: Files of normal images.
        provider: Gives the features of all images.
        folds: How many.
        seed: Of the draw of the folds.

    Returns:
        The scores of each detector.

    Raises:
        AdbenchError: There are not two different images, or what a detector cannot learn from the
            images outside of a fold.
    """
    fold, places = fold_of(images, folds, seed), different(images)
    count = int(fold.max()) + 1
    scores = [np.empty(len(places)) for _ in detectors]
    highest: list[np.ndarray | None] = [np.empty(len(places)) for _ in detectors]
    whole: dict[Reads, Features] = {}
    for number in range(count):
        with doing(f"fold {number + 1} of {count}"):
            others = np.flatnonzero(fold != number)
            rows = np.flatnonzero(fold[places] == number)
            try:
                parts = _Parts(images, provider, whole)
                found = _scored_apart(detectors, images, others, places[rows], parts)
            except (DataError, MemoryShortError):  # which more images would not mend
                raise
            except AdbenchError as error:
                raise type(error)(
                    f"{error}; without the images of one fold {len(others)} of {len(images)} are "
                    "left to fit on: give more normal images, or set threshold=none"
                ) from error
            for place, (values, maxima) in enumerate(found):
                scores[place][rows] = values
                of_map = highest[place]
                if of_map is None or maxima is None:
                    highest[place] = None
                else:
                    of_map[rows] = maxima
    return [OutOfFold(places, fold[places], s, h) for s, h in zip(scores, highest, strict=True)]


def _scored_apart(
    detectors: Sequence[Detector],
    images: Images,
    others: np.ndarray,
    rows: np.ndarray,
    parts: "_Parts",
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Image scores and largest map values of the images at ``rows``, fitted on ``others``."""
    family, normal = Family(detectors), _taken(images, others)
    memory.require(family.largest, normal, len(rows), parts)
    family.fit(normal, parts)
    for error in family.errors.values():
        raise error
    step, everyone = _at_once(images, family.largest, family.members), range(len(detectors))
    blocks = [
        [
            (scores.images.numpy(), _maxima(scores.maps))
            for scores in family.score(_taken(images, rows[start : start + step]), everyone)
        ]
        for start in range(0, len(rows), step)
    ]
    return [_joined(of_detector) for of_detector in zip(*blocks, strict=True)]


@dataclass
class _Parts:
    """A provider that takes the features of some images from those of all."""

    images: Images
    provider: Provider
    whole: dict[Reads, Features]
    """The features of all images, which the parts of all folds share: a provider that can keep
    nothing would make them anew for each."""
    _held: dict[tuple[Any, ...], Features] = field(default_factory=dict)

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """Features of some of the images; what is selected from them is not kept on disk."""
        wanted = contents(images)
        key = (tuple(wanted), tuple(layers), vectors)
        if key not in self._held:
            reads = tuple(layers), vectors
            if reads not in self.whole:
                self.whole[reads] = self.provider.features(
                    backbone, geometry, self.images, layers, vectors
                )
            row = {name: place for place, name in enumerate(contents(self.images))}
            self._held[key] = _rows(self.whole[reads], [row[name] for name in wanted])
        return self._held[key]

    def selecting(
        self, normal: Features, selection: dict[str, Any]
    ) -> AbstractContextManager[None]:
        """See ``Provider``."""
        return self.provider.selecting(normal, selection)

    def read_order(self, normal: Features, selection: dict[str, Any]) -> np.ndarray | None:
        """See ``Provider``."""
        return self.provider.read_order(normal, selection)

    def keep_order(self, normal: Features, selection: dict[str, Any], order: np.ndarray) -> None:
        """See ``Provider``."""
        self.provider.keep_order(normal, selection, order)


def _maxima(maps: torch.Tensor | None) -> np.ndarray | None:
    """The largest value of every map; None where a method gives no maps."""
    return None if maps is None else maps.amax(dim=(1, 2)).numpy()


def _joined(
    blocks: Sequence[tuple[np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image scores and largest map values of all blocks of images."""
    maxima = [highest for _, highest in blocks if highest is not None]
    scores = np.concatenate([scores for scores, _ in blocks])
    return scores, np.concatenate(maxima) if len(maxima) == len(blocks) else None


def _rows(whole: Features, rows: list[int]) -> Features:
    """The features of some images, copied out of those of all, which may be mapped from a file."""
    arrays = [*whole.maps, *([] if whole.vectors is None else [whole.vectors])]
    needed, free = sum(a[0].nbytes for a in arrays) * len(rows), machine.free_memory()
    if needed > free:
        raise MemoryShortError(
            f"threshold=folds: the features of {len(rows)} images take {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB of memory are free; free some or set threshold=none"
        )
    at = torch.tensor(rows)
    maps, vectors = [m[at] for m in whole.maps], whole.vectors
    whole.evict()
    vectors = None if vectors is None else vectors[at]
    return replace(whole, maps=maps, vectors=vectors, key="", files=[])


def _taken(images: Images, rows: np.ndarray) -> Images:
    """Some of the images."""
    parts = (images.paths, images.digests, images.arrays)
    return Images(*(tuple(part[row] for row in rows) if part else () for part in parts))


def _at_once(images: Images, largest: Detector, members: Sequence[Any]) -> int:
    """How many images may be scored at once."""
    first = image_size(images.paths[0]) if images.paths else images.arrays[0].shape[:2]
    height, width = largest.geometry.size or largest.geometry.size_of(first)
    kept = largest.kept_bytes(1, members) if isinstance(largest, Shares) else 0
    return max(1, TOGETHER // max(4 * height * width, kept))
