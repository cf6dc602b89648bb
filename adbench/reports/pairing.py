"""Pairs of records on the same test images, and the difference of a metric between their sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from adbench.errors import AdbenchError
from adbench.evaluation.intervals import (
    Difference,
    Spread,
    mean_difference,
    mean_std,
    student_quantile,
)
from adbench.evaluation.metrics import METRICS, Metric
from adbench.reports.repeats import Found, draws, seed
from adbench.results import raw
from adbench.results.records import Record, RecordError, load_pixels, load_scores

Pairs = dict[str, list[tuple[Record, Record]]]
"""Category -> records of both sides, on the same images."""


class NotPairedError(AdbenchError):
    """Two settings that were not measured on the same images."""


@dataclass(frozen=True)
class Line:
    """One category, or the mean over all of them; fractions."""

    category: str
    a: Spread
    b: Spread
    difference: Difference
    images: int
    """Test images that it rests on."""


def common(a: Found, b: Found, name_a: str, name_b: str) -> Pairs:
    """Category -> pairs of repeats, by seed.

    Where one side has a single repeat that has no seed, or another one, it is paired with each of
    the other side.

    Raises:
        NotPairedError: No category and seed in common, or other images.
    """
    pairs: Pairs = {}
    for category in a:
        ours, theirs = a[category], b.get(category, [])
        if not theirs:
            continue
        images = {r.identity["dataset"]["fingerprint"] for r in [*ours, *theirs]}
        if len(images) > 1:
            raise NotPairedError(
                f"{category}: {name_a!r} and {name_b!r} were measured on different images "
                f"({' and '.join(sorted(images))}); a paired comparison needs the same ones"
            )
        by_seed = {seed(r): r for r in theirs}
        pairs[category] = [(r, by_seed[seed(r)]) for r in ours if seed(r) in by_seed]
        drawn = all(draws(r) for r in [*ours, *theirs])
        if 1 in (len(ours), len(theirs)) and not (drawn and pairs[category]):
            pairs[category] = [(one, other) for one in ours for other in theirs]
    pairs = {category: found for category, found in pairs.items() if found}
    if not pairs:
        raise NotPairedError(
            f"{name_a!r} has {sorted(a)} and {name_b!r} has {sorted(b)}: "
            "no category and seed in common"
        )
    return pairs


def differences(pairs: Pairs, metric: str, folder: Path) -> list[Line]:
    """One line per category and one for their mean; none where a side lacks the metric."""
    chosen = next(m for m in METRICS if m.name == metric)
    if chosen.noise is None:
        raise AdbenchError(
            f"{metric} has no paired test, so that two settings cannot be compared in it"
        )
    lines: list[Line] = []
    values: list[tuple[list[float], list[float]]] = []
    for category, repeats in pairs.items():
        if any(r.metrics.get(metric) is None for pair in repeats for r in pair):
            return []
        sides = (
            {r.id: r.metrics[metric] or 0.0 for r in side} for side in zip(*repeats, strict=True)
        )
        a, b = (list(side.values()) for side in sides)
        paired = over_seeds([_paired(chosen, one, other, folder) for one, other in repeats])
        images = repeats[0][0].counts["test"]
        lines.append(Line(category, mean_std(a), mean_std(b), paired, images))
        values.append((a, b))
    if len(lines) > 1:
        ours, theirs = (_mean(side) for side in zip(*values, strict=True))
        combined = mean_difference([line.difference for line in lines])
        images = sum(line.images for line in lines)
        lines.append(Line(f"mean of {len(lines)}", ours, theirs, combined, images))
    return lines


def over_seeds(repeats: Sequence[Difference]) -> Difference:
    """Mean over repeats on the same images.

    The interval covers the draw of the images and that of the seeds. The images are the same in
    every repeat: their share of the noise does not fall with the repeats, the seeds' does.
    """
    if len(repeats) == 1:
        return repeats[0]
    mean = mean_std([d.difference for d in repeats])
    drawn = student_quantile(0.975, mean.n - 1) * (mean.std or 0.0) / math.sqrt(mean.n)
    low = mean.mean - math.hypot(fmean(d.difference - d.low for d in repeats), drawn)
    high = mean.mean + math.hypot(fmean(d.high - d.difference for d in repeats), drawn)
    return mean_difference([Difference(mean.mean, low, high, math.nan)])


def _mean(categories: Sequence[list[float]]) -> Spread:
    """Mean over categories, and its spread over the repeats where every category has as many."""
    if len({len(repeats) for repeats in categories}) == 1:
        return mean_std([fmean(values) for values in zip(*categories, strict=True)])
    return Spread(fmean(fmean(repeats) for repeats in categories), None, 1)


def _paired(metric: Metric, a: Record, b: Record, folder: Path) -> Difference:
    noise = metric.noise
    assert noise is not None
    if metric.level == "pixel":
        return noise.paired(load_pixels(folder, a), load_pixels(folder, b))
    ours, theirs = load_scores(folder, a), load_scores(folder, b)
    if [s.name for s in ours] != [s.name for s in theirs]:
        raise RecordError(
            f"{folder}: records {a.id} and {b.id} list different images; move them out of "
            "the folder and run again"
        )
    labels, scores = raw.arrays(ours)
    return noise.paired(labels, scores, raw.arrays(theirs)[1])
