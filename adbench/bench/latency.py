"""The timing protocol: one image at a time from the decoded array on, never from kept features."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.images import read_image
from adbench.data.samples import Images
from adbench.detectors.detector import Detector
from adbench.system.settings import STRICT
from adbench.system.stages import stages

Times = dict[str, dict[str, float]]
"""Stage -> ``p50`` and ``p95`` in seconds per image."""


@dataclass(frozen=True, config=STRICT)
class Protocol:
    """How time per image is measured."""

    enabled: bool = True
    """Whether to measure; under a launcher that runs jobs side by side it is never done."""
    warmup: Annotated[int, Field(ge=0)] = 5
    """Images before the clock counts."""
    repeats: Annotated[int, Field(ge=1)] = 30
    """Images timed one by one."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Images at once for the throughput."""


def time_per_image(protocol: Protocol, paths: Sequence[Path], detector: Detector) -> Times:
    """Seconds per image and stage of a fitted detector.

    Stages: ``decode`` (file to array, apart from the total), those that the detector names, such as
    ``preprocess``, ``backbone`` and ``score``, ``total`` (from the decoded array to the scores) and
    ``batched``, the total per image in a batch of ``protocol.batch``.

    Args:
        protocol: Warm-up, repeats and batch.
        paths: Test images; used again in turn where there are fewer than repeats.
        detector: Fitted.
    """
    seconds: dict[str, list[float]] = {}
    for repeat in range(-protocol.warmup, protocol.repeats):
        taken = _once([paths[repeat % len(paths)]], detector)
        if repeat >= 0:
            for name, value in taken.items():
                seconds.setdefault(name, []).append(value)
    batch = [paths[i % len(paths)] for i in range(protocol.batch)]
    seconds["batched"] = [_once(batch, detector)["total"] for _ in range(3)]
    return {
        name: {"p50": float(np.percentile(v, 50)), "p95": float(np.percentile(v, 95))}
        for name, v in seconds.items()
    }


def _once(paths: Sequence[Path], detector: Detector) -> dict[str, float]:
    """Stage -> seconds per image of scoring these images together."""
    start = time.perf_counter()
    images = Images(arrays=tuple(read_image(path) for path in paths))
    decoded = time.perf_counter()
    with stages(detector.wait) as inside:
        detector.score(images)
        detector.wait()
    total = time.perf_counter() - decoded
    whole = {"decode": decoded - start, **inside, "total": total}
    return {name: value / len(paths) for name, value in whole.items()}
