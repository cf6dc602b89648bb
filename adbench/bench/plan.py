"""What a run is made of, built from a composed config and checked before any work."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_class

from adbench.bench.latency import Protocol
from adbench.config.build import Builder
from adbench.data.samples import Dataset
from adbench.detectors.detector import Decides, Detector, MakesDetector
from adbench.detectors.feature_detector import FeatureDetector
from adbench.detectors.header import DETECTOR as DETECTOR
from adbench.detectors.opening import ONNX, Runtime, open_detector
from adbench.errors import AdbenchError
from adbench.system.files import expanded
from adbench.system.machine import DEVICES, MOST_THREADS, device_name
from adbench.system.settings import STRICT, When, check, digest, settings_of

PARTS = ("dataset", *DETECTOR)
METHOD = ("layers", "needs_vectors", "score_settings", "nested", "fit", "score")
"""What every method has, see ``adbench.methods.method.Method``."""


@settings_class(frozen=True, config=STRICT)
class Options:
    """The settings of a run that are not those of a part."""

    seed: Annotated[int, Field(ge=0)] = 0
    device: Annotated[str, Field(pattern=rf"^({DEVICES})$")] = "auto"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    results: str = "runs"
    cache: str | None = None
    existing: Literal["skip", "redo"] = "skip"
    batch: Annotated[int, Field(ge=1, le=10_000)] = 16
    threshold: Literal["none", "train", "folds"] = "none"
    alpha: Annotated[float, Field(gt=0, lt=1), When("has_folds")] = 0.05
    folds: Annotated[int, Field(ge=2, le=10_000), When("has_folds")] = 5
    heatmaps: Annotated[int, Field(ge=-1)] = 12
    heatmaps_size: Literal["panel", "full"] = "panel"
    timing: Protocol = Protocol()
    detector: str | None = None
    weights: Annotated[str | None, When("is_saved")] = None
    runtime: Annotated[Runtime, When("is_saved")] = "onnxruntime"

    @property
    def is_saved(self) -> bool:
        """The setting detector names a file."""
        return self.detector is not None

    @property
    def has_folds(self) -> bool:
        """The setting threshold is folds."""
        return self.threshold == "folds"


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs, built and checked before any work."""

    options: Options
    labels: dict[str, str]
    """The names of the presets by part."""
    dataset: Dataset
    categories: tuple[str, ...]
    """Those of the dataset that are to be measured."""
    detector: Detector
    timing_refused: str | None = None
    """Why time must not be measured here, such as a launcher that runs jobs side by side."""
    only_time: bool = False
    """Whether records that lack their time are given it, and nothing else is measured."""

    def identity(self, category: str, images: str) -> dict[str, Any]:
        """What names the experiment on a category; ``images`` is the fingerprint of its content."""
        dataset = {"name": self.dataset.name, "fingerprint": images}
        return {"dataset": dataset, "category": category, **self.detector.identity()}

    @property
    def results(self) -> Path:
        """The folder of records, tables and pictures."""
        return expanded(self.options.results)

    @property
    def records(self) -> Path:
        """The folder of records."""
        return self.results / "records"

    @property
    def name(self) -> str:
        """A readable name of setting and dataset, for the table and the pictures."""
        content = [settings_of(self.dataset), self.detector.identity()]
        labels = [self.labels[part] for part in ("dataset", "method", "backbone")]
        return "-".join([*labels, digest(content, length=8)])

    @property
    def threshold(self) -> str:
        """Which threshold the record is to have: none, train, folds, or file (the detector's)."""
        detector = self.detector
        own = isinstance(detector, Decides) and detector.decision() is not None
        return "file" if own else str(self.options.threshold)

    @property
    def wants_time(self) -> bool:
        """Whether the time per image is to be measured."""
        return self.options.timing.enabled and self.timing_refused is None


def plan(
    config: DictConfig, timing_refused: str | None = None, builder: Builder | None = None
) -> Plan:
    """Build every part of a composed config.

    Args:
        config: Of ``adbench run``.
        timing_refused: Why time must not be measured.
        builder: That of other jobs, from which parts that are described alike are taken.

    Raises:
        AdbenchError: A key is wrong, or the dataset is not there; names each.
    """
    builder = builder or Builder()
    groups = {*PARTS, "experiment", "hydra"}
    words = {k: v for k, v in builder.settings(config).items() if k not in groups}
    options = check(Options, {n: words[n] for n in words if n != "sweep"}, "")
    dataset = builder.part(config, "dataset")
    _require("dataset", dataset, ("name", "names", "load", "check"))
    own = {"dataset": _label(config["dataset"], "dataset")}
    detector: Detector
    if options.detector is None:
        detector, labels = described(config, options.device, builder)
    else:
        path = expanded(options.detector)
        if path.suffix.lower() == ONNX:
            if options.device not in ("auto", "cpu"):
                raise AdbenchError(f"device={options.device}: an {ONNX} file computes on the CPU")
            options = replace(options, device="cpu")  # the record must name no GPU
        opened = open_detector(path, options.device, options.weights, options.runtime)
        detector, labels = opened, opened.header.labels
    return Plan(options, labels | own, dataset, tuple(dataset.names()), detector, timing_refused)


def described(
    config: DictConfig, device: str, builder: Builder | None = None
) -> tuple[Detector, dict[str, str]]:
    """The detector that a config describes, not fitted, and the names of its presets.

    It is what the settings of the method make, where they make a detector, and else a method on
    the features of a frozen backbone.

    Args:
        config: Of ``adbench run``.
        device: auto, cpu, mps, cuda or cuda:N.
        builder: That of other configs, from which parts that are described alike are taken.

    Raises:
        AdbenchError: A key is wrong; names each.
    """
    builder = builder or Builder()
    geometry, backbone, method = (builder.part(config, part) for part in DETECTOR)
    labels = {part: _label(config[part], part) for part in DETECTOR}
    if isinstance(method, MakesDetector):
        return method.detector(geometry, backbone, device_name(device)), labels
    _require("method", method, METHOD)
    return FeatureDetector(geometry, backbone, method, device_name(device)), labels


def _require(part: str, built: object, names: tuple[str, ...]) -> None:
    """Refuse a class that lacks a part of its contract, before any job runs."""
    if lacking := [name for name in names if not hasattr(built, name)]:
        raise AdbenchError(
            f"{part}: {type(built).__name__} lacks {', '.join(lacking)}; a {part} needs "
            f"{', '.join(names)}"
        )


def _label(node: DictConfig, part: str) -> str:
    """The name of a preset, under which records are found and by which files are named."""
    if not (name := node.get("name")):
        raise AdbenchError(f"{part}.name: missing; the YAML of a preset names itself")
    return str(name)
