"""Two settings on the same test images: the difference of their AUROCs, paired, and whether it exceeds the noise."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.stats import t as student
from tabulate import tabulate

from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.records import Record, RecordError, load_scores
from adbench.reports.matching import Found, by_category, seed, setting, setting_key
from adbench.statistics import (
    Difference,
    PixelPairs,
    Spread,
    mean_difference,
    mean_std,
    paired_auroc,
    paired_bootstrap,
)

METRICS = ("image_auroc", "pixel_auroc")

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


@dataclass(frozen=True)
class Comparison:
    """Two settings beside each other."""

    a: str
    b: str
    lines: dict[str, list[Line]]
    """By metric; the last line is the mean over the categories where there are several."""


def compare(a: str, b: str, folder: Path, records: Sequence[Record]) -> Comparison:
    """Compare two settings on the test images that both were measured on.

    Args:
        a: Overrides as for ``adbench run`` in one string, or the id of a record, which stands for its setting.
        b: The same. ``dataset=`` and ``dataset.categories=`` narrow the categories where they are given.
        folder: Where the records are.
        records: All of them.

    Raises:
        AdbenchError: A side has no record, no category is common, or the test images differ.
    """
    sides = [select(text, records) for text in (a, b)]
    pairs = common(sides[0], sides[1], a, b)
    lines = {metric: differences(pairs, metric, folder) for metric in METRICS}
    return Comparison(a, b, {metric: found for metric, found in lines.items() if found})


def select(text: str, records: Sequence[Record]) -> Found:
    """The records that a side of the comparison names.

    Raises:
        AdbenchError: No such record, a wrong override, or two records for one category and seed.
    """
    words = tuple(shlex.split(text))
    given = {word.partition("=")[0] for word in words}
    if len(words) == 1 and "=" not in text:
        named = next((r for r in records if r.id == text), None)
        if named is None:
            raise AdbenchError(f"{text!r} is neither overrides (key=value ...) nor the id of a record")
        name = named.identity["dataset"]["name"]
        chosen = [r for r in records if (setting_key(r), r.identity["dataset"]["name"]) == (setting_key(named), name)]
    else:
        wanted = setting(words)
        chosen = [r for r in records if wanted.measured(r) and ("dataset" not in given or wanted.on(r))]
    if "dataset.categories" in given and (categories := compose(words).dataset.categories) != "all":
        chosen = [r for r in chosen if r.category == categories or r.category in list(categories)]
    if not chosen:
        raise AdbenchError(f"no record of {text!r}; `adbench run {text}` measures it")
    return by_category(chosen)


def common(a: Found, b: Found, name_a: str, name_b: str) -> Pairs:
    """Category -> pairs of repeats: by seed, or each with the only one of a side that has no seed, or another.

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
        drawn = all("seed" in r.identity["method"]["settings"] for r in [*ours, *theirs])
        if 1 in (len(ours), len(theirs)) and not (drawn and pairs[category]):
            pairs[category] = [(one, other) for one in ours for other in theirs]
    pairs = {category: found for category, found in pairs.items() if found}
    if not pairs:
        raise NotPairedError(
            f"{name_a!r} has {sorted(a)} and {name_b!r} has {sorted(b)}: no category and seed in common"
        )
    return pairs


def differences(pairs: Pairs, metric: str, folder: Path) -> list[Line]:
    """One line per category and one for their mean; none where a side lacks the metric."""
    lines: list[Line] = []
    values: list[tuple[list[float], list[float]]] = []
    for category, repeats in pairs.items():
        if any(r.metrics.get(metric) is None for pair in repeats for r in pair):
            return []
        sides = ({r.id: r.metrics[metric] or 0.0 for r in side} for side in zip(*repeats, strict=True))
        a, b = (list(side.values()) for side in sides)
        paired = over_seeds([_paired(metric, one, other, folder) for one, other in repeats])
        lines.append(Line(category, mean_std(a), mean_std(b), paired))
        values.append((a, b))
    if len(lines) > 1:
        ours, theirs = (_mean(side) for side in zip(*values, strict=True))
        combined = mean_difference([line.difference for line in lines])
        lines.append(Line(f"mean of {len(lines)}", ours, theirs, combined))
    return lines


