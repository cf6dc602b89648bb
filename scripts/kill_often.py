"""Kill a command at random moments until it ends by itself, and look for what was lost.

    python scripts/kill_often.py 100            # run, sweep, reproduce, fit and report in turn
    python scripts/kill_often.py 10 run fit     # these alone

Each command is run undisturbed first, on images that are drawn small. Then it is started, killed by
SIGKILL after a random time, and started again with the same words, until it has been killed its
share of N times; the last start ends by itself. Told are the numbers that differ from the
undisturbed run, the records that were measured twice, and temporary files that were left. The exit
status is 1 where there are any. Peak memory, seconds and dates differ from run to run and are not
compared.
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from adbench.data.demo import Demo

TIMES = ("_p50", "_p95", "_seconds", "_bytes", "_ms")
BOTTLE = ("dataset.root=data", "dataset.categories=[bottle]")
IMAGES = ("dataset=mvtec", *BOTTLE, "geometry.resize=[64,64]", "geometry.crop=null")
QUICK = ("timing.enabled=false", "heatmaps=1", "results=runs")
RUN = ("run", *IMAGES, *QUICK)
COMMANDS = {
    "run": RUN,
    "sweep": (*RUN, "-m", "method.ratio=0.1,0.2", "seed=0,1"),
    "reproduce": (
        *("reproduce", "belloni2023_table1", "backbone=efficientnet_lite0", *BOTTLE),
        *("method.coreset.projection=gaussian", *QUICK),
    ),
    "fit": ("fit", *IMAGES, "out=part.safetensors", "folds=2", "alpha=0.5"),
    "report": ("report", "results=runs", "out=report.html"),
}
_DONE = re.compile(r"^(\w+)(, job \d+)?: (image AUROC|pixel AUROC|scored)", re.MULTILINE)


@dataclass
class Found:
    """What became of a command that was killed."""

    kills: int = 0
    starts: int = 0
    problems: list[str] = field(default_factory=list)


def start(folder: Path, words: tuple[str, ...]) -> "subprocess.Popen[str]":
    env = {**os.environ, "ADBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    out = (folder / "out.txt").open("a")
    with out:
        return subprocess.Popen(
            [sys.executable, "-m", "adbench", *words],
            cwd=folder,
            env=env,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )


def undisturbed(folder: Path, words: tuple[str, ...]) -> float:
    """Run to the end; the seconds."""
    begun = time.perf_counter()
    if status := start(folder, words).wait():
        raise SystemExit(f"{' '.join(words)}: exit {status}\n{(folder / 'out.txt').read_text()}")
    return time.perf_counter() - begun


def prepare(name: str, folder: Path) -> None:
    """What a command needs: images, and of a report the records too."""
    drawn = Demo(size=64, train=6, test=10, cache=str(folder.parent / "drawn")).load("denim")
    shutil.copytree(drawn.train[0].path.parents[2], folder / "data" / "bottle")
    if name == "report":
        undisturbed(folder, RUN)
        (folder / "out.txt").unlink()


def kill(name: str, times: int, where: Path, draw: random.Random) -> Found:
    """Kill a command so many times, and compare what it leaves with an undisturbed run."""
    words, found = COMMANDS[name], Found()
    whole, killed = where / f"{name}-whole", where / f"{name}-killed"
    prepare(name, whole)
    seconds = undisturbed(whole, words)
    prepare(name, killed)
    while True:
        found.starts += 1
        process = start(killed, words)
        try:
            status = process.wait(draw.uniform(0, seconds) if found.kills < times else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            found.kills += 1
            continue
        if status:
            found.problems.append(f"exit {status}: {(killed / 'out.txt').read_text()[-300:]}")
            break
        if found.kills >= times:
            break
    found.problems += differences(whole, killed) + left(killed) + repeated(killed)
    return found


def differences(whole: Path, killed: Path) -> list[str]:
    """Tables, records and files of which the killed run has others than the undisturbed one."""
    return [
        f"{kind}: {sum(a.get(k) != b.get(k) for k in {*a, *b})} of {len(a)} differ"
        for kind, read in (("tables", tables), ("records", of_records), ("files", of_files))
        if (a := read(whole)) != (b := read(killed))
    ]


def tables(folder: Path) -> dict[str, object]:
    """The rows of the CSV tables of the results, without times and sizes."""
    found: dict[str, object] = {}
    for path in (folder / "runs" / "tables").glob("*.csv"):
        with path.open() as file:
            rows = [
                {k: v for k, v in row.items() if not k.endswith(TIMES)}
                for row in csv.DictReader(file)
            ]
        found[path.name] = rows
    return found


def of_records(folder: Path) -> dict[str, object]:
    """The metrics of every record, and the checksums of its raw files."""
    found: dict[str, object] = {}
    for path in (folder / "runs" / "records").glob("*.json"):
        content = json.loads(path.read_text())
        found[path.name] = (content["metrics"], content["files"].get(".scores.csv"))
    return found


def of_files(folder: Path) -> dict[str, object]:
    """What a fitted detector learned, and whether there is a page."""
    found: dict[str, object] = {}
    for path in folder.glob("*.safetensors"):
        from safetensors.numpy import load_file

        found[path.name] = {name: array.tobytes() for name, array in load_file(path).items()}
    for path in folder.glob("*.html"):
        found[path.name] = path.read_text().count("<section")
    return found


def left(folder: Path) -> list[str]:
    """Temporary files and folders that nobody removed."""
    names = [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]
    return [f"{len(names)} temporary files are left, such as {names[0]}"] if names else []


def repeated(folder: Path) -> list[str]:
    """What was measured more often than there are records, as far as it was printed."""
    told = len(_DONE.findall((folder / "out.txt").read_text()))
    there = len(of_records(folder))
    return [f"{told} measured, {there} records"] if told > there else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, help="in all")
    parser.add_argument("commands", nargs="*", help=", ".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    names = given.commands or list(COMMANDS)
    if wrong := [name for name in names if name not in COMMANDS]:
        parser.error(f"no command {wrong[0]!r}; there are {', '.join(COMMANDS)}")
    draw, rows, failed = random.Random(given.seed), [], False
    with tempfile.TemporaryDirectory(prefix="adbench-kills-") as place:
        for index, name in enumerate(names):
            share = given.kills // len(names) + (index < given.kills % len(names))
            found = kill(name, share, Path(place), draw)
            rows.append(
                {
                    "command": name,
                    "kills": found.kills,
                    "starts": found.starts,
                    "problems": "; ".join(found.problems) or "none",
                }
            )
            failed |= bool(found.problems)
            print(tabulate(rows[-1:], headers="keys" if index == 0 else ()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
