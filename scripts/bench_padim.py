"""PaDiM from layer maps to distances, against anomalib and numpy.linalg.inv position by position.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 1, 2, 3: 1792
channels, 3136 positions). All choose the same channels and add the same ridge. The peers run in
processes of their own; one that fails, such as anomalib where its covariances and their inverses do
not fit into the memory, is named and left out.

``--memory`` measures something else: the peak of a process that fits all 1792 channels of 391
images, MVTec's hazelnut, memory-mapped as the feature cache leaves them, and scores one.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import benchmark
import numpy as np
import torch
import torch.nn.functional as F
from peers import Peer, PeerFailed
from processes import last_json, run_process
from random_maps import mapped_features, smooth_maps, write_smooth_maps
from scipy.spatial.distance import mahalanobis

from adbench.features.features import Features
from adbench.kernels import patches, projection
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.method import state_bytes
from adbench.methods.padim import PaDiM
from adbench.system.machine import peak_memory
from adbench.system.parallel import libraries_known

RIDGE = 0.01 + 1e-5  # anomalib adds both
SHARE = 16
"""The loops over positions run on one in so many."""
LOOPS = f"loops, 1 / {SHARE} run and scaled"
Maps = list[np.ndarray]
"""(n, c, h, w) of each layer."""


class Ours:
    """The method itself; its map is the patch distances."""

    def __init__(self, dims: int, train: Maps, test: Maps) -> None:
        as_they_are = AnomalyMap(upsample="nearest", sigma=0)
        self.method = PaDiM(dims=dims, ridge=RIDGE, anomaly_map=as_they_are)
        self.train, self.test = (
            Features([torch.from_numpy(m) for m in maps], None, (56, 56), source="random")
            for maps in (train, test)
        )

    def fit(self) -> None:
        """Fit on the training images."""
        self.method.fit(self.train)

    def score(self, count: int) -> np.ndarray:
        """(count, 56, 56) distances of the first test images."""
        maps = self.method.score(self.test[:count]).maps
        assert maps is not None
        return maps.numpy()

    def size(self) -> int:
        """Bytes of the state."""
        return state_bytes(self.method)


class Anomalib:
    """Its embedding, its Gaussian and its distance."""

    def __init__(self, dims: int, train: Maps, test: Maps) -> None:
        from anomalib.models.components import MultiVariateGaussian
        from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator

        self.gaussian, self.distance = MultiVariateGaussian(), AnomalyMapGenerator.compute_distance
        self.chosen = projection.select(1792, dims, 0)
        self.train = [torch.from_numpy(m) for m in train]
        self.test = [torch.from_numpy(m) for m in test]

    def embed(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """(n, dims, 56, 56) of the chosen channels."""
        finer = [F.interpolate(m, size=maps[0].shape[-2:], mode="nearest") for m in maps]
        return torch.index_select(torch.cat(finer, dim=1), 1, self.chosen)

    def fit(self) -> None:
        """Fit on the training images."""
        # In batches of 32, as its dataloader would; to join whole layers would need 4.7 GB.
        n = len(self.train[0])
        batches = [self.embed([m[i : i + 32] for m in self.train]) for i in range(0, n, 32)]
        self.stats = self.gaussian.fit(torch.vstack(batches))

    def score(self, count: int) -> np.ndarray:
        """(count, 56, 56) distances of the first test images."""
        embedded = self.embed([m[:count] for m in self.test])
        distances: np.ndarray = self.distance(embedded, self.stats)[:, 0].numpy()
        return distances

    def size(self) -> int:
        """Bytes of the state."""
        return sum(t.nbytes for t in self.stats)


class Loops:
    """The plain way of early public code: numpy.cov, inverse and scipy's mahalanobis, in loops."""

    def __init__(self, dims: int, train: Maps, test: Maps) -> None:
        self.chosen = projection.select(1792, dims, 0)
        self.train, self.test = train, test

    def embed(self, maps: Maps, count: int) -> np.ndarray:
        """(count, dims, 3136) of the chosen channels."""
        images = ([torch.from_numpy(m[i : i + 1]) for m in maps] for i in range(count))
        stacked = [patches.stack(image, "nearest")[:, self.chosen] for image in images]
        return torch.cat(stacked).flatten(2).numpy()

    def fit(self) -> float:
        """Fit on the training images; seconds as if all positions were looped over."""
        start = time.perf_counter()
        rows = self.embed(self.train, len(self.train[0]))
        self.mean = rows.mean(axis=0)
        self.covariances = {}
        looped = time.perf_counter()
        for p in range(0, rows.shape[2], SHARE):
            covariance = np.cov(rows[:, :, p], rowvar=False)
            self.covariances[p] = covariance + RIDGE * np.identity(rows.shape[1])
        self.bytes = 4 * rows.shape[1] ** 2 * rows.shape[2]
        return looped - start + SHARE * (time.perf_counter() - looped)

    def score(self, count: int) -> float:
        """Score the first test images; seconds as if all positions were looped over."""
        start = time.perf_counter()
        rows = self.embed(self.test, count)
        looped = time.perf_counter()
        self.found = {}
        for p, covariance in self.covariances.items():
            inverse = np.linalg.inv(covariance)
            self.found[p] = [mahalanobis(row, self.mean[:, p], inverse) for row in rows[:, :, p]]
        return looped - start + SHARE * (time.perf_counter() - looped)

    def distances(self) -> np.ndarray:
        """(n, positions / SHARE) of the images that were scored last."""
        return np.array(list(self.found.values())).T

    def size(self) -> int:
        """Bytes of the state, if all positions were looped over."""
        return self.bytes


