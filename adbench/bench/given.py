"""The record of maps and scores that another tool made: measured here, and nothing else."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adbench.bench.category import Category
from adbench.bench.doubts import Maps, Sign, of_maps, of_scores
from adbench.bench.origins import origins
from adbench.data.geometry import Geometry
from adbench.data.images import image_size
from adbench.data.map_files import read_map
from adbench.data.samples import Dataset
from adbench.errors import AdbenchError
from adbench.evaluation.measure import measure
from adbench.evaluation.pairs import PixelPairs
from adbench.results.record import GIVEN
from adbench.results.records import ImageScore, Record
from adbench.system import machine
from adbench.system.settings import digest, settings_of

NOTHING_RAN = "the maps and scores were given, so that adbench ran no detector"
"""Why a record has no times and no sizes."""
ABSENT = (
    *("time", "seconds.extract", "seconds.fit", "seconds.score", "memory.peak", "memory.state"),
    "threshold",
)
"""What a record has not for this reason."""
ASPECT = 0.02
"""Share by which the aspect of a map may differ from that of its image before this is noted."""


@dataclass(frozen=True)
class Tool:
    """Whose maps and scores these are, and how they are to be read."""

    name: str
    version: str
    note: str = ""
    """What else tells this setting of the tool from others, such as its weights."""
    sign: Sign = "higher"
    """Which values are more anomalous."""
    covers: Literal["image", "crop"] = "image"
    """What a map shows: the whole image, or what the geometry's crop leaves of it."""
    milliseconds: float | None = None
    """Per image, as the user says it."""


@dataclass(frozen=True)
class Files:
    """What was given for a category, in the order of its test images."""

    maps: Sequence[Path] | None
    scores: Sequence[float] | None
    """None: the largest value of each map is the score of its image."""


@dataclass(frozen=True)
class Given:
    """The maps and scores of a category, read and not yet measured."""

    tool: Tool
    files: Files
    category: Category
    geometry: Geometry
    maps: Maps | None
    scores: np.ndarray
    """(n,) float, higher is more anomalous."""
    record: Record
    """With the identity and without any number."""


def read(
    tool: Tool,
    files: Files,
    category: Category,
    geometry: Geometry,
    dataset: Dataset,
    labels: dict[str, str],
) -> Given:
    """Read what was given for a category.

    Args:
        tool: Whose it is.
        files: What was given.
        category: The images with their ground truth.
        geometry: Says where pixels are compared.
        dataset: That the category is of.
        labels: The names of the presets of dataset and geometry.

    Raises:
        AdbenchError: Neither maps nor scores, a map that cannot be used, or maps of which each has
            one value alone.
    """
    if files.maps is None and files.scores is None:
        raise AdbenchError("there are neither maps nor scores")
    maps = None if files.maps is None else _read(tool, files.maps, category, geometry)
    if files.scores is not None:
        scores = (1 if tool.sign == "higher" else -1) * np.array(files.scores, np.float64)
    else:
        scores = np.array(maps.highest if maps else [])
    identity = {
        "dataset": {"name": dataset.name, "fingerprint": category.fingerprint},
        "category": category.name,
        "geometry": settings_of(geometry),
        GIVEN: _identity(tool, files, maps, category),
    }
    environment = machine.describe("cpu")
    versions = environment["versions"] | origins(dataset, identity)
    record = Record(
        identity=identity,
        labels={**labels, "method": tool.name, "backbone": GIVEN},
        counts=category.counts,
        metrics={},
        reasons=dict.fromkeys(ABSENT, NOTHING_RAN),
        seconds={"extract": None, "fit": None, "score": None},
        memory={"peak": None, "state": None},
        given={} if tool.milliseconds is None else {"milliseconds": tool.milliseconds},
        environment={**environment, "versions": versions},
        notes=_notes(tool, files),
    )
    return Given(tool, files, category, geometry, maps, scores, record)


def measured(
    given: Given,
) -> tuple[Record, list[ImageScore], PixelPairs | None, list[str]]:
    """Measure what was given.

    Returns:
        The record, the score of every image, the pixel counts, and what the user should doubt.
    """
    category, geometry, maps = given.category, given.geometry, given.maps
    why = "no maps were given" if maps is None else category.why_no_masks()
    masks = None
    if maps is not None and why is None:
        height, width = maps.placed[0].shape
        masks = category.masks(geometry, (height, width))
    found = measure(category.labels, given.scores, masks, maps.placed if maps else None, why)
    left_out = category.left_out(geometry, with_masks=masks is not None)
    doubts = [*of_maps(maps), *of_scores(given.tool.sign, found, given.scores)]
    record = replace(
        given.record,
        left_out=left_out.facts(),
        metrics=found.values,
        intervals=found.intervals,
        reasons={**given.record.reasons, **found.reasons},
        notes=[*given.record.notes, *category.notes(left_out.unmarked), *doubts],
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    rows = [
        ImageScore(sample.name, sample.defect, sample.anomalous, score)
        for sample, score in zip(category.split.test, given.scores.tolist(), strict=True)
    ]
    return record, rows, found.pairs, doubts


def _identity(tool: Tool, files: Files, maps: Maps | None, category: Category) -> dict[str, Any]:
    """All that bears on the numbers: whose they are, the content, and how it is read."""
    names = [sample.name for sample in category.split.test]
    content = {
        "maps": None if maps is None else dict(zip(names, maps.sha256, strict=True)),
        "scores": None if files.scores is None else dict(zip(names, files.scores, strict=True)),
    }
    return {
        "name": tool.name,
        "version": tool.version,
        **({"note": tool.note} if tool.note else {}),
        "rule": {
            "maps": None if maps is None else f"of the {tool.covers}, resized bilinearly",
            "scores": "maximum of the map" if files.scores is None else "given",
            "more anomalous": tool.sign,
        },
        "sha256": digest(content, length=64),
    }


def _read(tool: Tool, paths: Sequence[Path], category: Category, geometry: Geometry) -> Maps:
    """Read and place the maps of the test images."""
    maps = Maps()
    for path, sample in zip(paths, category.split.test, strict=True):
        file, size = read_map(path), image_size(sample.path)
        values = file.values if tool.sign == "higher" else -file.values
        shows = size if tool.covers == "image" else geometry.size_of(size)
        if abs(values.shape[0] * shows[1] / (values.shape[1] * shows[0]) - 1) > ASPECT:
            maps.stretched.append(((values.shape[0], values.shape[1]), shows))
        maps.placed.append(geometry.map_of(values, size, tool.covers == "crop"))
        maps.sha256.append(file.sha256)
        maps.lowest.append(float(values.min()))
        maps.highest.append(float(values.max()))
    if maps.lowest == maps.highest:
        raise AdbenchError(
            "every map has one value alone; give maps of the anomaly score of each pixel, or "
            "scores without maps"
        )
    return maps


def _notes(tool: Tool, files: Files) -> list[str]:
    """What a record says of the tool."""
    what = (
        f"maps and scores of {tool.name} {tool.version}"
        if files.maps and files.scores
        else (
            f"maps of {tool.name} {tool.version}, whose largest value is the score of an image"
            if files.maps
            else f"scores of {tool.name} {tool.version}"
        )
    )
    notes = [f"measured from {what}{f' ({tool.note})' if tool.note else ''}"]
    if tool.milliseconds is not None:
        notes.append(
            f"its user says that it takes {tool.milliseconds:g} ms per image, which was not "
            "measured here"
        )
    return notes
