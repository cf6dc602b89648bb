"""Settings on the same test images: the paired differences of each metric that has a test.

The first setting is compared with each of the others. Where there are several others, the p values
of one metric and category are corrected by Holm's method.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.evaluation.metrics import METRICS
from adbench.evaluation.multiple import holm
from adbench.reports.completeness import lacking
from adbench.reports.given import names_tool, of_words, setting_words, tools_of
from adbench.reports.matching import Matching
from adbench.reports.needed import Stored, needed, of_the_setting_of, one_of_each
from adbench.reports.pairing import Line, common, differences
from adbench.reports.repeats import (
    SEED,
    Found,
    by_category,
    draws,
    random_weights,
    seed,
    setting_key,
)
from adbench.results.record import GIVEN, Record
from adbench.system.settings import digest

SIGNIFICANT = 0.05
"""A difference counts where its corrected p value is smaller."""
_PARTS = ("method", "backbone", "geometry")
_NAMED = 3
"""Settings that a message names."""


@dataclass(frozen=True)
class Compared:
    """A category, or the mean over several, and what the test says of it."""

    line: Line
    p: float
    """Corrected by Holm's method for the other sides; that of the line where there are none."""
    verdict: str
    """``A is higher``, ``B is higher``, ``inconclusive`` or ``equal``."""


@dataclass(frozen=True)
class Comparison:
    """The first setting beside the others."""

    sides: tuple[str, ...]
    lines: dict[str, dict[int, list[Compared]]]
    """By metric and place of the other side; the last line is the mean over the categories where
    there are several."""
    notes: tuple[str, ...]
    """What must be known of the records."""


def compare(sides: Sequence[str], folder: Path, records: Stored, configs: Configs) -> Comparison:
    """Compare the first setting with each other one, on the test images that both have.

    Args:
        sides: Two or more settings. Each is the words of ``adbench run`` in one string, the id of
            a record, which stands for its setting, or ``given=TOOL``, as
            ``adbench.reports.given`` reads it. ``dataset=`` and ``dataset.categories=`` narrow the
            categories where given.
        folder: Where the records are.
        records: All of them, or their folder.
        configs: Where presets are found.

    Raises:
        AdbenchError: Fewer than two sides, a side has no record, no category is common, or the test
            images differ.
    """
    if len(sides) < 2:
        raise AdbenchError(
            f"compare needs two settings or more, got {len(sides)}; put the words of each setting "
            "between quotes: compare 'method=padim' 'method=crd'"
        )
    found = [select(text, records, configs) for text in sides]
    pairs = {
        place: common(found[0], other, sides[0], sides[place])
        for place, other in enumerate(found)
        if place
    }
    lines: dict[str, dict[int, list[Compared]]] = {}
    for metric in METRICS:
        if metric.noise:
            each = {place: differences(pairs[place], metric.name, folder) for place in pairs}
            if any(each.values()):
                lines[metric.name] = _corrected({p: own for p, own in each.items() if own})
    return Comparison(tuple(sides), lines, tuple(_notes(sides, found)))


