"""Measured seconds, bytes and sizes, and what they say about work that was not done yet.

The measurements are those of the records of this machine, and else those that ship with the
package, which ``scripts/measure_rates.py`` took. Nothing here is a guess: what was not measured has
no rate.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from adbench.config.yaml_files import read_yaml
from adbench.results.record import Record
from adbench.system.settings import digest

Stage = Literal["extract", "fit", "score", "time"]
SHIPPED = Path(__file__).with_name("rates.yaml")
STEEPEST: dict[str, float] = {"fit": 2.0, "score": 1.0, "time": 1.0}
"""The largest exponent with which the seconds of a fit, and else those of one image, grow with the
number of training images."""
BEYOND = 0.25
"""What the exponent may be off by beyond the numbers of images that were measured."""


@dataclass(frozen=True)
class Estimate:
    """A number with the range in which the measurements leave it."""

    about: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def exactly(cls, value: float) -> "Estimate":
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def between(cls, low: float, high: float) -> "Estimate":
        """A number of which two bounds above 0 are known: about their geometric mean."""
        return cls(math.sqrt(low * high), low, high)

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.about + other.about, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.about * factor, self.low * factor, self.high * factor)

    def times(self, other: "Estimate") -> "Estimate":
        """The product of two numbers, each of which has a range."""
        return Estimate(self.about * other.about, self.low * other.low, self.high * other.high)


NOTHING = Estimate()


@dataclass(frozen=True)
class Kind:
    """What the seconds of a stage depend on, apart from the number of images.

    Attributes:
        stage: What was done.
        method: The class of the method or of the trained detector; empty for ``extract``.
        settings: A digest of its settings without their seeds; empty for ``extract``.
        network: The backbone with its precision and engine; empty where there is none.
        pixels: Of an image at the network's input; None where images differ.
        channels: Of all layers that are read; 0 where they are not known.
    """

    stage: Stage
    method: str = ""
    settings: str = ""
    network: str = ""
    pixels: int | None = None
    channels: int = 0


@dataclass(frozen=True)
class Sample:
    """A measurement.

    Attributes:
        kind: What was measured.
        images: Training images, on which the seconds of fit, score and time depend; for extract
            the images themselves.
        seconds: Of making all features or of the whole fit, and else per image.
        threads: Of the processor.
    """

    kind: Kind
    images: int
    seconds: float
    threads: int


@dataclass(frozen=True)
class Found:
    """Seconds, and the measurements that they come from."""

    seconds: Estimate
    samples: int
    own: bool
    """Whether they are of this machine."""
    how: str
    """How near the measured work is to the one in question."""


@dataclass(frozen=True)
class Place:
    """Where work is done: seconds of another processor or device say nothing about it."""

    processor: str
    device: str
    threads: int


class Rates:
    """What was measured here and elsewhere.

    Args:
        records: Those of the results folder; records of other machines are left out.
        here: Where the work is to be done.
        shipped: The file of rates; that of the package, unless a test has its own.
    """

    def __init__(self, records: Iterable[Record], here: Place, shipped: Path | None = None) -> None:
        self.here = here
        content: Any = OmegaConf.to_container(read_yaml(shipped or SHIPPED))
        self.machine: dict[str, Any] = dict(content["machine"])
        self.costs: dict[str, Any] = dict(content["costs"])
        self.more: dict[str, float] = dict(content["more"])
        """Class -> seconds of one more setting that shares a fit, in those of the first."""
        self._shipped = [_sample(row, int(self.machine["threads"])) for row in content["samples"]]
        self._own = [
            sample for record in records if _place(record) == here for sample in samples_of(record)
        ]

    @property
    def own(self) -> int:
        """Measurements of this machine."""
        return len(self._own)

    def of_shipped_machine(self) -> str:
        """The machine of the rates that ship with the package, in words."""
        machine = self.machine
        return f"{machine['processor']}, {_threads(int(machine['threads']))}, {machine['date']}"

    def cost(self, name: str) -> Estimate:
        """A cost that no record holds, such as ``seconds.metrics_per_megapixel``.

        Seconds are scaled to the threads of this run.
        """
        about, low, high = (float(value) for value in self.costs[name])
        found = Estimate(about, low, high)
        return self._on_threads(found, int(self.machine["threads"])) if "seconds" in name else found

    def seconds(self, kind: Kind, images: int) -> Found | None:
        """Seconds of a stage with so many images; None where nothing like it was measured.

        Measurements of this machine come first, then those that ship. Of each, the same settings
        on the same network come before other settings of the class, and these before other
        networks.
        """
        for level in (_same, _same_class):
            for own, samples in ((True, self._own), (False, self._shipped)):
                if found := self._of(kind, images, samples, own, level):
                    return found
        for own, samples in ((True, self._own), (False, self._shipped)):
            if found := self._elsewhere(kind, images, samples, own):
                return found
        return None

    def _of(
        self, kind: Kind, images: int, samples: Sequence[Sample], own: bool, level: "_Level"
    ) -> Found | None:
        fitting = [s for s in samples if level.alike(kind, s.kind)]
        if not fitting:
            return None
        seconds = _at(fitting, images)
        seconds = self._on_threads(seconds, fitting[0].threads)
        return Found(seconds, len(fitting), own, level.title)

    def _elsewhere(
        self, kind: Kind, images: int, samples: Sequence[Sample], own: bool
    ) -> Found | None:
        """From other networks or sizes: between unchanged and with the square of the values."""
        near = [s for s in samples if _other_network(kind, s.kind)]
        if not near:
            return None
        best = min(near, key=lambda s: abs(math.log(_values(kind) / _values(s.kind))))
        alike = [s for s in near if _values(s.kind) == _values(best.kind)]
        seconds = _at(alike, images)
        ratio = _values(kind) / _values(best.kind)
        power = 1 if kind.stage == "extract" else 2  # a network's work grows with the pixels
        ends = sorted((1.0, ratio**power))
        seconds = seconds.times(Estimate.between(*ends) if power == 2 else Estimate.exactly(ratio))
        seconds = self._on_threads(seconds, best.threads)
        return Found(seconds, len(alike), own, "another network or image size")

    def _on_threads(self, seconds: Estimate, measured: int) -> Estimate:
        """Between unchanged and inverse to the number of threads."""
        low, high = sorted((1.0, measured / self.here.threads))
        return seconds.times(Estimate.between(low, high))


@dataclass(frozen=True)
class _Level:
    """How near a measurement must be."""

    title: str
    with_settings: bool

    def alike(self, wanted: Kind, measured: Kind) -> bool:
        if not self.with_settings:
            wanted, measured = (replace(k, settings="") for k in (wanted, measured))
        wanted, measured = (replace(k, channels=0) for k in (wanted, measured))
        return wanted == measured


_same = _Level("the same settings", True)
_same_class = _Level("other settings of the method", False)


def by_images(points: Sequence[tuple[int, float]], images: int, steepest: float = 2.0) -> Estimate:
    """Seconds at a number of images, from those at others, by a power law.

    With two different numbers or more, the exponent is fitted, and the range is that of the points
    about it. With one, the exponent may be anything from 0 to ``steepest``.

    Args:
        points: Images and seconds, at least one pair.
        images: In question.
        steepest: The largest exponent.
    """
    counts = sorted({n for n, _ in points})
    logs = [(math.log(n), math.log(max(s, 1e-9))) for n, s in points]
    if len(counts) == 1:
        ratio = images / counts[0]
        grown = Estimate.between(*sorted((1.0, ratio**steepest)))
        return _around(logs, 0.0, 0.0).times(grown)
    x, y = (sum(axis) / len(logs) for axis in zip(*logs, strict=True))
    spread = sum((a - x) ** 2 for a, _ in logs)
    slope = sum((a - x) * (b - y) for a, b in logs) / spread
    slope = min(max(slope, 0.0), steepest)
    seconds = _around(logs, slope, math.log(images))
    outside = max(images / counts[-1], counts[0] / images, 1.0)
    beyond: float = outside**BEYOND
    return seconds.times(Estimate(1.0, 1 / beyond, beyond))


def by_line(points: Sequence[tuple[int, float]], images: int) -> Estimate:
    """Seconds at a number of images, from those at others, by a start and a time for each image.

    With one number of images nothing tells the start apart, and it is taken for none: the seconds
    are then rather too high for more images.

    Args:
        points: Images and seconds, at least one pair.
        images: In question.
    """
    x, y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((n - x) ** 2 for n, _ in points)
    slope = sum((n - x) * (s - y) for n, s in points) / spread if spread else 0.0
    start = y - slope * x
    if slope <= 0 or start < 0:
        slope, start = y / x, 0.0
    about = start + slope * images
    shares = [s / (start + slope * n) for n, s in points]
    return Estimate(about, about * min(shares), about * max(shares))


def samples_of(record: Record) -> list[Sample]:
    """The measurements that a record holds; those that were not taken alone are None there."""
    threads, counts = int(record.environment.get("threads") or 0), record.counts
    if not threads or "method" not in record.identity:  # the scores of another tool
        return []
    images = counts["train"] + counts["test"]
    found: list[tuple[Stage, int, float | None, int]] = [
        ("extract", images, record.seconds.get("extract"), 1),
        ("fit", counts["train"], record.seconds.get("fit"), 1),
        ("score", counts["train"], record.seconds.get("score"), counts["test"]),
        ("time", counts["train"], _timed(record), 1),
    ]
    channels = sum(record.channels.values())
    return [
        Sample(kind_of(record.identity, channels, stage), count, seconds / share, threads)
        for stage, count, seconds, share in found
        if seconds and share
    ]


def _at(samples: Sequence[Sample], images: int) -> Estimate:
    """Seconds of alike measurements at a number of images."""
    points, stage = [(s.images, s.seconds) for s in samples], samples[0].kind.stage
    if stage == "extract":
        return by_line(points, images)
    return by_images(points, images, STEEPEST[stage])


def _timed(record: Record) -> float | None:
    """Seconds that the clock takes for one image, from its file on."""
    total, decode = (record.time.get(name, {}).get("p50") for name in ("total", "decode"))
    return None if total is None else total + (decode or 0.0)


def kind_of(identity: dict[str, Any], channels: int, stage: Stage) -> Kind:
    """What the seconds of a stage depend on, from the identity of a record or of a detector.

    Args:
        identity: Its parts; only the settings that bear on the speed are read.
        channels: Of all layers together.
        stage: In question.
    """
    network, pixels = _network(identity.get("backbone", {})), _pixels(identity.get("geometry", {}))
    if stage == "extract":
        return Kind(stage, network=network, pixels=pixels)
    method = identity["method"]
    settings = digest(_unseeded(method.get("settings", {})))
    return Kind(stage, str(method["class"]), settings, network, pixels, channels)


def _network(backbone: dict[str, Any]) -> str:
    """A network with what bears on its speed; empty where there is none."""
    if "model" not in backbone:
        return ""
    words = (backbone["model"].partition(".")[0], backbone.get("precision"), backbone.get("engine"))
    return " ".join(str(word) for word in words if word)


def _unseeded(value: Any) -> Any:
    """Settings without their seeds, at any depth: a seed bears on no time."""
    if isinstance(value, dict):
        return {name: _unseeded(inner) for name, inner in value.items() if name != "seed"}
    return value


def _place(record: Record) -> Place:
    known = record.environment
    return Place(
        str(known.get("processor")), str(known.get("device")), int(known.get("threads") or 0)
    )


def _sample(row: dict[str, Any], threads: int) -> Sample:
    kind = Kind(**{name: row[name] for name in row if name not in ("images", "seconds")})
    return Sample(kind, int(row["images"]), float(row["seconds"]), threads)


def _pixels(geometry: dict[str, Any]) -> int | None:
    """Pixels of the network's input, where they follow from the geometry alone."""
    edge = geometry.get("crop") or geometry.get("resize")
    if isinstance(edge, int):
        return edge * edge if geometry.get("crop") else None
    return edge[0] * edge[1] if edge else None


def _other_network(wanted: Kind, measured: Kind) -> bool:
    if wanted.stage != measured.stage or wanted.method != measured.method:
        return False
    if wanted.stage == "extract" and wanted.network != measured.network:
        return False  # what one network takes says nothing about another
    return bool(_values(wanted) and _values(measured))


def _values(kind: Kind) -> float:
    """What the work per image is compared by: pixels, times channels where a method reads them."""
    channels = 1 if kind.stage == "extract" else kind.channels
    return float((kind.pixels or 0) * channels)


def _around(logs: Sequence[tuple[float, float]], slope: float, at: float) -> Estimate:
    """The mean of the points along a slope, and the lowest and highest of them."""
    moved = [b + slope * (at - a) for a, b in logs]
    ends = (sum(moved) / len(moved), min(moved), max(moved))
    return Estimate(*(math.exp(value) for value in ends))


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
