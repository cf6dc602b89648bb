"""The settings that a page shows: records that differ in seed and category alone, with names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adbench.reports.repeats import Found, by_category, setting_key
from adbench.reports.swept import settings_of
from adbench.results.records import Record

PRESETS = ("method", "backbone", "geometry")
"""What names a setting, in this order; the dataset has a column of its own."""
USUAL = 2 / 3
"""A value that this share of the settings has is not said, where a name can do without it."""


@dataclass(frozen=True)
class Subject:
    """A setting on a dataset."""

    key: str
    """The same on every dataset."""
    name: str
    """Short, and unlike that of any other setting."""
    dataset: str
    method: str
    backbone: str
    found: Found


def subjects(records: Sequence[Record]) -> list[Subject]:
    """The settings of the records, by dataset, method and name.

    Raises:
        AdbenchError: Two records claim one category and seed of a setting.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((dataset_of(record), setting_key(record)), []).append(record)
    names = _names({key: own[0] for (_, key), own in groups.items()})
    made = [
        Subject(
            key,
            names[key],
            dataset,
            own[0].labels.get("method", "unnamed"),
            own[0].labels.get("backbone", ""),
            by_category(own),
        )
        for (dataset, key), own in groups.items()
    ]
    return sorted(made, key=lambda s: (s.dataset, s.method, s.name))


def dataset_of(record: Record) -> str:
    """The name of the dataset's preset."""
    return record.labels.get("dataset", str(record.identity["dataset"]["name"]))


def told(record: Record) -> dict[str, str]:
    """Presets and settings by name; the weights by the word that chose them, not their sha256."""
    settings = {n: v for n, v in settings_of(record).items() if not n.endswith("sha256")}
    weights = record.weights.get("setting")
    return settings if weights is None else {**settings, "backbone.weights": str(weights)}


def machines_of(records: Iterable[Record]) -> set[str]:
    """The processors, devices and numbers of threads with which times were taken."""
    return {machine_of(record) for record in records if record.time}


def machine_of(record: Record) -> str:
    """Processor, device and threads, in words."""
    environment = record.environment
    threads = environment.get("threads")
    count = f"{threads or 'unknown'} thread{'' if threads == 1 else 's'}"
    processor = environment.get("processor") or "an unknown processor"
    return f"{processor} ({environment.get('device') or 'cpu'}, {count})"


def looks_of(settings: Sequence[Subject]) -> dict[str, int]:
    """Method -> the look of its marks and lines, the same in all charts of the page."""
    return {method: n for n, method in enumerate(sorted({s.method for s in settings}))}


def usual(records: Sequence[Record]) -> dict[str, str]:
    """The presets that most settings have, which names leave out: part -> preset."""
    settings = list({setting_key(r): _told(r) for r in records}.values())
    found = {}
    for part in PRESETS[1:]:
        for value in {own[part] for own in settings if part in own}:
            if _share(part, value, settings) >= USUAL and any(
                own.get(part) != value for own in settings
            ):
                found[part] = value
    return found


def _names(settings: dict[str, Record]) -> dict[str, str]:
    """A name for each setting: its presets, and what varies among those of the same presets.

    What most settings have is left out where the name stays the only one of its kind.
    """
    every = [_told(record) for record in settings.values()]
    long = [{n: v for n, v in line.items() if _varies(n, line, every)} for line in every]
    brief = [
        {n: v for n, v in own.items() if _share(n, v, _alike(n, line, every)) < USUAL}
        for own, line in zip(long, every, strict=True)
    ]
    short, full = (
        [_said(own, line) for own, line in zip(d, every, strict=True)] for d in (brief, long)
    )
    names = [s if short.count(s) == 1 else n for s, n in zip(short, full, strict=True)]
    return {
        key: name if names.count(name) == 1 else f"{name}, {key[:6]}"
        for key, name in zip(settings, names, strict=True)
    }


def _said(own: dict[str, str], line: dict[str, str]) -> str:
    """A name that begins with the method."""
    rest = {name: value for name, value in own.items() if name != "method"}
    words = [
        v if "." not in n else f"{n.rsplit('.', 1)[-1].strip('_')} {v}" for n, v in rest.items()
    ]
    return ", ".join([line.get("method", "unnamed"), *words])


def _told(record: Record) -> dict[str, str]:
    """Presets first, then settings; the dataset is not among them."""
    settings = told(record)
    presets = {name: settings[name] for name in PRESETS if name in settings}
    return presets | {name: value for name, value in settings.items() if "." in name}


def _varies(name: str, line: dict[str, str], every: Sequence[dict[str, str]]) -> bool:
    """Whether a preset, or a setting among those with the same preset, has several values."""
    return len({other.get(name) for other in _alike(name, line, every)}) > 1


def _alike(
    name: str, line: dict[str, str], every: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """For a setting, those with the same preset, or method where it has none; for a preset, all."""
    part = name.partition(".")[0]
    if name == part:
        return list(every)
    preset = part if part in PRESETS else "method"
    return [other for other in every if other.get(preset) == line.get(preset)]


def _share(name: str, value: str, every: Sequence[dict[str, str]]) -> float:
    return sum(other.get(name) == value for other in every) / len(every)
