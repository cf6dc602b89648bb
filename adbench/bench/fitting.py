"""From normal images to a detector that can be saved, with its threshold."""

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbench.bench import memory
from adbench.bench.folds import different, fold_of, out_of_fold
from adbench.data.content import digests, digests_of_arrays
from adbench.data.images import image_size
from adbench.data.samples import Images
from adbench.data.sizes import require_one_size
from adbench.detectors.detector import Provider
from adbench.detectors.feature_detector import FeatureDetector
from adbench.detectors.header import Header, Normal, Training
from adbench.detectors.saved import SavedDetector, parts_of
from adbench.errors import AdbenchError
from adbench.evaluation.threshold import promise
from adbench.system import machine
from adbench.system.progress import doing
from adbench.system.settings import digest


@dataclass(frozen=True)
class Wish:
    """How the threshold of a detector is to be found.

    Attributes:
        alpha: The false alarm rate to keep.
        folds: Into which the normal images are dealt.
        seed: Of the draw.
    """

    alpha: float
    folds: int
    seed: int


def images_of(paths: Sequence[Path]) -> Images:
    """Files that are named by their contents. Raises DataError where one cannot be read."""
    return Images(tuple(paths), tuple(digests(paths)))


def images_of_arrays(arrays: Sequence[Any]) -> Images:
    """(h, w, 3) uint8 RGB arrays that are named by their contents."""
    return Images(arrays=tuple(arrays), digests=tuple(digests_of_arrays(arrays)))


def fit(
    detector: FeatureDetector,
    labels: Mapping[str, str],
    images: Images,
    provider: Provider,
    wish: Wish | None,
    category: str = "",
    include_weights: bool = False,
    learned: Callable[[str, int], None] = lambda title, size: None,
) -> SavedDetector:
    """Fit a detector on all images, and find its threshold by folds over them.

    Args:
        detector: Not fitted.
        labels: The names of its presets.
        images: Normal ones, with digests.
        provider: Gives features.
        wish: How to find the threshold; None for a detector that gives scores alone.
        category: What the images show, for the header.
        include_weights: Whether the backbone's weights are to be saved with it.
        learned: Is told the method and the bytes that it learned, before the folds take their time.

    Raises:
        AdbenchError: So few images cannot promise the rate, which is said before any work; or what
            the detector cannot learn from.
    """
    if wish is not None:
        fold_of(images, wish.folds, wish.seed)  # refuses fewer than two different images
        if why := promise(len(different(images)), wish.alpha).reason:
            raise AdbenchError(f"{why}, or set threshold=none")
    if images.paths and detector.geometry.size is None:
        require_one_size(images.paths, detector.geometry)
    with doing("fit"):
        memory.require(detector, images, len(images), provider)
        fitted = detector.fit(images, provider)
    learned(fitted.title, fitted.facts()["state_bytes"])
    normal = None if wish is None else _normal(detector, images, provider, wish)
    assert fitted.size is not None
    header = Header(
        parts=parts_of(detector),
        labels=dict(labels),
        identity=detector.identity(),
        weights=detector.backbone.weights_in_words(),
        has_weights=include_weights,
        shapes=fitted.shapes,
        size=fitted.size,
        training=training_of(images),
        normal=normal,
        notes=tuple(fitted.facts()["notes"]),
        environment=machine.describe(detector.device),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        category=category,
    )
    return SavedDetector(fitted, header)


def training_of(images: Images) -> Training:
    """What a header says of the images."""
    content = digest(sorted(images.digests))
    if not images.paths:
        sizes = {(int(a.shape[0]), int(a.shape[1])) for a in images.arrays}
        return Training(len(images), content, images.digests, sizes=tuple(sorted(sizes)))
    paths = [path.absolute() for path in images.paths]
    folder = os.path.commonpath([path.parent for path in paths])
    return Training(
        images=len(images),
        content=content,
        sha256=images.digests,
        names=tuple(path.relative_to(folder).as_posix() for path in paths),
        folder=folder,
        sizes=tuple(sorted({image_size(path) for path in paths})),
    )


def _normal(detector: FeatureDetector, images: Images, provider: Provider, wish: Wish) -> Normal:
    """Scores of the images by detectors that have not seen them."""
    [found] = out_of_fold([detector], images, provider, wish.folds, wish.seed)
    return Normal(
        scores=tuple(found.images.tolist()),
        highest=None if found.highest is None else tuple(found.highest.tolist()),
        fold=tuple(found.fold.tolist()),
        alpha=wish.alpha,
        folds=wish.folds,
        seed=wish.seed,
    )
