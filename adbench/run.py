"""One run: a dataset, a backbone and a method give one record per category, a table and pictures."""

import datetime
import functools
import io
import json
import logging
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_class

from adbench import machine, memory, metrics, records, statistics
from adbench.build import build, check, plain, settings_of
from adbench.core import (
    STRICT,
    AdbenchError,
    Backbone,
    CountsWork,
    Dataset,
    Features,
    HasRivals,
    Method,
    Sample,
    Scores,
    ScoresImages,
    Split,
)
from adbench.datasets import digests, fingerprint
from adbench.features import Extractor
from adbench.files import cache_folder
from adbench.fitting import Fits, state_bytes
from adbench.images import Geometry, image_size, read_mask
from adbench.latency import Protocol, Times, time_per_image
from adbench.memo import digest
from adbench.pictures import save_heatmaps
from adbench.records import ImageScore, Record

log = logging.getLogger(__name__)

PARTS = ("dataset", "geometry", "backbone", "method")


@settings_class(frozen=True, config=STRICT)
class Options:
    """The settings of a run that are not those of a part."""

    seed: Annotated[int, Field(ge=0)] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    results: str = "runs"
    cache: str | None = None
    existing: Literal["skip", "redo"] = "skip"
    batch: Annotated[int, Field(ge=1)] = 16
    threshold: Literal["train", "none"] = "train"
    heatmaps: Annotated[int, Field(ge=-1)] = 12
    timing: Protocol = Protocol()


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs, built and checked before any work."""

    options: Options
    labels: dict[str, str]
    dataset: Dataset
    geometry: Geometry
    backbone: Backbone
    method: Method
    timing_refused: str | None = None
    """Why time must not be measured here, such as a launcher that runs jobs side by side."""

    def identity(self, category: str, images: str) -> dict[str, Any]:
        """What names the experiment on one category whose content has the fingerprint ``images``."""
        return {
            "dataset": {"name": self.dataset.name, "fingerprint": images},
            "category": category,
            "geometry": settings_of(self.geometry),
            "backbone": self.backbone.identity(),
            "method": self.method_identity(),
        }

    def method_identity(self) -> dict[str, Any]:
        """The part of ``identity`` that is the method's."""
        return {"class": type(self.method).__name__, "settings": settings_of(self.method)}

    @property
    def results(self) -> Path:
        """The folder of records, tables and pictures."""
        return Path(self.options.results).expanduser()

    @property
    def records(self) -> Path:
        """The folder of records."""
        return self.results / "records"

    @property
    def name(self) -> str:
        """A readable name of the setting, the same for the same setting, for its table and pictures."""
        parts = {
            "geometry": settings_of(self.geometry),
            "backbone": self.backbone.identity(),
            "method": settings_of(self.method),
            "categories": self.dataset.names(),
        }
        return "-".join([*(self.labels[p] for p in ("dataset", "method", "backbone")), digest(parts, length=8)])


def plan(config: DictConfig, timing_refused: str | None = None) -> Plan:
    """Build every part of a composed config. Raises AdbenchError naming each key that is wrong."""
    groups = {*PARTS, "experiment"}
    options = check(Options, {k: v for k, v in plain(config, "run").items() if k not in groups}, "run")
    machine.set_threads(options.threads)
    parts = {part: build(config[part], part) for part in PARTS if part != "backbone"}
    parts["backbone"] = _backbone(json.dumps(plain(config["backbone"], "backbone"), sort_keys=True), options.threads)
    labels = {part: str(config[part].get("name", type(parts[part]).__name__)) for part in PARTS}
    return Plan(options, labels, **parts, timing_refused=timing_refused)


@functools.lru_cache(maxsize=1)
def _backbone(settings: str, threads: int | None) -> Backbone:
    """The jobs of a sweep that run in one process share the network and the sha256 of its weights."""
    backbone: Backbone = build(OmegaConf.create(json.loads(settings)), "backbone")
    return backbone


@functools.cache
def process_fits() -> Fits:
    """The fitted methods of this process; the jobs of a sweep that run in it share them."""
    return Fits()


@dataclass
class Outcome:
    """Records of the categories that went well and messages of those that did not."""

    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def run(
    plan: Plan,
    fits: Fits,
    progress: bool,
    report: Callable[[str], None] = log.info,
    coming: Sequence[Plan] = (),
) -> Outcome:
    """Measure every category that has no record yet; a category that fails does not lose the others.

    Args:
        plan: What to run.
        fits: Fitted methods of earlier runs in this process, reused where only score-time settings differ.
        progress: Whether to show progress bars.
        report: Is told what happens, a line at a time.
        coming: What else will be run in this process, as far as it is known; where one fit or search can serve several
            plans, it does.
    """
    outcome = Outcome()
    for category in plan.dataset.names():
        try:
            split = plan.dataset.load(category)
            identity = plan.identity(category, fingerprint(split))
            known = None if plan.options.existing == "redo" else records.find(plan.records, identity)
            if known is not None:
                report(f"{category}: has a record, skipped (existing=redo measures it again)")
            if known is None:
                others = [o.method for o in coming if _wanted_too(o, plan, identity)]
                known = evaluate(plan, category, split, identity, fits, progress, others)
            outcome.records.append(known)
        except (AdbenchError, MemoryError) as error:
            outcome.failures[category] = str(error) or type(error).__name__
            report(f"{category}: failed: {outcome.failures[category]}")
    return outcome


