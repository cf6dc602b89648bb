"""Many processes that write into one folder of results and one cache while one of them is killed.

A job makes features in the shared cache or waits for those that another process makes, keeps the
order of a selection, and saves a record with its raw files. Each process has jobs of its own, and
the first job is the same for all. Once a second a process is killed by SIGKILL and another one goes
on with its jobs. At the end all that lies there is read and counted. The network is a stand-in,
so that a job takes well under a second.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.evaluation.metrics import METRICS
from adbench.evaluation.pairs import PixelPairs
from adbench.features.extract import Extractor
from adbench.features.orders import Orders
from adbench.features.store import Store, remove_left_features
from adbench.results import records
from adbench.results.index import Records
from adbench.results.names import Names
from adbench.results.raw import ImageScore, RecordError
from adbench.results.record import Record

IMAGES, SIDE = 12, 32
SETS = 5
"""Sets of features that the jobs have between them, so that processes meet."""
LAYERS = [1, 2]


class Means:
    """Stands in for a network: the layers are means of patches, and take a while."""

    def identity(self) -> dict[str, Any]:
        """What names the features."""
        return {"model": "means"}

    def versions(self) -> dict[str, str]:
        """Of the libraries; there are none."""
        return {}

    def extract(self, inputs: torch.Tensor, layers: list[int], vectors: bool) -> Any:
        """The layers, without vectors."""
        time.sleep(0.02)  # so that some processes are killed here
        return [torch.nn.functional.avg_pool2d(inputs.float(), 2**n) for n in layers], None


@dataclass(frozen=True)
class Found:
    """What lies there after all."""

    expected: int
    records: int
    lost: int
    torn: int
    """Records, raw files, features and orders that are not what was written."""
    kills: int
    left: int
    """Temporary files of killed processes that nobody has met so far."""
    leftovers: int
    """Those that are still there after the next run has begun."""
    locked: int
    """Locks that somebody seems to hold though no process is left."""
    files: int
    """Lock files, which are empty and stay."""
    seconds: float

    def __str__(self) -> str:
        return "\n".join(f"{name:<10} {value:.6g}" for name, value in vars(self).items())


def identity_of(process: int, number: int) -> dict[str, Any]:
    """The experiment of a job."""
    who = process if number else 0
    dataset = {"name": "made", "fingerprint": f"images {number % SETS}"}
    settings = {"process": who, "number": number}
    method = {"class": "Made", "settings": settings}
    return {"dataset": dataset, "category": f"category{number % SETS}", "method": method}


def scores_of(identity: dict[str, Any]) -> list[ImageScore]:
    """The raw scores of a job, which its record must have in the end."""
    settings = identity["method"]["settings"]
    drawn = np.random.default_rng([settings["process"], settings["number"]]).random(IMAGES)
    return [ImageScore(f"{i:03}.png", "good", i % 2 == 1, float(s)) for i, s in enumerate(drawn)]


def images_of(number: int) -> Images:
    """The images of a job, the same as those of other jobs."""
    drawn = np.random.default_rng(number % SETS)
    arrays = tuple(drawn.integers(0, 255, (IMAGES, SIDE, SIDE, 3), np.uint8))
    return Images(arrays=arrays, digests=tuple(f"{number % SETS} {i}" for i in range(IMAGES)))


def work(folder: Path, process: int, jobs: int) -> None:
    """What a process does: its jobs, but those that have a record."""
    torch.set_num_threads(1)
    results, cache = folder / "records", folder / "cache"
    records.require_writable(results)
    remove_left_features(cache)
    Orders(cache).tidy()
    names, orders, labels = Names(results), Orders(cache), {"dataset": "made", "method": "made"}
    extractor = Extractor(Means(), Geometry(SIDE, None), cache, batch=2)  # type: ignore[arg-type]
    for number in range(jobs):
        identity = identity_of(process, number)
        if records.find(results, identity, names, labels) is not None:
            continue
        features, _ = extractor(images_of(number), LAYERS, False)
        key = {"features": features.key, "number": number % SETS}
        with orders.turn(key):
            if orders.read(key) is None:
                orders.keep(key, np.arange(1000) * (number % SETS))
        scores = scores_of(identity)
        pixels = PixelPairs(np.full((2, 2), float(number)), np.ones(2), np.full(2, 4.0))
        record = Record(
            identity=identity,
            labels=labels,
            counts={"train": 1, "test": IMAGES, "anomalous": IMAGES // 2},
            metrics={metric.name: None for metric in METRICS},
        )
        records.save(results, record, scores, pixels, names)


def stress(folder: Path, processes: int, jobs: int, every: float, seed: int = 0) -> Found:
    """Run all jobs, kill a process again and again, and count what lies there.

    Args:
        folder: Empty.
        processes: That write at the same time.
        jobs: Of each process.
        every: Seconds between two kills.
        seed: Of the choice of the process that is killed.
    """
    context, choice = multiprocessing.get_context("fork"), random.Random(seed)

    def started(process: int) -> BaseProcess:
        made = context.Process(target=work, args=(folder, process, jobs))
        made.start()
        return made

    start, kills = time.perf_counter(), 0
    running = {process: started(process) for process in range(processes)}
    killed_at = start
    while running:
        time.sleep(0.01)
        for process, one in list(running.items()):
            if not one.is_alive():
                one.join()
                del running[process]
                if one.exitcode:
                    raise SystemExit(f"process {process} failed with status {one.exitcode}")
        if running and time.perf_counter() - killed_at >= every:
            process = choice.choice(sorted(running))
            running[process].kill()
            running[process].join()
            running[process], killed_at, kills = started(process), time.perf_counter(), kills + 1
    return counted(folder, processes, jobs, kills, time.perf_counter() - start)


def counted(folder: Path, processes: int, jobs: int, kills: int, seconds: float) -> Found:
    """What lies in a folder after all processes have ended."""
    results, cache = folder / "records", folder / "cache"
    wanted = [identity_of(p, n) for p in range(processes) for n in range(1 if p else 0, jobs)]
    torn, names = 0, Names(results)
    lost = sum(records.find(results, identity, names) is None for identity in wanted)
    held = Records(results).all()
    for record in held:
        try:
            torn += records.load_scores(results, record) != scores_of(record.identity)
            records.load_pixels(results, record)
        except RecordError as error:
            print(error)
            torn += 1
    for file in cache.glob("features/*/*.npy"):
        torn += Store().open(file, IMAGES) is None
    for file in cache.glob("orders/*.npy"):
        torn += len(np.load(file)) != 1000
    left = len(list(folder.rglob("*.tmp")))
    work(folder, 0, jobs)  # the next one, who finds nothing to do
    locks = [file for file in folder.rglob("*") if file.name == "lock" or file.suffix == ".lock"]
    locks.append(results / records.LOCK)
    locked = sum(map(taken, locks))
    leftovers = len(list(folder.rglob("*.tmp")))
    return Found(
        len(wanted), len(held), lost, torn, kills, left, leftovers, locked, len(locks), seconds
    )


def taken(lock: Path) -> bool:
    """Whether a lock cannot be had."""
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(stress(Path(folder), given.processes, given.jobs, given.every, given.seed))


if __name__ == "__main__":
    main()
