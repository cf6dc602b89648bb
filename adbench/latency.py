"""The timing protocol: one image at a time from the decoded array on, never from cached features."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.core import STRICT, Backbone, Features, Method
from adbench.images import Geometry, read_image
from adbench.timing import stages, synchronise


@dataclass(frozen=True, config=STRICT)
class Protocol:
    """How time per image is measured."""

    enabled: bool = True
    """Whether to measure at all; under a launcher that runs jobs side by side it is never done."""
    warmup: Annotated[int, Field(ge=0)] = 5
    """Images before the clock counts."""
    repeats: Annotated[int, Field(ge=1)] = 30
    """Images timed one by one."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Images at once for the throughput."""


Times = dict[str, dict[str, float]]


def time_per_image(
    protocol: Protocol,
    paths: Sequence[Path],
    geometry: Geometry,
    backbone: Backbone,
    method: Method,
    source: str,
) -> Times:
    """Seconds per image and stage of a fitted method, from the decoded array on, one image at a time.

    Stages: ``decode`` (file to array, apart from the total), ``preprocess``, ``backbone``, ``score`` and inside it what the
    method names (``distance``, ``map``), ``total`` = preprocess + backbone + score, and ``batched``, the total per image
    in a batch of ``protocol.batch``. Never from cached features.

    Args:
        protocol: Warm-up, repeats and batch.
        paths: Test images; reused in turn where there are fewer than repeats.
        geometry: Prepares the images.
        backbone: Extracts what ``method`` reads.
        method: A fitted method.
        source: ``Features.source`` that the method was fitted on.

    Returns:
        Stage to ``{"p50": seconds, "p95": seconds}``.
    """
    layers = sorted(method.layers)
    seconds: dict[str, list[float]] = {}

    def once(chosen: Sequence[Path]) -> dict[str, float]:
        start = time.perf_counter()
        arrays = [read_image(path) for path in chosen]
        decoded = time.perf_counter()
        images = torch.from_numpy(np.stack([geometry.image(a) for a in arrays])).permute(0, 3, 1, 2)
        prepared = time.perf_counter()
        maps, vectors = backbone.extract(images, layers, method.needs_vectors)
        synchronise()
        extracted = time.perf_counter()
        size = (int(images.shape[-2]), int(images.shape[-1]))
        with stages() as inside:
            method.score(Features(maps, vectors, size, source=source))
        synchronise()
        end = time.perf_counter()
        parts = {"decode": decoded - start, "preprocess": prepared - decoded, "backbone": extracted - prepared}
        whole = {"score": end - extracted, "total": end - decoded}
        return {name: s / len(chosen) for name, s in {**parts, **inside, **whole}.items()}

    for repeat in range(-protocol.warmup, protocol.repeats):
        taken = once([paths[repeat % len(paths)]])
        if repeat >= 0:
            for name, value in taken.items():
                seconds.setdefault(name, []).append(value)
    seconds["batched"] = [once([paths[i % len(paths)] for i in range(protocol.batch)])["total"] for _ in range(3)]
    return {n: {"p50": float(np.percentile(v, 50)), "p95": float(np.percentile(v, 95))} for n, v in seconds.items()}