def _wanted_too(other: Plan, plan: Plan, identity: dict[str, Any]) -> bool:
    """Whether another plan lacks the record of its method, of the same kind, on the features of this one's category."""
    alike = type(other.method) is type(plan.method) and all(
        settings_of(getattr(other, part)) == settings_of(getattr(plan, part)) for part in ("geometry", "backbone")
    )
    if not alike or (other.dataset.name, type(other.backbone)) != (plan.dataset.name, type(plan.backbone)):
        return False
    theirs = {**identity, "method": other.method_identity()}
    try:
        if identity["category"] not in other.dataset.names():
            return False
        return other.options.existing == "redo" or records.find(other.records, theirs) is None
    except AdbenchError:  # what is wrong with it fails its own job
        return False


def evaluate(
    plan: Plan,
    category: str,
    split: Split,
    identity: dict[str, Any],
    fits: Fits,
    progress: bool,
    others: Sequence[Method] = (),
) -> Record:
    """Features, fit, scores, metrics, time: the record of one category, saved with its raw scores and pictures.

    Args:
        plan: What to measure.
        category: Its name.
        split: Its images.
        identity: What names the record.
        fits: Fitted methods to reuse, and where this one is kept.
        progress: Whether to show progress bars.
        others: Methods of the same class that will be asked of the same features.
    """
    options = plan.options
    if not split.train:
        raise AdbenchError("no normal training images")
    machine.reset_peak_memory()
    device = machine.device_name(options.device)
    extractor = Extractor(plan.backbone, plan.geometry, cache_folder(options.cache), options.batch, progress, device)

    normal = extractor(split.train, digests([s.path for s in split.train]), plan.method)
    extract_seconds = extractor.seconds
    test = extractor(split.test, digests([s.path for s in split.test]), plan.method)
    extract_seconds += extractor.seconds
    besides = _pixel_bytes(plan.geometry, normal, split.test)
    if not memory.fits(plan.method, normal, len(test), besides):
        fits.kept.clear()
        plan.backbone.release()
        memory.require(plan.method, normal, len(test), besides)

    fit = fits.fit(plan.method, normal, memory.those_that_fit(plan.method, others, normal, len(test), besides))
    normal.evict()
    start = time.perf_counter()
    scores = fit.method.score(test)
    score_seconds = time.perf_counter() - start

    measured = _measure(split.test, scores, plan.geometry)
    threshold: dict[str, float | None] = {}
    if options.threshold == "train":
        highest, fpr, tpr = metrics.threshold_rates(
            _image_scores(fit.method, normal), measured.labels, scores.images.numpy()
        )
        threshold = {"value": highest, "false_positive_rate": fpr, "true_positive_rate": tpr}
    times, reasons = _times(plan, fit.method, split.test, normal.source)
    record = Record(
        identity=identity,
        labels=plan.labels,
        counts={
            "train": len(split.train),
            "test": len(split.test),
            "anomalous": sum(s.anomalous for s in split.test),
        },
        metrics=measured.values,
        intervals=measured.intervals,
        reasons={**measured.reasons, **reasons},
        threshold=threshold,
        seconds={"extract": extract_seconds, "fit": fit.seconds, "score": score_seconds},
        time=times,
        memory={"peak": machine.peak_memory(), "state": state_bytes(fit.method)},
        work=_work(plan, fit.method, normal, split.test) if times else {},
        environment=machine.describe(options.device),
        notes=list(getattr(fit.method, "notes_", [])),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    if options.heatmaps and scores.maps is not None:
        folder = plan.results / "heatmaps" / plan.name / category
        save_heatmaps(folder, split.test, scores, plan.geometry, options.heatmaps)
    rows = [
        ImageScore(s.name, s.defect, s.anomalous, float(value))
        for s, value in zip(split.test, scores.images.tolist(), strict=True)
    ]
    return records.load(records.save(plan.records, record, rows, measured.pixels))


def _pixel_bytes(geometry: Geometry, normal: Features, test: Sequence[Sample]) -> int:
    """What anomaly maps, masks and the pixel metrics take."""
    at_input = geometry.evaluate_at == "input"
    pixels = len(test) * math.prod(normal.size) if at_input else sum(math.prod(image_size(s.path)) for s in test)
    return 11 * pixels


@dataclass
class _Measured:
    labels: np.ndarray
    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    pixels: bytes | None = None

    def set(self, names: Sequence[str], values: Sequence[float | None], reason: str | None) -> None:
        self.values.update(zip(names, values, strict=True))
        if reason:
            self.reasons.update(dict.fromkeys(names, reason))


def _measure(test: Sequence[Sample], scores: Scores, geometry: Geometry) -> _Measured:
    labels = np.array([s.anomalous for s in test])
    images = metrics.image_metrics(labels, scores.images.numpy())
    measured = _Measured(labels)
    measured.set(("image_auroc", "image_ap", "image_f1_max"), (images.auroc, images.ap, images.f1_max), images.reason)
    if images.auroc is not None:
        measured.intervals["image_auroc"] = list(statistics.auroc_interval(labels, scores.images.numpy()))
    names = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
    why_not = _why_no_pixel_metrics(test, scores)
    if why_not:
        measured.set(names, (None,) * 4, why_not)
        return measured
    masks, maps = _truth(test, scores, geometry)
    pixel = metrics.pixel_metrics(masks, maps)
    measured.set(names, (pixel.auroc, pixel.ap, pixel.f1_max, pixel.aupro), pixel.reason)
    if pixel.reason:
        return measured
    pairs = statistics.pixel_pairs(masks, maps)
    measured.intervals["pixel_auroc"] = list(statistics.bootstrap_interval(pairs))
    content = io.BytesIO()
    np.savez_compressed(content, concordant=pairs.concordant, positives=pairs.positives, negatives=pairs.negatives)
    measured.pixels = content.getvalue()
    return measured


def _why_no_pixel_metrics(test: Sequence[Sample], scores: Scores) -> str | None:
    if scores.maps is None:
        return "the method gives no anomaly maps"
    if not any(s.anomalous for s in test):
        return "no anomalous test images"
    without = [s.name for s in test if s.anomalous and s.mask is None]
    return f"{len(without)} anomalous test images have no mask, such as {without[0]}" if without else None


def _truth(test: Sequence[Sample], scores: Scores, geometry: Geometry) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks and anomaly maps at the size where pixels are compared."""
    if scores.maps is None:
        raise TypeError("scores without maps have no pixels to compare")
    masks, maps = [], []
    for sample, anomaly_map in zip(test, scores.maps.numpy(), strict=True):
        if geometry.evaluate_at == "input" and sample.mask is None:
            masks.append(np.zeros(anomaly_map.shape, bool))
            maps.append(anomaly_map)
            continue
        size = image_size(sample.path)
        if sample.mask is None:
            masks.append(geometry.mask_original(np.zeros(size, bool)))
        else:
            changed = sample.mask.stat().st_mtime_ns if sample.mask.is_file() else 0  # one that is gone is named below
            masks.append(_mask(sample.mask, changed, size, geometry).unpacked())
        maps.append(geometry.to_original(anomaly_map, size) if geometry.evaluate_at == "original" else anomaly_map)
    return masks, maps


@dataclass(frozen=True)
class _Packed:
    """A mask that takes little room."""

    bits: bytes
    shape: tuple[int, ...]

    def unpacked(self) -> np.ndarray:
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=math.prod(self.shape)).reshape(self.shape).astype(bool)


@functools.lru_cache(maxsize=4096)
def _mask(path: Path, changed: int, size: tuple[int, int], geometry: Geometry) -> _Packed:
    """Ground truth where pixels are compared, of an image of this size; the jobs of a sweep decode it once."""
    mask = read_mask(path, size)
    mask = geometry.mask_original(mask) if geometry.evaluate_at == "original" else geometry.mask(mask)
    return _Packed(zlib.compress(np.packbits(mask).tobytes(), level=1), mask.shape)


def _image_scores(method: Method, features: Features) -> np.ndarray:
    """Image scores alone, by the method's cheaper way where it has one."""
    images = method.image_scores(features) if isinstance(method, ScoresImages) else method.score(features).images
    return np.asarray(images.numpy())


def _times(plan: Plan, method: Method, test: Sequence[Sample], source: str) -> tuple[Times, dict[str, str]]:
    if not plan.options.timing.enabled:
        return {}, {"time": "timing.enabled=false"}
    if plan.timing_refused:
        return {}, {"time": plan.timing_refused}
    paths = [s.path for s in test]
    return time_per_image(plan.options.timing, paths, plan.geometry, plan.backbone, method, source), {}


def _work(plan: Plan, method: Method, normal: Features, test: Sequence[Sample]) -> dict[str, Any]:
    """Multiply-adds of the distance stage, and the same figures of the rivals that the method names."""
    work: dict[str, Any] = {}
    if isinstance(method, CountsWork):
        work["multiply_adds_per_patch"] = method.multiply_adds()
    if isinstance(method, HasRivals):
        work["rivals"] = {}
        for name, rival in method.rivals().items():
            try:
                fitted = rival.fit(normal)
                times, _ = _times(plan, fitted, test, normal.source)
            except AdbenchError as error:  # such as a coreset that keeps no patch; the method itself is measured
                work["rivals"][name] = {"reason": str(error)}
                continue
            work["rivals"][name] = {
                "multiply_adds_per_patch": fitted.multiply_adds(),
                "state_bytes": state_bytes(fitted),
                "time": times,
            }
    return work