def select(text: str, records: Stored, configs: Configs) -> Found:
    """The records that a side of the comparison names.

    Raises:
        AdbenchError: No such record, a wrong override, two records for one category and seed, or a
            quote that is not closed.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:  # such as a quote that is not closed
        raise AdbenchError(f"{text!r}: {error}; write key=value words, as in a shell") from None
    given = {word.partition("=")[0] for word in words}
    if len(words) == 1 and "=" not in text:
        chosen = of_the_setting_of(text, records)
        if not chosen:
            raise AdbenchError(
                f"{text!r} is neither overrides (key=value ...) nor the id of a record"
            )
    elif names_tool(words):
        chosen = of_words(words, needed(records, (), tools_of(words)), configs)
        words = setting_words(words)
    else:
        matching = Matching((), configs)
        wanted = matching.setting(words)
        matching = matching.on(needed(records, [wanted]))
        chosen = measured = [r for r in matching.records if matching.measured(wanted, r)]
        if "dataset" in given:
            chosen = wanted.of_dataset(chosen)
        if SEED in given:
            named = configs.compose(words)[SEED]
            chosen = [r for r in chosen if not draws(r) or seed(r) == named]
    if "dataset.categories" in given:
        categories = configs.compose(words).dataset.categories
        if categories != "all":
            chosen = [r for r in chosen if r.category in (categories, *categories)]
    if not chosen:
        tool = names_tool(shlex.split(text))
        how = "score FOLDER name=TOOL" if tool else f"run {text}"
        near = "" if tool else _nearest(wanted.labels, measured, records)
        raise AdbenchError(f"no record of {text!r}; `adbench {how}` measures it{near}")
    return by_category(chosen)


def _nearest(labels: Mapping[str, str], measured: Sequence[Record], stored: Stored) -> str:
    """Which records have most presets of a setting, each combination of presets once.

    Args:
        labels: The presets of the setting.
        measured: The records of this very setting, which other words left out; they come first.
        stored: All records.
    """
    keys = {setting_key(record) for record in measured}

    def rank(record: Record) -> tuple[bool, int, str]:
        same = sum(record.labels.get(part) == labels.get(part) for part in _PARTS)
        return setting_key(record) not in keys, -same, record.name

    there: dict[str, str] = {}
    for record in sorted(one_of_each(stored), key=rank):
        presets = [f"{part}={record.labels[part]}" for part in _PARTS if part in record.labels]
        if not presets or GIVEN in record.identity:  # words of a run name no tool
            continue
        if setting_key(record) in keys:
            presets.append("with another dataset, category or seed")
        elif all(record.labels.get(part) == labels.get(part) for part in _PARTS):
            presets.append("with other settings")
        there.setdefault(" ".join(presets), record.id)
    some = [f"{presets} (id {id_})" for presets, id_ in list(there.items())[:_NAMED]]
    return f"; the nearest records are of {', '.join(some)}" if some else ""


def letter(place: int) -> str:
    """What a side is called: A, B, ..., Z, then A1 and so on."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def _corrected(each: dict[int, list[Line]]) -> dict[int, list[Compared]]:
    """The lines with their verdicts; a family of tests is one category against all other sides."""
    families: dict[str | None, dict[int, float]] = {}
    for place, lines in each.items():
        for name, line in _named(lines):
            families.setdefault(name, {})[place] = line.difference.p
    ps = {name: dict(zip(f, holm(list(f.values())), strict=True)) for name, f in families.items()}
    found: dict[int, list[Compared]] = {}
    for place, lines in each.items():
        for name, line in _named(lines):
            p = ps[name][place]
            found.setdefault(place, []).append(Compared(line, p, _verdict(line, p, letter(place))))
    return found


def _named(lines: Sequence[Line]) -> list[tuple[str | None, Line]]:
    """The lines with their categories; with None for the mean, as no category is called."""
    return [
        (None if i and i == len(lines) - 1 else line.category, line) for i, line in enumerate(lines)
    ]


def _verdict(line: Line, p: float, other: str) -> str:
    """Whether the difference exceeds the noise."""
    d = line.difference
    if d.difference == d.low == d.high == 0:
        return "equal"
    if d.low <= 0 <= d.high or p >= SIGNIFICANT:
        return "inconclusive"
    return f"{'A' if d.difference > 0 else other} is higher"


def _notes(sides: Sequence[str], found: Sequence[Found]) -> list[str]:
    """Weights that were never trained, other pixels, and categories without all of their images."""
    notes = []
    for place, categories in enumerate(found):
        if any(random_weights(r) for repeats in categories.values() for r in repeats):
            notes.append(
                f"**{letter(place)} was measured with random weights: its accuracies say nothing "
                "about the setting.**"
            )
    for place, categories in enumerate(found[1:], start=1):
        ours, theirs = _pixels(found[0]), _pixels(categories)
        if ours and theirs and ours.isdisjoint(theirs):
            notes.append(
                f"**A and {letter(place)} have other geometries, so that their pixel metrics are "
                "of other pixels.**"
            )
    incomplete = [lacking(repeats) for categories in found for repeats in categories.values()]
    notes += [f"**Incomplete: {words}.**" for words in dict.fromkeys(filter(None, incomplete))]
    return notes


def _pixels(found: Found) -> set[str]:
    """Where pixels were compared, in as many geometries as there are."""
    return {
        digest({n: v for n, v in geometry.items() if n != "interpolation"})
        for repeats in found.values()
        for record in repeats
        if (geometry := record.identity.get("geometry")) is not None
    }
