"""adbench in Python: fit, load and use a detector, or take its parts in hand.

``import adbench`` gives all of these names; what they need is loaded when one of them is used.
Nothing is printed, and nothing but what ``save`` writes and the cache of features is left on disk.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from omegaconf import DictConfig

from adbench.bench import fitting
from adbench.bench.plan import DETECTOR, described
from adbench.bench.predict import Prediction, Predictor
from adbench.config.build import build, refuse_unread
from adbench.config.compose import Configs
from adbench.config.quoting import quoted
from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.data.given import Given, all_of, path_of
from adbench.data.samples import Images, normal_of
from adbench.data.sizes import require_one_size, unequal
from adbench.detectors.detector import MakesDetector
from adbench.detectors.direct import Direct
from adbench.detectors.feature_detector import require_saveable
from adbench.detectors.opening import Runtime, open_detector
from adbench.errors import AdbenchError, DataError
from adbench.evaluation.measure import measure
from adbench.evaluation.measured import measure_images
from adbench.features.features import Features
from adbench.methods.method import Method
from adbench.system.files import cache_folder, expanded
from adbench.system.machine import device_name

__all__ = [
    "AdbenchError",
    "Measure",
    "Prediction",
    "Predictor",
    "extract",
    "fit",
    "load",
    "method",
    "metrics",
]

GEOMETRY = "whole"
"""The view of own images, as ``dataset=folder`` has it."""


class Measure(NamedTuple):
    """A metric as a fraction, with its 95% interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def load(
    path: str | Path,
    *,
    device: str = "auto",
    weights: str | Path | None = None,
    runtime: Runtime = "onnxruntime",
    alpha: float | None = None,
) -> Predictor:
    """A fitted detector from a file of ``save``, ``adbench fit`` or ``adbench export``.

    Args:
        path: A ``.safetensors`` or an ``.onnx`` file.
        device: Where the former computes: auto, cpu, mps, cuda or cuda:N.
        weights: The file of the backbone's weights on this machine, where it has moved.
        runtime: What computes an ``.onnx`` file: onnxruntime or openvino.
        alpha: Another false alarm rate than that of the fit, which moves the threshold.

    Raises:
        AdbenchError: The file is missing, damaged or of another format; the backbone's weights are
            missing or others; or the normal images of the fit cannot promise ``alpha``.

    Example:
        >>> detector = adbench.load("part.safetensors")
        >>> detector.predict("photos/new/001.png").anomalous
        False
    """
    if runtime not in ("onnxruntime", "openvino"):
        raise AdbenchError(f"runtime={runtime!r}: is onnxruntime or openvino")
    file = expanded(path)
    own = None if weights is None else str(weights)
    return Predictor(open_detector(file, device, own, runtime), alpha)


def fit(
    images: Given,
    *overrides: str,
    method: str | None = None,
    backbone: str | None = None,
    geometry: str | None = None,
    alpha: float | None = 0.05,
    folds: int = 5,
    seed: int = 0,
    device: str = "auto",
    cache: str | Path | None = None,
) -> Predictor:
    """Fit a detector on normal images, and find its threshold by folds over them.

    Args:
        images: All normal: a folder of images, a pattern, or a list of paths or of arrays.
            Arrays are (h, w, 3) uint8 RGB.
        overrides: Words of the command line, such as ``method=padim`` or ``method.ratio=0.01``.
        method: The name of a preset; patchcore unless a word says another.
        backbone: The same; efficientnet_lite0.
        geometry: The same; whole: the whole image with its aspect.
        alpha: The part of new normal images that may be called anomalous, on average; None for a
            detector that gives scores alone.
        folds: Into which the images are dealt to find the threshold.
        seed: Of the folds, and of methods that draw at random.
        device: auto, cpu, mps, cuda or cuda:N.
        cache: Where features are kept for the next fit; None: the user's cache folder.

    Raises:
        AdbenchError: A word is wrong; an image cannot be read; images end up with several sizes; or
            so few of them cannot promise ``alpha``, which is said before any work.

    Example:
        >>> detector = adbench.fit("photos/good", method="padim", alpha=0.01)
        >>> detector.save("part.safetensors")
    """
    if folds < 2:
        raise AdbenchError(f"folds={folds}: at least 2 are needed")
    chosen = {"method": method, "backbone": backbone, "geometry": geometry}
    config, words = _composed(overrides, chosen, seed, device)
    unfitted, labels = described(config, device)
    detector = require_saveable(unfitted)
    for part in DETECTOR:
        refuse_unread(words, config[part], getattr(detector, part), part)
    wish = None if alpha is None else fitting.Wish(alpha, folds, seed)
    given = _normal(images)
    _require_one_size(given, detector.geometry)
    provider = _provider(detector.device, cache)
    return Predictor(fitting.fit(detector, labels, given, provider, wish))


