"""Seconds to read folders of many records: every file, the index, and whole commands.

The records are those of ``results/records`` on the categories of MVTec AD, and the same with other
values of one setting. Their raw files are tiny: what is timed is their number. Records are written
without waiting for the disk. A folder that ``--keep`` names stays, and serves the next call.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from adbench.config.compose import Configs
from adbench.data.mvtec import PUBLISHED
from adbench.reports.compare import select
from adbench.results import raw, records
from adbench.results.index import Records
from adbench.results.names import Names
from adbench.results.record import Record, to_json
from adbench.results.records import ImageScore

OWN = Path(__file__).parents[1] / "results" / "records"
SIZES = (100, 10_000, 100_000)
PLAIN = 10_000
"""Files that are read one by one at most; the seconds of more follow from these."""
CONTENTS = {
    raw.SCORES: raw.scores_csv([ImageScore("test/good/000.png", "good", False, 0.1)]),
    raw.PIXELS: b"none",
}
COMMANDS = {
    "list tables": ["list", "tables"],
    "table": ["table", "han2024_table2"],
    "table, --measured --json": ["table", "roth2022_s1", "--measured", "--json"],
}


def made(number: int) -> Iterator[Record]:
    """So many records, each of its own experiment."""
    own = [records.load(path) for path in sorted(OWN.glob("*-bottle-*.json"))]
    files = {suffix: raw.sha256(content) for suffix, content in CONTENTS.items()}
    for place in range(number):
        setting, at = divmod(place, len(PUBLISHED))
        step, which = divmod(setting, len(own))
        category, (train, test) = list(PUBLISHED.items())[at]
        identity = copy.deepcopy(own[which].identity)
        identity["category"], identity["dataset"]["fingerprint"] = category, category
        if step and not moved(identity["method"], step):
            raise SystemExit(f"{own[which].name}: no setting to vary")
        counts = {"train": train, "test": test, "anomalous": test // 2}
        yield replace(own[which], identity=identity, counts=counts, files=files)


def moved(settings: dict[str, Any], step: int) -> bool:
    """Change the first number among settings at any depth; whether there is one."""
    for name, value in settings.items():
        if isinstance(value, float) and value:
            settings[name] = value * (1 + step / 1000)
            return True
        if isinstance(value, dict) and moved(value, step):
            return True
    return False


def fill(folder: Path, number: int) -> None:
    """Write the records where there are none yet."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    for record in made(number):
        (folder / f"{record.name}.json").write_text(to_json(record))
        for suffix, content in CONTENTS.items():
            (folder / f"{record.name}{suffix}").write_bytes(content)


def timed(action: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor in this process."""
    start, own = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - own


def command(words: list[str], folder: Path, cache: Path) -> tuple[float, float]:
    """The same of a command of adbench in a process of its own."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "adbench", *words, f"results={folder}"],
        env={**os.environ, "ADBENCH_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    own = after.children_user + after.children_system
    return time.perf_counter() - start, own - before.children_user - before.children_system


def measure(number: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of each way to read a folder of so many records."""
    where, cache = folder / "records", folder / "cache"
    fill(where, number)
    paths = sorted(where.glob("*.json"))[:PLAIN]
    found = {"every file": timed(lambda: [records.load(path) for path in paths])}
    if number > PLAIN:
        wall, own = found["every file"]
        found["every file"] = wall * number / PLAIN, own * number / PLAIN
    some = [records.load(path) for path in paths[:100]]
    found["names and 100 look-ups, as a run begins"] = timed(lambda: look_up(where, some))
    Records(where, cache)
    found["index, up to date"] = timed(lambda: Records(where, cache))
    found["settings of a comparison"] = timed(lambda: sides(where, cache, some))
    for name, words in COMMANDS.items():
        found[name] = command(words, folder, cache)
    return found


def sides(folder: Path, cache: Path, some: list[Record]) -> None:
    """What ``compare`` and ``plot`` read of two settings, but for the raw files."""
    stored, configs = Records(folder, cache), Configs()
    for record in (some[0], some[-1]):
        select(record.id, stored, configs)


def look_up(folder: Path, some: list[Record]) -> None:
    names = Names(folder)
    for record in some:
        records.find(folder, record.identity, names, record.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--keep", type=Path, help="a folder for the records that stays")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for number in given.sizes:
            print(f"{number} records: seconds by the clock, seconds of the processor", flush=True)
            folder = (given.keep or Path(scratch)) / str(number)
            for name, (wall, own) in measure(number, folder).items():
                print(f"  {name:<40} {wall:8.2f} {own:8.2f}", flush=True)


if __name__ == "__main__":
    main()
