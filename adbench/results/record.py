"""The record: what one run on one category found, and what names it."""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from adbench.system.settings import digest

SCHEMA = 2
"""Raised when the meaning of a record's fields or of the numbers in them changes."""
GIVEN = "given"
"""The part of an identity that names the tool whose maps and scores were given."""


@dataclass(frozen=True)
class Record:
    """One category under one setting. Metrics are fractions, times are seconds, sizes are bytes."""

    identity: dict[str, Any]
    """dataset {name, fingerprint}, category, and what the detector says of itself: every resolved
    setting that bears on the numbers. Two runs with the same identity are the same experiment."""
    labels: dict[str, str]
    """The names of the presets as the user chose them: dataset, geometry, backbone, method."""
    counts: dict[str, int]
    """Images: train, test, and the anomalous ones among the test images."""
    metrics: dict[str, float | None]
    """Every metric of ``adbench.evaluation.metrics.METRICS``; None where it is undefined."""
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    """95% intervals [low, high] of the metrics that have one."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a value is None or absent: by metric, by field ("time") or by place ("seconds.fit")."""
    threshold: dict[str, Any] = field(default_factory=dict)
    """kind (train, folds, or file: that of a saved detector), value, and what it gives on the test
    images: false_positive_rate and true_positive_rate with their exact 95% intervals,
    false_positive_interval and true_positive_interval. But for train also alpha, promised {n, mean,
    low, high} (the false alarm rate on new normal images, with its 95% interval over the n training
    images drawn), and pixel_value: as seldom does any pixel of a normal image exceed it."""
    folds: dict[str, Any] = field(default_factory=dict)
    """wanted and number of the folds that were made, seed of their draw, and seconds of their fits
    and scores; None with a reason where these served other settings too."""
    seconds: dict[str, float | None] = field(default_factory=dict)
    """extract (decode and backbone, all images), fit and score (all test images), each measured
    alone; None with a reason where it was not."""
    time: dict[str, dict[str, float]] = field(default_factory=dict)
    """One image at a time: stage -> p50 and p95 in seconds, by the protocol of
    ``adbench.bench.latency``."""
    memory: dict[str, int | None] = field(default_factory=dict)
    """peak: highest resident memory of the process, where this was measured alone; state: what the
    detector learned."""
    given: dict[str, Any] = field(default_factory=dict)
    """What a user says of another tool whose maps and scores were given: milliseconds per image.
    It was not measured here, and no column of times holds it."""
    work: dict[str, Any] = field(default_factory=dict)
    """Multiply-adds per patch of the distance stage, and the same of rivals timed beside it, where
    the method gives them."""
    weights: dict[str, Any] = field(default_factory=dict)
    """Where the backbone's weights come from: setting (pretrained, random, package:NAME or the name
    of a file), name and seed. The sha256 in the identity says what they are."""
    left_out: dict[str, Any] = field(default_factory=dict)
    """What the geometry leaves out of the test images: ``area`` and ``marked``, shares of the area
    and of the pixels that the masks mark (None without such), and ``images``, the names of the
    anomalous ones of which no marked pixel is left. Empty in records of earlier versions."""
    channels: dict[str, int] = field(default_factory=dict)
    """Pyramid level -> channels of the backbone's map there, for the levels that were read."""
    environment: dict[str, Any] = field(default_factory=dict)
    """device, threads, versions, commit."""
    notes: list[str] = field(default_factory=list)
    """What the method or the data had to be adapted in."""
    date: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of the files beside the record, by suffix; ``save`` fills it in."""

    @property
    def id(self) -> str:
        """Hash of the identity."""
        return identity_id(self.identity)

    @property
    def category(self) -> str:
        """The category measured."""
        return str(self.identity["category"])

    @property
    def name(self) -> str:
        """The name of its files, without a suffix; safe on every file system."""
        return name_of(self.identity, self.labels)


def identity_id(identity: dict[str, Any]) -> str:
    """The id of the record of an experiment."""
    return digest({"schema": SCHEMA, **identity}, length=16)


def name_of(identity: dict[str, Any], labels: dict[str, str]) -> str:
    """The name of a record's files, without a suffix, for an experiment and its presets."""
    dataset = labels.get("dataset", identity.get("dataset", {}).get("name", ""))
    rest = (labels[part] for part in ("method", "backbone") if part in labels)
    parts = map(safe_name, (dataset, str(identity["category"]), *rest))
    return "-".join([*parts, identity_id(identity)])


def to_json(record: Record) -> str:
    """The text of a record's file, with a checksum of its content."""
    content = {"schema": SCHEMA, "id": record.id, **_rounded(asdict(record))}
    content["checksum"] = digest(content)
    return json.dumps(content, indent=1) + "\n"


def _rounded(value: Any) -> Any:
    """Floats to 6 places, so that a repeated run leaves the same text; non-finite ones as None."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        exact = ("identity", "threshold")  # a threshold may be far below a millionth
        return {k: (v if k in exact else _rounded(v)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def safe_name(name: str, length: int = 40) -> str:
    """A part of a file name: ASCII letters, digits, dots and underscores, or hyphens inside."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:length].strip("._-") or "unnamed"
