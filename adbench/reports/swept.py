"""Records as points of a curve: which settings vary, which is the axis, which tell lines apart."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.repeats import SEED, settings_shared
from adbench.results.records import Record
from adbench.results.sweep import Jobs

CATEGORY = "category"
METHOD = "method"
_NOT_COUNTED = ("seed", "results", "cache", "heatmaps", "threads", "batch")


@dataclass(frozen=True)
class Point:
    """A record and the settings that name it."""

    settings: dict[str, str]
    record: Record


def of_jobs(jobs: Jobs) -> list[Point]:
    """The records of a sweep, named by the overrides that vary in it."""
    return [
        Point({n: v for n, v in overrides.items() if n not in _NOT_COUNTED}, record)
        for overrides, records in jobs
        for record in records
    ]


def of_records(records: Sequence[Record], x: str, configs: Configs) -> list[Point]:
    """Records that have the setting ``x``, named by ``x`` and by what else varies among them.

    Args:
        records: Those to draw.
        x: A setting such as ``method.ratio``, or a word that stands for one, such as ``method.k``.
        configs: Where presets are found.

    Raises:
        AdbenchError: No record has the setting.
    """
    settings = {record.id: settings_of(record) for record in records}
    found: list[tuple[Record, str]] = []
    for record in records:
        names = [x, *_behind(x, record, configs)]
        value = next((settings[record.id][n] for n in names if n in settings[record.id]), None)
        if value is not None:
            for name in names:
                settings[record.id].pop(name, None)
            found.append((record, value))
    if not found:
        known = sorted({name for own in settings.values() for name in own})
        raise AdbenchError(f"--x {x}: no record has this setting; there are {', '.join(known)}")
    varying = _varying([settings[record.id] for record, _ in found])
    return [
        Point({x: value, **{n: v for n, v in settings[r.id].items() if n in varying}}, r)
        for r, value in found
    ]


def narrowed(records: Sequence[Record], words: Sequence[str], configs: Configs) -> list[Record]:
    """The records whose presets and settings are those of the words, such as ``method=padim``.

    Raises:
        AdbenchError: A word that no record has, with the values that there are.
    """
    chosen = list(records)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise AdbenchError(f"{word}: with --x or sweep=DIR, words are settings: key=value")
        wanted = (
            {text.strip() for text in value.strip("[]").split(",")}
            if key.endswith("categories")
            else {value}
        )
        values = {record.id: _value(key, record, configs) for record in chosen}
        if not wanted & set(values.values()):
            there = ", ".join(sorted({v for v in values.values() if v is not None})) or "none"
            raise AdbenchError(f"{word}: no record has it; of {key} there are: {there}")
        chosen = [record for record in chosen if values[record.id] in wanted]
    return chosen


def settings_of(record: Record) -> dict[str, str]:
    """The presets and all settings of a record by name, such as ``method.ratio``, as text."""
    found = dict(record.labels)
    for part, content in settings_shared(record).items():
        own = content.get("settings", content) if isinstance(content, dict) else {}
        found |= texts_of(part, own)
    return found


def texts_of(part: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a part by name, such as ``method.ratio``, as one types them; no seeds."""
    return {".".join([part, *keys]): _text(value) for keys, value in _leaves(settings)}


def axis_of(points: Sequence[Point], chosen: str | None) -> str:
    """The setting on the axis: the chosen one, or the number with the most values.

    Raises:
        AdbenchError: It does not vary.
    """
    values: dict[str, list[str]] = {}
    for point in points:
        for name, value in point.settings.items():
            values.setdefault(name, []).append(value)
    if chosen is not None:
        if chosen not in values:
            raise AdbenchError(
                f"--x {chosen}: it does not vary in this sweep; what does is "
                f"{', '.join(values) or 'nothing'}"
            )
        return chosen
    if not values:
        raise AdbenchError("nothing but the seed varies in this sweep, so there is no curve")
    return max(values, key=lambda n: (as_numbers(values[n]) is not None, len({*values[n]})))


def as_numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers; None where one of them is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def line_names(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """A name for each line: what varies among all, and what varies among those of its method."""
    names = []
    for line in lines:
        same = [other for other in lines if other.get(METHOD) == line.get(METHOD)]
        presets = [n for n in line if "." not in n and n in _varying(lines)]
        settings = [n for n in line if "." in n and n in _varying(same)]
        parts = [line[n] for n in presets]
        parts += [f"{n.rsplit('.', 1)[-1]} {line[n]}" for n in settings]
        names.append(", ".join(parts))
    return names


def _varying(settings: Sequence[Mapping[str, str]]) -> set[str]:
    """The names that have several values; where a setting is not read, it has none."""
    names = {name for own in settings for name in own}
    return {name for name in names if len({own[name] for own in settings if name in own}) > 1}


def _value(key: str, record: Record, configs: Configs) -> str | None:
    if key in (CATEGORY, "dataset.categories"):
        return record.category
    own = settings_of(record)
    return next((own[n] for n in (key, *_behind(key, record, configs)) if n in own), None)


def _behind(key: str, record: Record, configs: Configs) -> list[str]:
    """The settings that a word of the record's preset stands for."""
    part, _, word = key.partition(".")
    label = record.labels.get(part)
    if not word or label not in configs.choices(part):
        return []
    raw = OmegaConf.to_container(configs.read(part, label), resolve=False)
    refers = re.compile(rf"\$\{{(\.+|{re.escape(part)}\.){re.escape(word)}\}}")
    leaves = _leaves(raw if isinstance(raw, dict) else {})
    return [".".join([part, *k]) for k, v in leaves if isinstance(v, str) and refers.fullmatch(v)]


def _leaves(node: Mapping[Any, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*at, str(name)))
        elif name != SEED:
            yield [*at, str(name)], value


def _text(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
