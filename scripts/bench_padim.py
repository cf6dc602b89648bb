"""PaDiM from layer maps to distances: adbench against anomalib and against numpy.linalg.inv position by position.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 1, 2, 3: 1792 channels, 3136 positions).
All choose the same channels and add the same ridge. anomalib is left out where it is not installed.

``--memory`` measures something else: the peak of a process that fits all 1792 channels of 391 images, MVTec's hazelnut,
memory-mapped as the feature cache leaves them, and scores one.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark
import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import mahalanobis

from adbench.kernels import patches
from adbench.features.features import Features
from adbench.bench.fitting import state_bytes
from adbench.kernels import projection
from adbench.system.machine import peak_memory
from adbench.methods.padim import PaDiM
from adbench.methods.anomaly_map import AnomalyMap

RIDGE = 0.01 + 1e-5  # anomalib adds both
SHARE = 16  # the loops over positions run on one in so many
LOOPS = f"loops, 1 / {SHARE} run and scaled"


class _Ours:
    """The method itself; its map is the patch distances."""

    def __init__(self, dims: int) -> None:
        self.method = PaDiM(dims=dims, ridge=RIDGE, anomaly_map=AnomalyMap(upsample="nearest", sigma=0))

    def fit(self, maps: list[torch.Tensor]) -> None:
        self.method.fit(Features(maps, None, (56, 56), source="random"))
        self.bytes = state_bytes(self.method)

    def score(self, maps: list[torch.Tensor]) -> np.ndarray:
        return self.method.score(Features(maps, None, (56, 56), source="random")).maps.numpy()  # type: ignore[union-attr]


class _Anomalib:
    """Its embedding, its Gaussian and its distance."""

    def __init__(self, dims: int) -> None:
        from anomalib.models.components import MultiVariateGaussian
        from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator

        self.gaussian, self.distance = MultiVariateGaussian(), AnomalyMapGenerator.compute_distance
        self.chosen = projection.select(1792, dims, 0)

    def embed(self, maps: list[torch.Tensor]) -> torch.Tensor:
        finer = [F.interpolate(m, size=maps[0].shape[-2:], mode="nearest") for m in maps]
        return torch.index_select(torch.cat(finer, dim=1), 1, self.chosen)

    def fit(self, maps: list[torch.Tensor]) -> None:
        # per batch of 32, as its dataloader would; the whole concatenated set would need 4.7 GB
        batches = [self.embed([m[i : i + 32] for m in maps]) for i in range(0, len(maps[0]), 32)]
        self.stats = self.gaussian.fit(torch.vstack(batches))
        self.bytes = sum(t.nbytes for t in self.stats)

    def score(self, maps: list[torch.Tensor]) -> np.ndarray:
        return self.distance(self.embed(maps), self.stats)[:, 0].numpy()


class _Loops:
    """The plain way of early public code: numpy.cov per position, inverse and scipy's mahalanobis at test time."""

    def __init__(self, dims: int) -> None:
        self.chosen = projection.select(1792, dims, 0)

    def embed(self, maps: list[torch.Tensor]) -> np.ndarray:
        stacked = [patches.stack([m[i : i + 1] for m in maps], "nearest")[:, self.chosen] for i in range(len(maps[0]))]
        return torch.cat(stacked).flatten(2).numpy()

    def fit(self, maps: list[torch.Tensor]) -> float:
        start = time.perf_counter()
        rows = self.embed(maps)
        self.mean = rows.mean(axis=0)
        self.covariances = {}
        looped = time.perf_counter()
        for p in range(0, rows.shape[2], SHARE):
            self.covariances[p] = np.cov(rows[:, :, p], rowvar=False) + RIDGE * np.identity(rows.shape[1])
        self.bytes = 4 * rows.shape[1] ** 2 * rows.shape[2]
        return looped - start + SHARE * (time.perf_counter() - looped)

    def score(self, maps: list[torch.Tensor]) -> float:
        start = time.perf_counter()
        rows = self.embed(maps)
        looped = time.perf_counter()
        self.distances = {}
        for p, covariance in self.covariances.items():
            inverse = np.linalg.inv(covariance)
            self.distances[p] = [mahalanobis(row, self.mean[:, p], inverse) for row in rows[:, :, p]]
        return looped - start + SHARE * (time.perf_counter() - looped)


