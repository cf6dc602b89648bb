"""Measured seconds of a stage, and what they depend on."""

from dataclasses import dataclass
from typing import Any, Literal

from adbench.results.record import Record
from adbench.system.settings import digest

Stage = Literal["extract", "fit", "score", "time"]


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


def _pixels(geometry: dict[str, Any]) -> int | None:
    """Pixels of the network's input, where they follow from the geometry alone."""
    edge = geometry.get("crop") or geometry.get("resize")
    if isinstance(edge, int):
        return edge * edge if geometry.get("crop") else None
    return edge[0] * edge[1] if edge else None
