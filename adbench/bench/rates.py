"""Measured seconds, bytes and sizes, and what they say about work that was not done yet.

The measurements are those of the records of this machine, and else those that ship with the
package, which ``scripts/measure_rates.py`` took. Nothing here is a guess: what was not measured has
no rate.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adbench.bench.growth import Estimate, by_images, by_line
from adbench.bench.samples import Kind, Sample, samples_of
from adbench.config.yaml_files import read_yaml
from adbench.results.record import Record

SHIPPED = Path(__file__).with_name("rates.yaml")
STEEPEST: dict[str, float] = {"fit": 2.0, "score": 1.0, "time": 1.0}
"""The largest exponent with which the seconds of a fit, and else those of one image, grow with the
number of training images."""


@dataclass(frozen=True)
class Found:
    """Seconds, and where they were measured."""

    seconds: Estimate
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
        return Found(seconds, own, level.title)

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
        return Found(seconds, own, "another network or image size")

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


def _at(samples: Sequence[Sample], images: int) -> Estimate:
    """Seconds of alike measurements at a number of images."""
    points, stage = [(s.images, s.seconds) for s in samples], samples[0].kind.stage
    if stage == "extract":
        return by_line(points, images)
    return by_images(points, images, STEEPEST[stage])


def _place(record: Record) -> Place:
    known = record.environment
    return Place(
        str(known.get("processor")), str(known.get("device")), int(known.get("threads") or 0)
    )


def _sample(row: dict[str, Any], threads: int) -> Sample:
    kind = Kind(**{name: row[name] for name in row if name not in ("images", "seconds")})
    return Sample(kind, int(row["images"]), float(row["seconds"]), threads)


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


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"
