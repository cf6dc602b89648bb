"""PaDiM from layer maps to distances: adbench against anomalib and against numpy.linalg.inv position by position.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 1, 2, 3: 1792 channels, 3136 positions).
All choose the same channels and add the same ridge. anomalib is left out where it is not installed.

``--memory`` measures something else: the peak of a process that fits all 1792 channels of 391 images, MVTec's hazelnut,
memory-mapped as the feature cache leaves them, and scores one.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import mahalanobis
from threadpoolctl import threadpool_limits

from adbench import patches, projection
from adbench.core import Features
from adbench.fitting import state_bytes
from adbench.machine import peak_memory
from adbench.methods.padim import PaDiM
from adbench.patches import AnomalyMap

SHAPES = ((256, 56), (512, 28), (1024, 14))
RIDGE = 0.01 + 1e-5  # anomalib adds both
SHARE = 16  # the loops over positions run on one in so many


def make(n: int, seed: int) -> list[torch.Tensor]:
    """Each layer a random mixture of 64 smooth maps per image, as correlated as a network's channels, and noise."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.Generator().manual_seed(99)
    maps = []
    for channels, edge in SHAPES:
        mixture = torch.randn(channels, 64, generator=mixing) * torch.logspace(0, -2, 64)
        layer = torch.empty(n, channels, edge, edge)
        for image in layer:
            smooth = F.interpolate(torch.randn(1, 64, 7, 7, generator=generator), (edge, edge), mode="bicubic")
            image[:] = F.conv2d(smooth, mixture[:, :, None, None])[0]
            image += 0.02 * torch.randn(image.shape, generator=generator)
        maps.append(layer.relu_())
    return maps


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
        rows = self.embed(maps)
        self.mean = rows.mean(axis=0)
        self.covariances = {}
        start = time.perf_counter()
        for p in range(0, rows.shape[2], SHARE):
            self.covariances[p] = np.cov(rows[:, :, p], rowvar=False) + RIDGE * np.identity(rows.shape[1])
        self.bytes = 4 * rows.shape[1] ** 2 * rows.shape[2]
        return (time.perf_counter() - start) * (SHARE - 1)

    def score(self, maps: list[torch.Tensor]) -> float:
        rows = self.embed(maps)
        start = time.perf_counter()
        self.distances = {}
        for p, covariance in self.covariances.items():
            inverse = np.linalg.inv(covariance)
            self.distances[p] = [mahalanobis(row, self.mean[:, p], inverse) for row in rows[:, :, p]]
        return (time.perf_counter() - start) * (SHARE - 1)


def seconds(run: Callable[[], Any]) -> float:
    """Of one call, with what the call says that it left out."""
    start = time.perf_counter()
    left_out = run()
    return time.perf_counter() - start + (left_out if isinstance(left_out, float) else 0.0)


def compare(options: argparse.Namespace) -> None:
    train, test = make(options.images, 0), make(8, 1)
    contestants: dict[str, Any] = {"adbench": _Ours(options.dims)}
    try:
        contestants["anomalib"] = _Anomalib(options.dims)
    except ImportError:
        print("anomalib is not installed; pip install 'adbench[peers]'")
    loops = contestants[f"numpy.linalg.inv loops, 1 / {SHARE} run and scaled"] = _Loops(options.dims)
    times: dict[str, list[list[float]]] = {name: [[], [], []] for name in contestants}
    for repeat in range(options.repeats):
        for name, contestant in contestants.items():
            if repeat and not isinstance(contestant, _Ours):
                continue  # a minute each; one reading is enough beside the ratio
            fit, one, eight = times[name]
            fit.append(seconds(lambda c=contestant: c.fit(train)))
            for _ in range(3):
                eight.append(seconds(lambda c=contestant: c.score(test)))
                one.append(seconds(lambda c=contestant: c.score([m[:1] for m in test])))
    print(f"{options.images} images, {options.dims} of 1792 dims, threads {options.threads}; medians")
    for name, readings in times.items():
        fit, one, eight = map(statistics.median, readings)
        print(f"{name}: fit {fit:.2f} s, score {1e3 * one:.0f} ms, 8 images {1e3 * eight:.0f} ms", end="")
        print(f", state {contestants[name].bytes / 1e9:.2f} GB")
    loops.score(test)
    exact = np.array(list(loops.distances.values())).T
    for name in list(contestants)[:-1]:
        got = contestants[name].score(test).reshape(len(exact), -1)[:, ::SHARE]
        print(f"{name}: distances within {np.abs(got / exact - 1).max():.1e} of the loops, which run in float64")
    if "anomalib" in contestants:
        print(f"ratio: {statistics.median(times['anomalib'][0]) / statistics.median(times['adbench'][0]):.1f}")


def memory(options: argparse.Namespace) -> None:
    """Write features of many images, then measure a fresh process that only knows the files."""
    with tempfile.TemporaryDirectory() as folder:
        for layer, (channels, edge) in enumerate(SHAPES):
            path = Path(folder, f"{layer}.npy")
            array = np.lib.format.open_memmap(path, "w+", np.float32, (options.images, channels, edge, edge))
            for i in range(0, options.images, 16):
                array[i : i + 16] = make(min(16, options.images - i), i)[layer].numpy()
        threads = str(options.threads)
        subprocess.run([sys.executable, __file__, "--child", folder, "--threads", threads], check=True)


def child(options: argparse.Namespace) -> None:
    def peak() -> str:
        return f"{peak_memory() / 1e9:.2f} GB"

    print(f"imports                peak {peak()}")
    maps = [torch.from_numpy(np.load(Path(options.child, f"{i}.npy"), mmap_mode="c")) for i in range(len(SHAPES))]
    normal = Features(maps, None, (224, 224), source="random")
    method = PaDiM(reduction="none")
    print(f"fit of {len(normal)} images {seconds(lambda: method.fit(normal)):6.1f} s  peak {peak()}")
    print(f"score of one image {seconds(lambda: method.score(normal[:1])):6.1f} s  peak {peak()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dims", type=int, default=550)
    parser.add_argument("--images", type=int, help="209 is MVTec's bottle; 391, hazelnut, with --memory")
    parser.add_argument("--repeats", type=int, default=3, help="of adbench; the peers run once")
    parser.add_argument("--quick", action="store_true", help="24 images, 50 dims")
    parser.add_argument("--memory", action="store_true", help="peak memory of reduction=none")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
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