def compare(options: argparse.Namespace) -> None:
    report = benchmark.Report(options)
    train, test = benchmark.smooth_maps(options.images, 0), benchmark.smooth_maps(8, 1)
    one = [m[:1] for m in test]
    peers = report.peers({"anomalib": lambda: _Anomalib(options.dims)})
    loops = _Loops(options.dims)
    contestants: dict[str, Any] = {"adbench": _Ours(options.dims), **peers, LOOPS: loops}
    dear = [name for name in contestants if name != "adbench"]  # a minute each; one reading is enough beside the ratio
    report.say(f"{options.images} images, {options.dims} of 1792 dims, {options.threads} thread(s), medians")
    fits: dict[str, float] = {}
    failed: dict[str, str] = {}

    def attempt(name: str, run: Callable[[Any], object]) -> object:
        try:
            return run(contestants[name])
        except RuntimeError as error:  # such as of a library that a peer calls
            if name not in peers:
                raise
            failed[name] = str(error).splitlines()[0]
            return 0.0

    for what, repeats, run in (
        ("fit", options.repeats, lambda c: c.fit(train)),
        ("8 images", 3 * options.repeats, lambda c: c.score(test)),
        ("one image", 3 * options.repeats, lambda c: c.score(one)),
    ):
        calls = {name: lambda turn, name=name, run=run: attempt(name, run) for name in contestants}
        medians = benchmark.in_turns(calls, repeats, options.threads, once=dear)
        for name in failed.keys() & peers.keys():
            report.say(f"{what}, {name}: fails with {options.threads} thread(s): {failed[name]}")
            del medians[name], contestants[name], peers[name]
        report.table({f"{what}, {name}": value for name, value in medians.items()}, f"{what}, adbench")
        fits = fits or medians
    for name, contestant in contestants.items():
        report.say(f"state, {name}: {contestant.bytes / 1e9:.2f} GB")
        report.figures[benchmark.key("state", name, "bytes")] = contestant.bytes
    loops.score(test)
    exact = np.array(list(loops.distances.values())).T
    for name in ("adbench", *peers):
        got = contestants[name].score(test).reshape(len(exact), -1)[:, ::SHARE]
        report.say(f"{name}: distances within {np.abs(got / exact - 1).max():.1e} of the loops, which run in float64")
    report.finish(fits["anomalib"] / fits["adbench"] if "anomalib" in peers else None)


def memory(options: argparse.Namespace) -> None:
    """Write features of many images, then measure a fresh process that only knows the files."""
    report = benchmark.Report(options)
    with tempfile.TemporaryDirectory() as folder:
        benchmark.write_smooth_maps(Path(folder), options.images)
        done = benchmark.run_process(__file__, "--child", folder, "--threads", options.threads)
    for line in done.output.splitlines()[:-1]:
        report.say(line)
    report.figures |= benchmark.last_json(done.output)
    report.finish(None)


def child(options: argparse.Namespace) -> None:
    def peak() -> str:
        return f"peak {peak_memory() / 1e9:.2f} GB"

    print(f"imports                {peak()}")
    normal = Features(benchmark.read_maps(Path(options.child), [1, 2, 3]), None, (224, 224), source="random")
    method = PaDiM(reduction="none")
    fit = benchmark.seconds(lambda: method.fit(normal))
    print(f"all 1792 channels of {len(normal)} images, {options.threads} thread(s): fit {fit:.1f} s, {peak()}")
    score = benchmark.seconds(lambda: method.score(normal[:1]))
    print(f"score of one image {score:.1f} s, {peak()}")
    print(json.dumps({"fit_s": fit, "score_s": score, "peak_bytes": peak_memory()}))


def main() -> None:
    parser = benchmark.parser(__doc__, quick="24 images, 50 dims", repeats=3)
    parser.add_argument("--dims", type=int, default=550)
    parser.add_argument("--images", type=int, help="209 is MVTec's bottle; 391, hazelnut, with --memory")
    parser.add_argument("--memory", action="store_true", help="peak memory of reduction=none")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    options.images = 24 if options.quick else options.images or (391 if options.memory else 209)
    options.dims = 50 if options.quick else options.dims
    if options.child:
        child(options)
    elif options.memory:
        memory(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
