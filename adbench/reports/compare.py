"""Two settings on the same test images: the paired difference of each metric that has a test."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.evaluation.intervals import Spread
from adbench.evaluation.metrics import METRICS
from adbench.reports.matching import Matching
from adbench.reports.pairing import Line, common, differences
from adbench.reports.repeats import Found, by_category, setting_key
from adbench.results.records import Record


@dataclass(frozen=True)
class Comparison:
    """Two settings beside each other."""

    a: str
    b: str
    lines: dict[str, list[Line]]
    """By metric; the last line is the mean over the categories where there are several."""


def compare(
    a: str, b: str, folder: Path, records: Sequence[Record], configs: Configs
) -> Comparison:
    """Compare two settings on the test images that both were measured on.

    Args:
        a: Words of ``adbench run`` in one string, or the id of a record, which stands for its
            setting.
        b: The same. ``dataset=`` and ``dataset.categories=`` narrow the categories where given.
        folder: Where the records are.
        records: All of them.
        configs: Where presets are found.

    Raises:
        AdbenchError: A side has no record, no category is common, or the test images differ.
    """
    sides = [select(text, records, configs) for text in (a, b)]
    pairs = common(sides[0], sides[1], a, b)
    lines = {m.name: differences(pairs, m.name, folder) for m in METRICS if m.noise}
    return Comparison(a, b, {metric: found for metric, found in lines.items() if found})


def select(text: str, records: Sequence[Record], configs: Configs) -> Found:
    """The records that a side of the comparison names.

    Raises:
        AdbenchError: No such record, a wrong override, or two records for one category and seed.
    """
    words = tuple(shlex.split(text))
    given = {word.partition("=")[0] for word in words}
    if len(words) == 1 and "=" not in text:
        named = next((r for r in records if r.id == text), None)
        if named is None:
            raise AdbenchError(
                f"{text!r} is neither overrides (key=value ...) nor the id of a record"
            )
        key = setting_key(named), _dataset(named)
        chosen = [r for r in records if (setting_key(r), _dataset(r)) == key]
    else:
        matching = Matching(records, configs)
        wanted = matching.setting(words)
        chosen = [r for r in records if matching.measured(wanted, r)]
        if "dataset" in given:
            chosen = [r for r in chosen if r.labels.get("dataset") == wanted.labels["dataset"]]
    if "dataset.categories" in given:
        categories = configs.compose(words).dataset.categories
        if categories != "all":
            chosen = [r for r in chosen if r.category in (categories, *categories)]
    if not chosen:
        raise AdbenchError(f"no record of {text!r}; `adbench run {text}` measures it")
    return by_category(chosen)


def in_words(line: Line) -> str:
    """Whether the difference exceeds the noise."""
    d = line.difference
    if d.low <= 0 <= d.high:
        return "does not exceed the noise"
    return f"exceeds the noise, {'A' if d.difference > 0 else 'B'} is higher"


def to_markdown(comparison: Comparison) -> str:
    """A table per metric, in percent, with a sentence in each line."""
    text = ["# A against B", f"- A: `{comparison.a}`\n- B: `{comparison.b}`"]
    for metric in METRICS:
        lines = comparison.lines.get(metric.name)
        if metric.noise is None or not lines:
            continue
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
        text += [
            f"## {metric.title}, percent ({metric.noise.method}, paired)",
            tabulate(rows, head, "github", disable_numparse=True),
        ]
        points = f"{100 * lines[-1].difference.difference:+.2f} points"
        text.append(f"**Over all of it, the difference of {points} {rows[-1][-1]}.**")
    return "\n\n".join(text) + "\n"


def _dataset(record: Record) -> str | None:
    return record.labels.get("dataset")


def _spread(value: Spread) -> str:
    sd = f" ± {100 * value.std:.2f} ({value.n})" if value.std is not None else ""
    return f"{100 * value.mean:.2f}{sd}"