def over_seeds(repeats: Sequence[Difference]) -> Difference:
    """Mean over repeats on the same images; the interval covers the draw of the images and that of the seeds.

    The images are the same in every repeat: their share of the noise does not fall with the repeats, the seeds' does.
    """
    if len(repeats) == 1:
        return repeats[0]
    mean = mean_std([d.difference for d in repeats])
    drawn = float(student.ppf(0.975, mean.n - 1)) * (mean.std or 0.0) / math.sqrt(mean.n)
    low = mean.mean - math.hypot(fmean(d.difference - d.low for d in repeats), drawn)
    high = mean.mean + math.hypot(fmean(d.high - d.difference for d in repeats), drawn)
    return mean_difference([Difference(mean.mean, low, high, math.nan)])


def in_words(line: Line) -> str:
    """Whether the difference exceeds the noise."""
    d = line.difference
    if d.low <= 0 <= d.high:
        return "does not exceed the noise"
    return f"exceeds the noise, {'A' if d.difference > 0 else 'B'} is higher"


def to_markdown(comparison: Comparison) -> str:
    """A table per metric, in percent, with a sentence in each line."""
    text = ["# A against B", f"- A: `{comparison.a}`\n- B: `{comparison.b}`"]
    for metric, lines in comparison.lines.items():
        name, test = ("image AUROC", "DeLong") if metric == "image_auroc" else ("pixel AUROC", "bootstrap over images")
        rows = [
            [
                line.category,
                _spread(line.a),
                _spread(line.b),
                f"{100 * line.difference.difference:+.2f}",
                f"{100 * line.difference.low:+.2f} to {100 * line.difference.high:+.2f}",
                f"{line.difference.p:.4f}",
                in_words(line),
            ]
            for line in lines
        ]
        head = ["category", "A", "B", "A - B", "95% interval", "p", "the difference"]
        text += [f"## {name}, percent ({test}, paired)", tabulate(rows, head, "github", disable_numparse=True)]
        text.append(
            f"**Over all of it, the difference of {100 * lines[-1].difference.difference:+.2f} points {rows[-1][-1]}.**"
        )
    return "\n\n".join(text) + "\n"


def _mean(categories: Sequence[list[float]]) -> Spread:
    """Mean over categories, and its spread over the repeats where every category has as many."""
    if len({len(repeats) for repeats in categories}) == 1:
        return mean_std([fmean(values) for values in zip(*categories, strict=True)])
    return Spread(fmean(fmean(repeats) for repeats in categories), None, 1)


def _paired(metric: str, a: Record, b: Record, folder: Path) -> Difference:
    if metric == "pixel_auroc":
        return paired_bootstrap(_pixels(folder, a), _pixels(folder, b))
    ours, theirs = load_scores(folder, a), load_scores(folder, b)
    if [s.name for s in ours] != [s.name for s in theirs]:
        raise RecordError(f"{folder}: records {a.id} and {b.id} list different images; delete them and run again")
    labels = np.array([s.anomalous for s in ours])
    return paired_auroc(labels, np.array([s.score for s in ours]), np.array([s.score for s in theirs]))


def _pixels(folder: Path, record: Record) -> PixelPairs:
    path = folder / f"{record.id}.pixels.npz"
    try:
        with np.load(path) as arrays:
            return PixelPairs(arrays["concordant"], arrays["positives"], arrays["negatives"])
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(f"{path}: pixel counts cannot be read ({error}); delete the record and run again") from error


def _spread(value: Spread) -> str:
    sd = f" ± {100 * value.std:.2f} ({value.n})" if value.std is not None else ""
    return f"{100 * value.mean:.2f}{sd}"
