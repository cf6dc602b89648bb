"""Scores and decisions of images by a saved detector: no dataset, no training images, no labels."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from adbench.data.given import Given, Image, each, one, path_of
from adbench.data.images import read_image
from adbench.data.listing import LEAVE_OUT
from adbench.data.samples import Images
from adbench.detectors.feature_detector import other_size
from adbench.detectors.header import Decision, Header
from adbench.detectors.opening import Opened
from adbench.detectors.saved import SUFFIX, SavedDetector, save
from adbench.errors import AdbenchError, DataError
from adbench.evaluation.threshold import p_values
from adbench.system.files import expanded
from adbench.system.parallel import libraries_known, threads

_AHEAD = 2  # batches that are decoded while the detector works on another


@dataclass(frozen=True)
class Prediction:
    """What a detector says of an image. Without an error, there is a score."""

    path: Path | None = None
    """The file; None for an image that came as an array, and for an empty name."""
    score: float | None = None
    """Higher is more anomalous."""
    threshold: float | None = None
    """An image is called anomalous where its score exceeds it; None for a detector without one."""
    p_value: float | None = None
    """The part of normal images that score as high, see ``adbench.evaluation.threshold.p_values``.
    """
    seconds: float | None = None
    """From the decoded image to the score: its share of the batch that it was scored in."""
    map: np.ndarray | None = field(default=None, repr=False)
    """(H, W) float32 anomaly map at the size of the network's input; None where none was wanted."""
    error: str | None = None
    """Why there is no score, or why its picture was not written."""

    @property
    def anomalous(self) -> bool | None:
        """The decision; None where there is no score or no threshold."""
        if self.score is None or self.threshold is None:
            return None
        return self.score > self.threshold


