"""Greedy k-centre selection against the loops of anomalib and of patchcore-inspection.

All get the same points and threads. The peers take one pass over all points per pick, so their time
is exactly linear in the picks: a few picks are run and multiplied, and marked "scaled". Each peer
runs in a process of its own. patchcore-inspection is not on PyPI; its loop is described here anew.
"""

from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO

import benchmark
import numpy as np
import torch
import torch.nn.functional as F

from adbench.kernels.coreset import greedy
from adbench.kernels.projection import gaussian

Select = Callable[[torch.Tensor, int], list[int]]
"""Picks so many of (n, d) points."""


def make(images: int, d: int, seed: int = 0) -> torch.Tensor:
    """(784 images, d) patches of aligned objects, rectified, with noise.

    They are mixed from a smooth map that all images share and one of each. The mixture's spectrum
    falls as that of a trained network's layers does.
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
    """The loop of amazon-science/patchcore-inspection's ApproximateGreedyCoresetSampler.

    It has 10 starting points.
    """

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

    ratio = (picks + 0.5) / len(points)
    with redirect_stderr(StringIO()):  # its progress bar
        order: list[int] = KCenterGreedy(
            points[:, None], sampling_ratio=ratio
        ).select_coreset_idxs()
    return order


class Scaled:
    """A peer on some points: the seconds of ``size`` picks, from those of ``part`` of them."""

    def __init__(self, select: Select, points: np.ndarray, part: int, size: int) -> None:
        self.select, self.points, self.part, self.size = (
            select,
            torch.from_numpy(points),
            part,
            size,
        )
        self.select(self.points[:64], 1)  # says whether it is installed

    def __call__(self, turn: int) -> float:
        """Seconds of the whole selection."""
        one = benchmark.seconds(lambda: self.select(self.points, 1))
        more = benchmark.seconds(lambda: self.select(self.points, self.part + 1))
        return (more - one) / self.part * self.size


def main() -> None:
    quick = "20 images, 2 repeats, 5 picks of the peers"
    parser = benchmark.parser(__doc__, quick, repeats=5, peer_seconds=600)
    argument = parser.add_argument
    argument("--features", help="a .npy file of (n, d) float32 patches instead of synthetic ones")
    argument("--images", type=int, default=209, help="synthetic images; 209 is MVTec's bottle")
    argument("--dim", type=int, default=128, help="of the Gaussian projection; 0 for none")
    argument("--ratio", type=float, default=0.1)
    argument("--part", type=int, default=20, help="picks that the peers run")
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    images, repeats, part = options.images, options.repeats, options.part
    if options.quick:
        images, repeats, part = 20, 2, 5

    given = options.features
    points = torch.from_numpy(np.load(given)) if given else make(images, 1536)
    if options.dim:
        projection = gaussian(points.shape[1], options.dim, 0)
        points = torch.cat([block @ projection for block in points.split(8192)])
    n, d = points.shape
    size = int(n * options.ratio)
    report.say(
        f"{n} points, {d} dimensions, {size} picks, {options.threads} thread(s); "
        f"medians of {repeats}"
    )

    def products(turn: int) -> float:
        tile, centers = points[:256].numpy(), points[:1024].numpy()
        took = benchmark.seconds(lambda: [tile @ centers.T for _ in range(50)])
        return took / 50 * n * size / (len(tile) * len(centers))

    selections = {"patchcore-inspection": patchcore_inspection, "anomalib": anomalib}
    peers = report.peer_processes(
        {name: partial(Scaled, s, points.numpy(), part, size) for name, s in selections.items()}
    )
    greedy(points[:5000], 50)  # loads the compiled loops
    contestants: dict[str, benchmark.Contestant] = {
        "adbench": lambda turn: greedy(points, size),
        "products of all pairs": products,
        **peers,
    }
    medians = benchmark.in_turns(contestants, repeats, options.threads, warm_up=True)
    report.table(medians, "adbench", dict.fromkeys([*peers, "products of all pairs"], "scaled"))
    report.finish(benchmark.over(medians, "patchcore-inspection", "adbench"))


if __name__ == "__main__":
    main()