def extract(
    images: Given,
    *overrides: str,
    layers: Sequence[int] = (2, 3),
    vectors: bool = False,
    backbone: str | None = None,
    geometry: str | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
) -> Features:
    """Features of images through a frozen backbone, for methods that are used by themselves.

    Args:
        images: A folder with all images below it, a pattern, or a list of paths or of arrays.
        overrides: Words of the command line, such as ``geometry.resize=[224,224]``.
        layers: Pyramid levels, 1 for the finest; those that a method reads are ``method.layers``.
        vectors: Whether the pooled last stage is wanted, see ``method.needs_vectors``.
        backbone: The name of a preset; efficientnet_lite0 unless a word says another.
        geometry: The same; whole: the whole image with its aspect.
        device: auto, cpu, mps, cuda or cuda:N.
        cache: Where features are kept for the next call; None: the user's cache folder.

    Returns:
        (n, c, h, w) float32 maps of each layer, finest first, and (n, d) vectors.

    Raises:
        AdbenchError: A word is wrong, an image cannot be read, images end up with several sizes, or
            the backbone lacks a layer.

    Example:
        >>> normal = adbench.extract("bottle/train/good", layers=[2, 3])
        >>> padim = adbench.method("padim", layers=[2, 3]).fit(normal)
    """
    config, words = _composed(overrides, {"backbone": backbone, "geometry": geometry}, 0, device)
    view, network = build(config["geometry"], "geometry"), build(config["backbone"], "backbone")
    for part, built in (("geometry", view), ("backbone", network)):
        refuse_unread(words, config[part], built, part)
    given = _named(*all_of(images))
    _require_one_size(given, view)
    return _provider(device_name(device), cache).features(network, view, given, layers, vectors)


def method(preset: str = "patchcore", **settings: Any) -> Method:
    """An unfitted method: a preset with some settings changed.

    Args:
        preset: Such as padim; ``adbench list methods`` shows all.
        settings: As in the preset's file; those of a part as a mapping, such as
            ``coreset={"sampler": "random"}``.

    Raises:
        AdbenchError: There is no such preset, a setting is unknown, wrong, or not read.

    Example:
        >>> scores = adbench.method("patchcore", ratio=0.1).fit(normal).score(test)
        >>> scores.images.shape, scores.maps.shape
        (torch.Size([83]), torch.Size([83, 256, 256]))
    """
    words = list(_words("method", settings))
    config = Configs().compose([f"method={preset}", *words])
    built: Any = build(config["method"], "method")
    if isinstance(built, MakesDetector):
        raise AdbenchError(
            f"method {preset}: it trains on images, and takes no features; adbench run "
            f"method={preset} measures it"
        )
    refuse_unread(words, config["method"], built, "method")
    method: Method = built
    return method


def metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    masks: ArrayLike | Iterable[ArrayLike] | None = None,
    maps: ArrayLike | Iterable[ArrayLike] | None = None,
) -> dict[str, Measure]:
    """All metrics of a test set, exact, with 95% intervals where there are any.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) higher is more anomalous.
        masks: One (h, w) mask per image, not 0 for anomalous pixels; None: no pixel metrics.
        maps: Anomaly maps of the same shapes; None: no pixel metrics.

    Returns:
        ``Measure`` by name, as ``adbench list metrics`` explains them. Those that need more than
        is given are left out: AUPIMO without a normal image, SegF1 for its threshold.

    Raises:
        AdbenchError: Counts or shapes that differ, labels other than 0 and 1, NaN or infinity, only
            one of ``masks`` and ``maps``, or no normal or no anomalous images or pixels.

    Example:
        >>> adbench.metrics([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9])["image_auroc"].value
        0.75
    """
    if (masks is None) != (maps is None):
        raise AdbenchError("pixel metrics need masks and maps; give both, or leave both out")
    image = np.asarray(labels), np.asarray(scores)
    if masks is None or maps is None:
        found = measure_images(*image)
    else:
        found = measure(*image, _arrays(masks), _arrays(maps))
    for why in found.problems:
        raise AdbenchError(why)
    return {
        name: Measure(value, *(found.intervals.get(name) or ()))
        for name, value in found.values.items()
        if value is not None
    }


def _composed(
    overrides: Sequence[str], chosen: Mapping[str, str | None], seed: int, device: str
) -> tuple[DictConfig, list[str]]:
    """The config of ``adbench run`` with words for the parts of a detector, and the words.

    The device is among the words, because the network takes it from the config.
    """
    device_name(device)  # refuses one that is not there by the name that the caller gave
    for word in overrides:
        part = str(word).lstrip("+~").partition("=")[0].partition(".")[0]
        if part not in chosen:
            raise AdbenchError(
                f"{word!r}: a word here sets {' or '.join(chosen)}, such as "
                "geometry.resize=[224,224]; everything else is an argument of its own"
            )
        if chosen[part] is not None and str(word).startswith(f"{part}="):
            raise AdbenchError(f"{word!r}: {part}={chosen[part]!r} says another; leave one out")
    words = [f"{part}={name}" for part, name in chosen.items() if name is not None]
    if not any(word.startswith("geometry=") for word in (*words, *overrides)):
        words.append(f"geometry={GEOMETRY}")
    words += [*overrides, f"seed={seed}", f"device={device}"]
    return Configs().compose(words), words


def _normal(images: Given) -> Images:
    """Images to fit on. A folder is taken as ``dataset=folder`` takes it: without subfolders."""
    if isinstance(images, str | os.PathLike) and os.path.isdir(path_of(images)):
        folder = Folder(normal=os.fspath(images))
        return fitting.images_of([s.path for s in normal_of(folder, folder.category)])
    return _named(*all_of(images))


def _named(paths: Sequence[Path], arrays: Sequence[np.ndarray]) -> Images:
    return fitting.images_of(paths) if paths else fitting.images_of_arrays(arrays)


def _require_one_size(images: Images, geometry: Geometry) -> None:
    """Refuse images that end up with several sizes, before the work."""
    if geometry.size is not None:
        return
    if images.paths:
        require_one_size(images.paths, geometry)
    elif problem := unequal({a.shape[:2] for a in images.arrays}, geometry):
        raise DataError(problem)


def _provider(device: str, cache: str | Path | None) -> Direct:
    return Direct(device=device, folder=cache_folder(None if cache is None else str(cache)))


def _words(place: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings as words of the command line; those of a part have words of their own."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _words(f"{place}.{name}", value)
        else:
            yield f"{place}.{name}={_written(value)}"


def _written(value: Any) -> str:
    """A value as a word of the command line has it."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value)


def _arrays(given: ArrayLike | Iterable[ArrayLike]) -> list[np.ndarray]:
    """Arrays of one image each, in whatever way they came."""
    return [np.asarray(one) for one in given]  # type: ignore[union-attr]