class Predictor:
    """A saved detector at work on images.

    Args:
        detector: Read from a file, or just fitted.
        alpha: Another false alarm rate than the one that it was fitted for.

    Attributes:
        detector: The same.
        decision: The thresholds; None where it was fitted without.

    Raises:
        AdbenchError: Its normal images cannot promise ``alpha``.
    """

    def __init__(self, detector: Opened, alpha: float | None = None) -> None:
        self.detector = detector
        self.decision: Decision | None = detector.header.decision(alpha)
        normal = detector.header.normal
        self._normal = None if normal is None else np.array(normal.scores)
        self._warm = False

    @property
    def header(self) -> Header:
        """What the detector says of itself: settings, weights, training images, versions."""
        return self.detector.header

    def warm_up(self) -> None:
        """Score a blank image, once: the first one loads libraries, the network and kernels.

        Every way to score does this first, so that ``Prediction.seconds`` are those of scoring.

        Raises:
            AdbenchError: The detector cannot score here, such as for want of its weights.
        """
        if not self._warm:
            blank = np.zeros((*self.header.size, 3), np.uint8)
            if self._refused(blank) is None:
                self.detector.score(Images(arrays=(blank,)))
                self.detector.wait()
            self._warm = True

    def predict(self, image: Image) -> Prediction:
        """Score one image, with its anomaly map.

        Args:
            image: The path of a file, or an (h, w, 3) uint8 RGB or (h, w) uint8 grey array.

        Raises:
            AdbenchError: It cannot be read or scored.
        """
        given = one(image)
        path = given if isinstance(given, Path) else None
        array = _pixels(given)
        [found] = self._scored([path], [array], maps=True)
        if found.error is not None:
            raise AdbenchError(found.error)
        return found

    def predict_all(
        self, images: Given, batch: int = 16, maps: bool = False
    ) -> Iterator[Prediction]:
        """Score images in order, a batch at a time, as the reader asks for them.

        One that cannot be read or scored has an error in place of a score, and the rest goes on.

        Args:
            images: A folder or a pattern, whose images come sorted, or paths and arrays, which are
                read lazily.
            batch: How many are scored at once.
            maps: Whether their anomaly maps are wanted.

        Raises:
            AdbenchError: A folder or a pattern without images, or a batch of none.
        """
        if batch < 1:
            raise AdbenchError(f"a batch has at least 1 image; got batch={batch}")
        return self.stream(each(images), batch, maps)

    def stream(
        self, images: Iterable[Image], batch: int = 16, maps: bool = False
    ) -> Iterator[Prediction]:
        """``predict_all`` of paths and arrays."""
        with ThreadPoolExecutor(threads()) as pool:
            for chosen, decoded in _decoded(images, batch, pool):
                paths = [_path(image) for image in chosen]
                good = {i: a for i, a in enumerate(decoded) if isinstance(a, np.ndarray)}
                scored = self._scored([paths[i] for i in good], list(good.values()), maps)
                found = dict(zip(good, scored, strict=True))
                for i, path in enumerate(paths):
                    yield found[i] if i in found else Prediction(path, error=str(decoded[i]))

    def save(self, path: Path | str, include_weights: bool = False) -> None:
        """Write the detector to a file for ``adbench.load`` and for every command.

        Args:
            path: The file, which ends in ``.safetensors`` and is replaced where it exists.
            include_weights: Whether the backbone's weights go into it; it then needs nothing else.

        Raises:
            AdbenchError: The file has another suffix or cannot be written, or the detector is a
                graph.
        """
        file = expanded(path)
        if not isinstance(self.detector, SavedDetector):
            raise AdbenchError(
                f"{file}: a detector that was read from a graph cannot be saved; copy the graph"
            )
        if file.suffix != SUFFIX:
            raise AdbenchError(f"{file}: the name of a detector ends in {SUFFIX}")
        header = replace(self.detector.header, has_weights=include_weights)
        save(file, replace(self.detector, header=header))

    def _scored(
        self, paths: Sequence[Path | None], arrays: Sequence[np.ndarray], maps: bool
    ) -> list[Prediction]:
        """Predictions of decoded images; what fails together is tried one by one."""
        refused = [self._refused(array) for array in arrays]
        fit = [i for i, why in enumerate(refused) if why is None]
        with libraries_known():
            found = self._together([paths[i] for i in fit], [arrays[i] for i in fit], maps)
        rest = iter(found)
        return [
            next(rest) if why is None else Prediction(path, error=why)
            for path, why in zip(paths, refused, strict=True)
        ]

    def _refused(self, array: np.ndarray) -> str | None:
        """Why an image cannot be scored; None where it can."""
        try:
            size = self.detector.geometry.size_of((array.shape[0], array.shape[1]))
            self.detector.geometry.left_out((array.shape[0], array.shape[1]))
        except AdbenchError as error:
            return str(error)
        wanted = self.detector.header.size
        return None if size == wanted else str(other_size(size, wanted))

    def _together(
        self, paths: Sequence[Path | None], arrays: Sequence[np.ndarray], maps: bool
    ) -> list[Prediction]:
        if not arrays:
            return []
        self.warm_up()
        start = time.perf_counter()
        try:
            scores = self.detector.score(Images(arrays=tuple(arrays)))
            self.detector.wait()
            values = scores.images.double().numpy()
            p = None if self._normal is None else p_values(self._normal, values)
        except AdbenchError as error:
            if len(arrays) == 1:
                return [Prediction(paths[0], error=str(error))]
            return [
                found
                for path, array in zip(paths, arrays, strict=True)
                for found in self._together([path], [array], maps)
            ]
        seconds = (time.perf_counter() - start) / len(arrays)
        threshold = None if self.decision is None else self.decision.value
        return [
            Prediction(
                path=path,
                score=float(values[i]),
                threshold=threshold,
                p_value=None if p is None else float(p[i]),
                seconds=seconds,
                # a copy: a view would keep the maps of the whole batch in memory
                map=scores.maps[i].numpy().copy() if maps and scores.maps is not None else None,
            )
            for i, path in enumerate(paths)
        ]


def _decoded(
    images: Iterable[Image], batch: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[Image], list[np.ndarray | AdbenchError]]]:
    """Batches of images, decoded, or why they cannot be.

    Of a list, some are decoded while the detector works on others. An iterator is not read ahead:
    the next image may come only when the last answer has been read.
    """
    ahead = _AHEAD if isinstance(images, Sequence) else 0
    rest, queue = iter(images), list[tuple[list[Image], list[Future[np.ndarray | AdbenchError]]]]()
    try:
        while chosen := list(islice(rest, batch)):
            queue.append((chosen, [pool.submit(_decode, image) for image in chosen]))
            if len(queue) > ahead:
                first, decoded = queue.pop(0)
                yield first, [image.result() for image in decoded]
        for first, decoded in queue:
            yield first, [image.result() for image in decoded]
    finally:  # where the reader has seen enough, what was not begun is not decoded
        for _, decoded in queue:
            for image in decoded:
                image.cancel()


def _decode(image: Image) -> np.ndarray | AdbenchError:
    try:
        return _pixels(one(image))
    except AdbenchError as error:
        return error


def _path(image: Image) -> Path | None:
    """Of the file of an image. An array has none, nor has an empty name, which has an error."""
    return path_of(image) if isinstance(image, str | os.PathLike) and os.fspath(image) else None


def _pixels(image: Path | np.ndarray) -> np.ndarray:
    """The decoded image. An error does not tell how a dataset leaves images out: there is none."""
    if not isinstance(image, Path):
        return image
    try:
        return read_image(image)
    except DataError as error:
        raise DataError(str(error).removesuffix(f"; {LEAVE_OUT}")) from error
