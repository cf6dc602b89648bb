"""What ``adbench plan`` shows: a table of bundles, their sums, and what does not fit."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from adbench.bench.bundles import Bundle
from adbench.bench.cost import Content, Cost, Costs, makespan, total
from adbench.bench.growth import NOTHING, Estimate
from adbench.bench.rates import Rates
from adbench.cli.output import print_json
from adbench.cli.run_words import ONLY_TIME
from adbench.cli.screen import say, say_aside
from adbench.system.files import cache_folder
from adbench.system.machine import free_memory

ROWS = 40
"""Bundles that are shown one by one; of more, the rest is summed."""
HEADERS = (
    "category",
    "features",
    "settings",
    "records\nthere",
    "records\nto make",
    "images to\nextract",
    "disk\nMB",
    "memory\nGB",
    "minutes\n",
    "from - to\n",
)


@dataclass(frozen=True)
class Room:
    """What a plan needs of a disk or of the memory, and what is free there, in bytes."""

    of: str
    needed: float
    free: float
    advice: str
    """What to set where it does not suffice."""

    @property
    def suffices(self) -> bool:
        """Whether what is needed is there."""
        return self.needed <= self.free

    def __str__(self) -> str:
        line = f"{self.of}: {_gigabytes(self.needed)} needed, {_gigabytes(self.free)} free"
        return line if self.suffices else f"{line}; {self.advice}"


@dataclass(frozen=True)
class Written:
    """What a bundle writes into a folder."""

    word: str
    """The setting that names the folder: cache or results."""
    folder: Path
    size: Estimate
    """Bytes."""


@dataclass(frozen=True)
class Shown:
    """A plan as people and programs read it.

    Attributes:
        costs: Of the bundles.
        rates: With which they were found.
        nodes: How many machines take bundles side by side; None: not said.
        wrong: Why jobs cannot run.
    """

    costs: Sequence[Cost]
    rates: Rates
    nodes: int | None
    wrong: Sequence[str]

    def print(self) -> None:
        """Print the table, the sums, and where the numbers come from."""
        rows = [_row(cost) for cost in self.costs[:ROWS]]
        if len(self.costs) > ROWS:
            rows.append([f"{len(self.costs) - ROWS} more (--json)", *[""] * (len(HEADERS) - 1)])
        rows.append(self._sum())
        headers = list(HEADERS)
        networks = {cost.network for cost in self.costs}
        if len(networks) == 1:  # said once, so that the lines stay short
            say(f"features: {networks.pop()}")
            rows, headers = [[a, *rest] for a, _, *rest in rows], [headers[0], *headers[2:]]
        align = ["left", *["right"] * (len(headers) - 1)]
        say(tabulate(rows, headers=headers, disable_numparse=True, colalign=align))
        say("")
        for line in self._lines():
            say(line)
        for line in self._impossible():
            say_aside(line)

    def print_json(self, checked: Sequence[Room]) -> None:
        """Print one JSON document: seconds and bytes, each about, low and high."""
        print_json(
            {
                "complete": all(not cost.stages for cost in self.costs),
                "bundles": [_content(cost) for cost in self.costs],
                "sum": {
                    "records_present": sum(c.present * c.times for c in self.costs),
                    "records_to_make": sum(_to_make(c) * c.times for c in self.costs),
                    "records_absent": self._absent,
                    "images_to_extract": sum(c.images * c.times for c in self.costs),
                    "feature_bytes": sum(c.features * c.times for c in self.costs),
                    "disk_bytes": asdict(self._disk),
                    "memory_bytes": _plain(_largest(self.costs)),
                    "seconds": asdict(self._seconds),
                    "stages": {name: asdict(value) for name, value in self._stages.items()},
                },
                "nodes": self.nodes,
                "seconds_on_nodes": None if self.nodes is None else asdict(self._on_nodes()),
                "rates": {
                    "here": asdict(self.rates.here),
                    "measured_here": self.rates.own,
                    "shipped": self.rates.machine,
                    "sources": {name: sorted(found) for name, found in self._sources.items()},
                },
                "unknown": sorted(self._unknown),
                "impossible": self._impossible(),
                "checked": [
                    {
                        "of": room.of,
                        "needed_bytes": room.needed,
                        "free_bytes": room.free,
                        "suffices": room.suffices,
                    }
                    for room in checked
                ],
                "misfits": [str(room) for room in checked if not room.suffices],
            }
        )

    def _sum(self) -> list[str]:
        counts = [
            sum(n * c.times for n, c in zip(column, self.costs, strict=True))
            for column in (
                [c.settings for c in self.costs],
                [c.present for c in self.costs],
                [_to_make(c) for c in self.costs],
                [c.images for c in self.costs],
            )
        ]
        memory = _largest(self.costs)
        return [
            "sum",
            "",
            *(str(count) for count in counts),
            _short(self._disk.about / 1e6),
            "?" if memory is None else f"<= {_short(memory.about / 1e9)}",
            *_minutes(self._seconds),
        ]

    def _lines(self) -> Iterable[str]:
        seconds = self._seconds
        bundles = sum(cost.times for cost in self.costs)
        yield f"{bundles} bundle{'' if bundles == 1 else 's'}; in sum about {_in_words(seconds)}"
        if self._absent:
            yield f"{self._absent} without a record: {ONLY_TIME} makes none"
        if self._stages:
            parts = (f"{name} {_short(s.about / 60)}" for name, s in self._stages.items())
            yield f"minutes by stage: {', '.join(parts)}"
        if self.nodes is not None:
            nodes = f"{self.nodes} node{'' if self.nodes == 1 else 's'}"
            yield f"on {nodes}, the longest bundles first: about {_in_words(self._on_nodes())}"
        here = self.rates.here
        place = f"{here.processor}, {here.device}, {here.threads} threads"
        yield f"measured here ({place}): {self.rates.own} times"
        yield f"shipped rates: {self.rates.of_shipped_machine()}; costs that no record holds"
        for name, found in self._sources.items():
            yield f"  {name}: {'; '.join(sorted(found))}"
        if self._unknown:
            yield (
                f"nothing was measured of {', '.join(sorted(self._unknown))}, so that its seconds "
                "lack: run one category of it alone"
            )

    def _impossible(self) -> list[str]:
        lines = [*self.wrong, *(line for cost in self.costs for line in cost.impossible)]
        return [f"cannot run: {line}" for line in dict.fromkeys(lines)]

    def _on_nodes(self) -> Estimate:
        assert self.nodes is not None
        ends = [
            makespan([(getattr(c.seconds, end), c.times) for c in self.costs], self.nodes)
            for end in ("about", "low", "high")
        ]
        return Estimate(*ends)

    @property
    def _absent(self) -> int:
        return sum(cost.absent * cost.times for cost in self.costs)

    @property
    def _seconds(self) -> Estimate:
        return total(cost.seconds * cost.times for cost in self.costs)

    @property
    def _disk(self) -> Estimate:
        return total(cost.disk * cost.times for cost in self.costs)

    @property
    def _stages(self) -> dict[str, Estimate]:
        found: dict[str, Estimate] = {}
        for cost in self.costs:
            for name, seconds in cost.stages.items():
                found[name] = found.get(name, NOTHING) + seconds * cost.times
        return found

    @property
    def _sources(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for cost in self.costs:
            for name, words in cost.sources.items():
                found[name] = found.get(name, set()) | words
        return found

    @property
    def _unknown(self) -> set[str]:
        return {name for cost in self.costs for name in cost.unknown}


def written_by(bundle: Bundle, cost: Cost, content: Content, costs: Costs) -> list[Written]:
    """What a bundle writes into its cache and into the folders of results of its jobs.

    Args:
        bundle: Its jobs have one cache.
        cost: Of the bundle.
        content: The images of its category.
        costs: Found the cost.
    """
    cache = cache_folder(costs.plans[bundle.jobs[0]].options.cache)
    found = [Written("cache", cache, Estimate.exactly(cost.features) * cost.times)]
    jobs: dict[Path, list[int]] = {}
    for job in bundle.jobs:
        jobs.setdefault(costs.plans[job].results, []).append(job)
    for folder, own in jobs.items():
        part = cost if len(jobs) == 1 else costs.of(replace(bundle, jobs=tuple(own)), content)
        found.append(Written("results", folder, part.results * cost.times))
    return found


def rooms(written: Sequence[Written], costs: Sequence[Cost]) -> list[Room]:
    """What the jobs need of each disk, at most, and of the memory, about."""
    found = []
    on_disk: dict[int, list[Written]] = {}
    for one in sorted(written, key=lambda w: w.word):  # a disk is named after a cache on it
        on_disk.setdefault(_disk(one.folder)[1], []).append(one)
    for first, *rest in on_disk.values():
        needed = total(one.size for one in (first, *rest))
        advice = f"free some, or set {first.word}=DIR to a folder with room"
        free = _disk(first.folder)[0]
        found.append(Room(f"the disk of {first.folder}", needed.high, free, advice))
    known = [(cost.memory.about, cost) for cost in costs if cost.memory is not None]
    if known:
        most, cost = max(known, key=lambda pair: pair[0])
        advice = (
            "choose a smaller method.ratio or method.dims where the method has one, or a smaller "
            "geometry.resize and geometry.crop"
        )
        whose = f"the memory, for {cost.category} with {cost.network}"
        found.append(Room(whose, most, free_memory(), advice))
    return found


def _gigabytes(size: float) -> str:
    return f"{_short(size / 1e9)} GB"


def _disk(folder: Path) -> tuple[int, int]:
    """Free bytes of the disk of a folder that need not be there, and what names the disk."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free, folder.stat().st_dev