def compare(options: argparse.Namespace) -> None:
    report = benchmark.Report(options)
    train = [m.numpy() for m in smooth_maps(options.images, 0)]
    test = [m.numpy() for m in smooth_maps(8, 1)]
    arguments = options.dims, train, test
    ours = Ours(*arguments)
    report.say(
        f"{options.images} images, {options.dims} of 1792 dims, {options.threads} thread(s), "
        "medians"
    )
    peers = report.peer_processes(
        {"anomalib": partial(Anomalib, *arguments), LOOPS: partial(Loops, *arguments)}
    )
    fits: dict[str, float] = {}
    for title, repeats, what, given in (
        ("fit", options.repeats, "fit", ()),
        ("8 images", 3 * options.repeats, "score", (8,)),
        ("one image", 3 * options.repeats, "score", (1,)),
    ):
        calls: dict[str, benchmark.Contestant] = {
            "adbench": lambda turn, what=what, given=given: getattr(ours, what)(*given)
        }
        for name, peer in peers.items():
            if peer.alive:
                calls[name] = lambda turn, peer=peer, what=what, given=given: peer.seconds(
                    what, *given
                )
        # A call of a peer can take a minute; one reading is enough beside such a ratio.
        medians = benchmark.in_turns(calls, repeats, options.threads, once=list(peers))
        report.table({f"{title}, {n}": s for n, s in medians.items()}, f"{title}, adbench")
        fits = fits or medians
    sizes = {"adbench": ours.size(), **{n: p.value("size") for n, p in peers.items() if p.alive}}
    for name, size in sizes.items():
        report.say(f"state, {name}: {size / 1e9:.2f} GB")
        report.figures[benchmark.key("state", name, "bytes")] = size
    _say_differences(report, ours, peers)
    report.finish(benchmark.over(fits, "anomalib", "adbench"))


def _say_differences(report: benchmark.Report, ours: Ours, peers: dict[str, Peer]) -> None:
    """How near the distances of the others are to those of the loops."""
    if LOOPS not in peers:
        return
    try:
        peers[LOOPS].seconds("score", 8)
        exact = peers[LOOPS].value("distances")
        scored = {"adbench": ours.score(8)}
        if "anomalib" in peers and peers["anomalib"].alive:
            scored["anomalib"] = peers["anomalib"].value("score", 8)
    except PeerFailed:  # it has said why
        return
    for name, found in scored.items():
        difference = np.abs(found.reshape(len(exact), -1)[:, ::SHARE] / exact - 1).max()
        report.say(f"{name}: distances within {difference:.1e} of the loops, which run in float64")


def memory(options: argparse.Namespace) -> None:
    """Write features of many images, then measure a fresh process that only knows the files."""
    report = benchmark.Report(options)
    with tempfile.TemporaryDirectory() as folder:
        write_smooth_maps(Path(folder), options.images)
        done = run_process(__file__, "--child", folder, "--threads", options.threads)
    for line in done.output.splitlines()[:-1]:
        report.say(line)
    report.figures |= last_json(done.output)
    report.finish(None)


def child(options: argparse.Namespace) -> None:
    def peak() -> str:
        return f"peak {peak_memory() / 1e9:.2f} GB"

    print(f"imports                {peak()}")
    normal = mapped_features(Path(options.child), [1, 2, 3])
    method = PaDiM(reduction="none")
    with libraries_known():
        fit = benchmark.seconds(lambda: method.fit(normal))
        print(
            f"all 1792 channels of {len(normal)} images, {options.threads} thread(s): "
            f"fit {fit:.1f} s, {peak()}"
        )
        score = benchmark.seconds(lambda: method.score(normal[:1]))
    print(f"score of one image {score:.1f} s, {peak()}")
    print(json.dumps({"fit_s": fit, "score_s": score, "peak_bytes": peak_memory()}))


def main() -> None:
    parser = benchmark.parser(__doc__, quick="24 images, 50 dims", repeats=3, peer_seconds=600)
    parser.add_argument("--dims", type=int, default=550)
    parser.add_argument(
        "--images", type=int, help="209 is MVTec's bottle; 391, hazelnut, with --memory"
    )
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
