"""Greedy k-centre selection against anomalib's and patchcore-inspection's loops, on the same points and threads.

The peers take one pass over all points per pick, so their time is exactly linear in the picks: a few picks are run and
multiplied, and marked "scaled". patchcore-inspection is not on PyPI; its loop is described here anew.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

from adbench.coreset import greedy
from adbench.projection import gaussian


def make(images: int, d: int, seed: int = 0) -> torch.Tensor:
    """(784 images, d) patches of aligned objects: a smooth map that all share, one of each, mixed, rectified, noise.

    The mixture's spectrum falls as that of a trained network's layers does.
    """
    common, own = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    mixture = torch.randn(64, d, generator=common) * torch.logspace(0, -2, 64)[:, None]
    shared = torch.randn(1, 64, 7, 7, generator=common)
    blocks = []
    for first in range(0, images, 16):
        maps = shared + 0.3 * torch.randn(min(16, images - first), 64, 7, 7, generator=own)
        smooth = F.interpolate(maps, (28, 28), mode="bicubic")
        rows = smooth.permute(0, 2, 3, 1).reshape(-1, 64) @ mixture
        blocks.append(torch.relu(rows) + 0.02 * torch.randn(rows.shape, generator=own))
    return torch.cat(blocks)


def patchcore_inspection(points: torch.Tensor, picks: int) -> list[int]:
    """The loop of amazon-science/patchcore-inspection's ApproximateGreedyCoresetSampler, 10 starting points."""

    def differences(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        squares_a = a.unsqueeze(1).bmm(a.unsqueeze(2)).reshape(-1, 1)
        squares_b = b.unsqueeze(1).bmm(b.unsqueeze(2)).reshape(1, -1)
        return (-2 * a.mm(b.T) + squares_a + squares_b).clamp(0, None).sqrt()

    starts = torch.from_numpy(np.random.default_rng(0).choice(len(points), 10, replace=False))
    anchor = differences(points, points[starts]).mean(dim=-1).reshape(-1, 1)
    order = []
    for _ in range(picks):
        pick = int(torch.argmax(anchor))
        order.append(pick)
        anchor = torch.cat([anchor, differences(points, points[pick : pick + 1])], dim=-1)
        anchor = torch.min(anchor, dim=1).values.reshape(-1, 1)
    return order


def anomalib(points: torch.Tensor, picks: int) -> list[int]:
    """KCenterGreedy of anomalib; three axes keep it from projecting the points a second time."""
    from anomalib.models.components import KCenterGreedy

    with redirect_stderr(StringIO()):  # its progress bar
        return KCenterGreedy(points[:, None], sampling_ratio=(picks + 0.5) / len(points)).select_coreset_idxs()


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features", help="a .npy file of (n, d) float32 patches instead of synthetic ones")
    parser.add_argument(
        "--images", type=int, default=209, help="synthetic images of 784 patches; 209 is MVTec's bottle"
    )
    parser.add_argument("--dim", type=int, default=128, help="of the Gaussian projection; 0 for none")
    parser.add_argument("--ratio", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", type=int, default=20, help="picks that the peers run")
    parser.add_argument("--quick", action="store_true", help="20 images, 2 repeats, 5 picks of the peers")
    options = parser.parse_args()
    images, repeats, part = (20, 2, 5) if options.quick else (options.images, options.repeats, options.part)
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)

    points = torch.from_numpy(np.load(options.features)) if options.features else make(images, 1536)
    if options.dim:
        projection = gaussian(points.shape[1], options.dim, 0)
        points = torch.cat([block @ projection for block in points.split(8192)])
    n, d = points.shape
    size = int(n * options.ratio)
    print(f"{n} points, {d} dimensions, {size} picks, {options.threads} threads")

    peers: dict[str, Callable[[torch.Tensor, int], list[int]]] = {"patchcore-inspection": patchcore_inspection}
    try:
        import_module("anomalib.models.components")
        peers["anomalib"] = anomalib
    except ImportError:
        print("anomalib: not installed (pip install 'adbench[peers]')")

    greedy(points[:5000], 50)  # loads the compiled loops
    tile, centers = points[:256].numpy(), points[:1024].numpy()
    taken: dict[str, list[float]] = {}
    for _ in range(repeats):  # in turns, so that a busy machine is busy for all
        taken.setdefault("adbench", []).append(seconds(lambda: greedy(points, size)))
        products = n * size / (len(tile) * len(centers))
        limit = seconds(lambda: [tile @ centers.T for _ in range(50)]) / 50 * products
        taken.setdefault("products of all pairs (scaled)", []).append(limit)
        for name, run in peers.items():
            few = seconds(lambda run=run: run(points, 1))
            many = seconds(lambda run=run: run(points, part + 1))
            taken.setdefault(f"{name} (scaled)", []).append((many - few) / part * size)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, median in medians.items():
        print(f"{name:35} {median:10.2f} s   {median / medians['adbench']:8.1f} x")
    print(f"ratio: {medians['patchcore-inspection (scaled)'] / medians['adbench']:.1f}")


if __name__ == "__main__":
    main()
