"""Measures the rates that ship with the package, and writes them to adbench/bench/rates.yaml.

``adbench plan`` takes them where the records of the user's own machine say nothing. Each run is a
process of its own, so that its record holds whole seconds of the stages. The first run on some
images makes their features, and the others find them. What no record holds, such as the seconds of
the metrics, is timed here. It takes about 10 minutes.

    OMP_NUM_THREADS=1 python scripts/measure_rates.py

On a machine that others use too, ``--processor-time`` counts the seconds in which the process
computes. With one thread they are those that it would take alone.
"""

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from adbench.bench.category import Category
from adbench.bench.passes import PIXEL
from adbench.bench.plan import Plan, plan
from adbench.bench.rates import SHIPPED
from adbench.bench.samples import samples_of
from adbench.bench.session import Session
from adbench.bench.shapes import Shapes
from adbench.config.compose import Configs
from adbench.detectors.detector import EstimatesMemory
from adbench.detectors.family import Family
from adbench.evaluation.measure import measure
from adbench.evaluation.pairs import PixelPairs
from adbench.results.heatmaps import save_heatmaps
from adbench.results.raw import PIXELS, SCORES, pixels_npz
from adbench.results.records import Record, load, load_pixels, load_scores, save
from adbench.system.settings import class_name

METHODS = ("padim", "patchcore", "crd", "spade", "subspacead")
"""The first one reads all layers that the others read. PatchCore comes before CRD, which fits it as
its rival: a selection that is kept has no seconds."""
TRAIN = (20, 60, 120)
"""Training images: of several numbers, so that it is seen how seconds grow."""
TIMED = TRAIN[:2]
"""Those with which the time per image is taken too: the rivals of a method are fitted for it."""
TEST = 20
FURTHER = {
    "padim": ("method.anomaly_map.sigma", (4, 3, 2)),
    "crd": ("method.lambda_", (5, 6, 7)),
    "patchcore": ("method.k", (3, 2, 1)),
    "spade": ("method.k", (12, 11, 10)),
    "subspacead": ("method.anomaly_map.sigma", (4, 3, 2)),
}
"""Settings that share a fit and a pass; the first of them takes as long as any."""
NETWORKS = (
    "backbone=resnet18 backbone.weights=random",
    "backbone=wide_resnet50 backbone.weights=random",
    "backbone=dinov2_small backbone.weights=random geometry.resize=224",
)
"""Beside the default one: how fast a network is does not depend on its weights."""
QUICK = ("timing.warmup=1", "timing.repeats=5", "timing.batch=4", "heatmaps=2")
SMALL = (
    *("dataset.categories=[denim]", "dataset.train=4", "dataset.test=5", "results=small"),
    *("timing.enabled=false", "heatmaps=0"),
)
TIMES = 3
"""How often each thing is timed that no record holds."""
CLOCK = "MEASURE_RATES_BY_PROCESSOR_TIME"
PROGRAM = f"""
import os, time
if os.environ.get({CLOCK!r}):
    time.perf_counter = time.process_time
from adbench.cli.main import main
main()
"""
JOBS = 30
"""Jobs of a sweep that has nothing to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    if given.processor_time:
        os.environ[CLOCK] = "1"
        time.perf_counter = time.process_time
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Machine code is made once on a machine, and is part of no rate.
        adbench(folder, "-m", *SMALL, f"cache={folder / 'cache'}", f"method={','.join(METHODS)}")
        records = [run(folder, *job) for job in jobs()]
        costs, more = timed(folder, records)
        costs |= of_a_sweep(folder)
    machine = records[0].environment
    content = {
        "machine": {
            **{n: machine[n] for n in ("processor", "device", "threads", "cores", "system")},
            "date": datetime.date.today().isoformat(),
            "clock": "processor time" if given.processor_time else "wall time",
            "versions": machine["versions"],
        },
        "costs": costs,
        "more": more,
        "samples": sorted(rows(records), key=str),
    }
    text = "# Measured by scripts/measure_rates.py; see adbench/bench/rates.py.\n"
    given.out.write_text(text + yaml.safe_dump(content, sort_keys=False, width=98))
    print(f"{given.out}: {len(content['samples'])} measurements")


def jobs() -> Iterator[tuple[str, str]]:
    """The words of every run, and which cache it has."""
    for train in TRAIN:
        images = f"dataset.train={train} dataset.test={TEST}"
        images += "" if train in TIMED else " timing.enabled=false"
        for method in METHODS:
            yield f"method={method} {images}", f"cache-{train}"
    for place, network in enumerate(NETWORKS):
        images = "dataset.train=10 dataset.test=10"
        yield f"method=crd timing.enabled=false {images} {network}", f"cache-of-network-{place}"


def run(folder: Path, words: str, cache: str) -> Record:
    """The record of a run."""
    start = time.monotonic()
    adbench(folder, *words.split(), *QUICK, "dataset.categories=[denim]", f"cache={folder / cache}")
    print(f"{time.monotonic() - start:6.1f} s  {words}", flush=True)
    newest = max((folder / "runs" / "records").glob("*.json"), key=lambda p: p.stat().st_mtime)
    return load(newest)


def adbench(folder: Path, *words: str) -> float:
    """Run a command; the seconds that its process computed."""
    before = os.times()
    command = [sys.executable, "-c", PROGRAM, "run", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    after = os.times()
    return sum(getattr(after, n) - getattr(before, n) for n in ("children_user", "children_system"))


def rows(records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """The measurements of records as the file holds them."""
    for record in records:
        for sample in samples_of(record):
            kind = {name: value for name, value in asdict(sample.kind).items() if value}
            yield {**kind, "images": sample.images, "seconds": round(sample.seconds, 7)}


def timed(folder: Path, records: Sequence[Record]) -> tuple[dict[str, Any], dict[str, float]]:
    """What no record holds: costs, and the seconds of a further setting in those of the first."""
    here = folder / "runs" / "records"
    more: dict[str, float] = {}
    costs: dict[str, Any] = {}
    kinds = ("record", "score", "pair", "picture", "program")
    bytes_: dict[str, list[float]] = {kind: [] for kind in kinds}
    empty = len(pixels_npz(PixelPairs(np.zeros((1, 1)), np.zeros(1), np.zeros(1))))
    for record in records:
        path, test = here / f"{record.name}.json", record.counts["test"]
        beside = {s: path.with_name(path.stem + s).stat().st_size for s in record.files}
        listed, pixels = beside.pop(SCORES), beside.pop(PIXELS, empty)
        bytes_["record"].append(path.stat().st_size + sum(beside.values()) + empty)
        bytes_["score"].append(listed / test)
        bytes_["pair"].append(max(0, pixels - empty) / test**2)
    bytes_["picture"] = [f.stat().st_size for f in (folder / "runs" / "heatmaps").rglob("*.png")]
    for method in METHODS:
        share, planned, category, detector, scores = further(folder, method)
        more[class_name(type(detector.method))] = share
    images = TRAIN[0] + TEST
    costs["seconds.per_image"] = spread(
        [s / images for s in clock(lambda: Category.load(planned, "denim"))]
    )
    costs |= of_metrics(folder, records[0], category, detector, scores)
    for record in records:
        program = in_program(folder, record)
        bytes_["program"] += [program] if program else []
    costs |= {f"bytes.per_{n}": spread(v) for n, v in bytes_.items() if n != "program"}
    costs["bytes.program"] = spread(bytes_["program"])
    return costs, more


def of(folder: Path, words: str) -> Plan:
    common = [f"cache={folder / f'cache-{TRAIN[0]}'}", f"results={folder / 'other'}"]
    return plan(Configs().compose([*common, "dataset.categories=[denim]", *words.split()]))


def further(folder: Path, method: str) -> tuple[float, Plan, Category, Any, Any]:
    """The share of a further setting, and a plan with its category, fitted detector and scores."""
    name, values = FURTHER[method]
    images = f"dataset.train={TRAIN[0]} dataset.test={TEST}"
    session = Session([of(folder, f"method={method} {images} {name}={v}") for v in values])
    session.begin([0])
    planned = session.plans[0]
    category = Category.load(planned, "denim")
    family = Family([p.detector for p in session.plans])
    family.fit(category.train, session)
    one = min(clock(lambda: scored(family, category, [0])))
    every = min(clock(lambda: scored(family, category, range(len(values)))))
    share = (every - one) / ((len(values) - 1) * one)
    print(f"{share:6.2f}    {method}, a further {name}", flush=True)
    [scores] = family.score(category.test, [0])
    return round(max(0.0, share), 3), planned, category, family.members[0], scores


def scored(family: Family, category: Category, places: Sequence[int]) -> None:
    """Score some members, and keep none of their maps, as a run does."""
    for _ in family.score(category.test, places):
        pass


def of_metrics(
    folder: Path, record: Record, category: Category, detector: Any, scores: Any
) -> dict[str, Any]:
    """Seconds of metrics, records and pictures."""
    maps = scores.maps.numpy()
    masks = np.stack(category.masks(detector.geometry, maps.shape[1:]))
    labels, images = category.labels, scores.images.numpy()
    times = 8
    few = clock(lambda: measure(labels, images, list(masks), list(maps)))
    tiled = list(np.tile(masks, (times, 1, 1))), list(np.tile(maps, (times, 1, 1)))
    many = clock(lambda: measure(np.tile(labels, times), np.tile(images, times), *tiled))
    megapixels = (times - 1) * maps.size / 1e6
    pixels = [max(0.0, (b - a) / megapixels) for a, b in zip(few, many, strict=True)]
    rest = [max(0.0, a - p * maps.size / 1e6) for a, p in zip(few, pixels, strict=True)]
    here = folder / "runs" / "records"
    contents = load_scores(here, record), load_pixels(here, record)
    kept = clock(lambda: load(save(folder / "again", record, *contents)))
    samples, count = category.split.test, 12
    drawn = clock(
        lambda: save_heatmaps(
            folder / "drawn", samples, images, maps, detector.geometry, count, record.threshold
        )
    )
    return {
        "seconds.metrics_per_megapixel": spread(pixels),
        "seconds.per_record": spread([a + b for a, b in zip(rest, kept, strict=True)]),
        "seconds.per_picture": spread([s / count for s in drawn]),
    }


def in_program(folder: Path, record: Record) -> float | None:
    """Bytes at the peak of a run beyond what its detector estimates; None where it has no peak."""
    peak = record.memory.get("peak")
    label, counts = record.labels["method"], record.counts
    if not peak or record.labels["backbone"] != "efficientnet_lite0":
        return None
    sizes = f"dataset.train={counts['train']} dataset.test={counts['test']}"
    planned = of(folder, f"method={label} {sizes}")
    category, detector = Category.load(planned, "denim"), planned.detector
    if not isinstance(detector, EstimatesMemory):
        return None
    needed = detector.memory(category.train, len(category.test), Shapes())
    return float(max(0, peak - needed - PIXEL * category.pixels(detector.geometry)))


def of_a_sweep(folder: Path) -> dict[str, Any]:
    """Seconds of a process with one job that has its record, and of each further such job.

    A job takes them for its config, its plan, its record and what is reported.
    """
    places = (f"cache={folder / 'cache'}", "method=crd")
    values = ",".join(str(i) for i in range(1, JOBS + 1))
    taken = {}
    for lambdas in (values, "1"):
        words = ("-m", *SMALL, *places, f"method.lambda_={lambdas}")
        adbench(folder, *words)  # makes the records that it lacks
        taken[lambdas] = adbench(folder, *words)
    each = (taken[values] - taken["1"]) / (JOBS - 1)
    # Jobs of one process share its start.
    start, _, most = spread([taken["1"] - each])
    return {"seconds.per_job": spread([each]), "seconds.per_start": [start, 0.0, most]}


def clock(work: Callable[[], Any]) -> list[float]:
    """Seconds of some calls, after one that is not counted."""
    work()
    found = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def spread(values: Sequence[float]) -> list[float]:
    """Median, lowest and highest, to 4 digits."""
    return [float(f"{f(values):.4g}") for f in (statistics.median, min, max)]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
