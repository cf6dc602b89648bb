"""SPADE's comparison of one image with 50 others, against SPADE-pytorch's loop and two more ways.

Shapes are WideResNet50's at 224 pixels. The features come from a random network on 8 smooth fields
with noise, so that their spectrum (60, 72, 83 and 90% of the variance on 8, 16, 32 and 64 axes) is
like that of EfficientNet-lite0's inner layers on MVTec's bottle. Contestants take turns, the peers
in processes of their own. The peers' cost is exactly linear in the positions of the gallery, so
they run on a part of it and are scaled to the whole; adbench, whose cost depends on the features,
runs on all of it.
"""

from collections.abc import Callable
from functools import partial

import benchmark
import numpy as np
import torch
import torch.nn.functional as F
from random_maps import SHAPES

from adbench.features.features import Features
from adbench.methods.method import state_bytes
from adbench.methods.spade import SPADE
from adbench.system.stages import stages

Compare = Callable[[torch.Tensor, torch.Tensor], object]
"""Compares a test image (c, h, w) with positions of the gallery (p, c)."""


def make(n: int, seed: int) -> Features:
    maps = []
    for channels, edge in SHAPES:
        draw = torch.Generator().manual_seed(seed)
        network = torch.Generator().manual_seed(channels)
        coarse = torch.randn(n, 8, edge // 4, edge // 4, generator=draw)
        fields = F.interpolate(coarse, (edge, edge), mode="bicubic")
        first = torch.randn(channels, 8, 1, 1, generator=network)
        second = torch.randn(channels, channels, 1, 1, generator=network)
        layer = torch.relu(F.conv2d(torch.relu(F.conv2d(fields, first)), second))
        noise = torch.randn(layer.shape, generator=draw)
        maps.append(torch.relu(layer + 0.3 * layer.std() * noise))
    vectors = torch.randn(n, 2048, generator=torch.Generator().manual_seed(seed))
    return Features(maps, vectors, (224, 224), source="random")


def loop(image: torch.Tensor, gallery: torch.Tensor) -> object:
    """SPADE-pytorch: 100 positions at a time minus the whole image, then the minimum of all."""
    distances = [
        (part[:, :, None, None] - image[None] + 1e-6).norm(dim=1) for part in gallery.split(100)
    ]
    return torch.cat(distances).min(dim=0)


def cdist(image: torch.Tensor, gallery: torch.Tensor) -> object:
    return torch.cdist(image.flatten(1).T, gallery).min(dim=1)


def product(image: torch.Tensor, gallery: torch.Tensor) -> object:
    """Squares and one product per 256 positions by numpy's BLAS: the limit without a screen."""
    queries, bank = image.flatten(1).T.numpy(), gallery.numpy()
    squares = np.einsum("ij,ij->i", bank, bank)
    near = []
    for i in range(0, len(queries), 256):
        products = (-2 * queries[i : i + 256]) @ bank.T
        products += squares
        near.append(products.min(axis=1))
    return np.concatenate(near) + np.einsum("ij,ij->i", queries, queries)


PEERS: dict[str, tuple[Compare, int]] = {
    "SPADE-pytorch": (loop, 100),
    "torch.cdist": (cdist, 3136),
    "product": (product, 3136),
}
"""How they compare, and with how many positions at most they are run."""


class Scaled:
    """A peer: seconds of comparing an image with k others, from a part of the positions of one.

    Args:
        compare: What it does.
        positions: How many of them it is run on at most, for each layer.
        k: How many images there are.
        test: (n, c, h, w) of each layer.
        trained: (c, h, w) of each layer of one training image.
    """

    def __init__(
        self,
        compare: Compare,
        positions: int,
        k: int,
        test: list[np.ndarray],
        trained: list[np.ndarray],
    ) -> None:
        self.compare, self.positions, self.k = compare, positions, k
        self.test = [torch.from_numpy(maps) for maps in test]
        self.galleries = [torch.from_numpy(m).flatten(1).T.contiguous() for m in trained]

    def __call__(self, turn: int) -> float:
        """Seconds of the image of this round."""
        seconds = 0.0
        for maps, gallery in zip(self.test, self.galleries, strict=True):
            part = gallery[: self.positions]
            took = benchmark.seconds(partial(self.compare, maps[turn], part))
            seconds += took * self.k * len(gallery) / len(part)
        return seconds


def main() -> None:
    quick = "K = 5 of 8 training images, 3 repeats"
    parser = benchmark.parser(__doc__, quick, repeats=5, peer_seconds=300)
    parser.add_argument(
        "--train", type=int, default=60, help="training images; 50 of them make the gallery"
    )
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    n, k, repeats = (8, 5, 3) if options.quick else (options.train, 50, options.repeats)
    normal, test = make(n, 0), make(repeats + 1, 1)
    spade = SPADE(k=k)
    fit = benchmark.seconds(lambda: spade.fit(normal))
    spade.score(test[repeats:])  # loads the compiled loops

    def ours(turn: int) -> float:
        with stages() as inside:
            spade.score(test[turn : turn + 1])
        return inside["distance"]

    images = [m.numpy() for m in test.maps]
    trained = [m[0].numpy() for m in normal.maps]
    peers = report.peer_processes(
        {name: partial(Scaled, *peer, k, images, trained) for name, peer in PEERS.items()}
    )
    contestants: dict[str, benchmark.Contestant] = {"adbench": ours, **peers}
    medians = benchmark.in_turns(contestants, repeats, options.threads)
    report.say(
        f"one image, {n} training images, K = {k}, {options.threads} thread(s), "
        f"medians of {repeats}"
    )
    state, maps = state_bytes(spade) / 1e6, sum(m.nbytes for m in normal.maps) / 1e6
    report.say(f"fit {fit:.2f} s, state {state:.0f} MB, of which {maps:.0f} the features' own")
    report.table(medians, "adbench", dict.fromkeys(PEERS, "scaled"))
    report.finish(benchmark.over(medians, "SPADE-pytorch", "adbench"))


if __name__ == "__main__":
    main()