def _row(cost: Cost) -> list[str]:
    name = cost.category if cost.times == 1 else f"{cost.times} times {cost.category}"
    return [
        name,
        cost.network,
        str(cost.settings),
        str(cost.present),
        str(_to_make(cost)),
        str(cost.images),
        _short(cost.disk.about / 1e6),
        "?" if cost.memory is None else _short(cost.memory.about / 1e9),
        *_minutes(cost.seconds, bool(cost.unknown)),
    ]


def _content(cost: Cost) -> dict[str, Any]:
    return {
        "category": cost.category,
        "features": cost.network,
        "times": cost.times,
        "settings": cost.settings,
        "records_present": cost.present,
        "records_to_make": _to_make(cost),
        "records_absent": cost.absent,
        "images_to_extract": cost.images,
        "feature_bytes": cost.features,
        "disk_bytes": asdict(cost.disk),
        "memory_bytes": _plain(cost.memory),
        "seconds": asdict(cost.seconds),
        "stages": {name: asdict(seconds) for name, seconds in cost.stages.items()},
        "unknown": sorted(cost.unknown),
    }


def _to_make(cost: Cost) -> int:
    """Records to be made or completed."""
    return cost.settings - cost.present - cost.absent - len(cost.impossible)


def _largest(costs: Sequence[Cost]) -> Estimate | None:
    known = [cost.memory for cost in costs if cost.memory is not None]
    return max(known, key=lambda e: e.about) if len(known) == len(costs) and known else None


def _plain(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else asdict(estimate)


def _minutes(seconds: Estimate, lacks: bool = False) -> tuple[str, str]:
    more = "> " if lacks else ""
    ends = f"{_short(seconds.low / 60)} - {_short(seconds.high / 60)}"
    return f"{more}{_short(seconds.about / 60)}", ends


def _in_words(seconds: Estimate) -> str:
    """Seconds in the unit that suits them."""
    unit, size = "s", 1.0
    if seconds.about >= 100:
        unit, size = "min", 60.0
    if seconds.about >= 6000:
        unit, size = "h", 3600.0
    about, low, high = (_short(s / size) for s in (seconds.about, seconds.low, seconds.high))
    return f"{about} {unit} ({low} to {high})"


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 or value == 0 else "0.01"
