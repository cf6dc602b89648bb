"""SPADE's comparison of one image with 50 others: adbench against SPADE-pytorch's loop, cdist and a plain product.

Shapes are WideResNet50's at 224 pixels. The features come from a random network on 8 smooth fields with noise, so that
their spectrum (60, 72, 83 and 90% of the variance on 8, 16, 32 and 64 axes) is like that of EfficientNet-lite0's inner
layers on MVTec's bottle. Contestants take turns. The peers' cost is exactly linear in the positions of the gallery, so
they run on a part of it and are scaled to the whole; adbench, whose cost depends on the features, runs on all of it.
"""

from collections.abc import Callable

import benchmark
import numpy as np
import torch
import torch.nn.functional as F

from adbench.features.features import Features
from adbench.bench.fitting import state_bytes
from adbench.methods.spade import SPADE
from adbench.system.stages import stages

Compare = Callable[[torch.Tensor, torch.Tensor], object]
"""Compares a test image (c, h, w) with positions of the gallery (p, c)."""


def make(n: int, seed: int) -> Features:
    maps = []
    for channels, edge in benchmark.SHAPES:
        draw, network = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(channels)
        fields = F.interpolate(torch.randn(n, 8, edge // 4, edge // 4, generator=draw), (edge, edge), mode="bicubic")
        first = torch.randn(channels, 8, 1, 1, generator=network)
        second = torch.randn(channels, channels, 1, 1, generator=network)
        layer = torch.relu(F.conv2d(torch.relu(F.conv2d(fields, first)), second))
        noise = torch.randn(layer.shape, generator=draw)
        maps.append(torch.relu(layer + 0.3 * layer.std() * noise))
    vectors = torch.randn(n, 2048, generator=torch.Generator().manual_seed(seed))
    return Features(maps, vectors, (224, 224), source="random")


def loop(image: torch.Tensor, gallery: torch.Tensor) -> object:
    """SPADE-pytorch: 100 positions at a time minus the whole image, all distances kept, then the minimum."""
    distances = [(part[:, :, None, None] - image[None] + 1e-6).norm(dim=1) for part in gallery.split(100)]
    return torch.cat(distances).min(dim=0)


def cdist(image: torch.Tensor, gallery: torch.Tensor) -> object:
    return torch.cdist(image.flatten(1).T, gallery).min(dim=1)


def product(image: torch.Tensor, gallery: torch.Tensor) -> object:
    """Squares and one product per 256 positions through numpy's BLAS, then the minimum: the limit without a screen."""
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


def main() -> None:
    parser = benchmark.parser(__doc__, quick="K = 5 of 8 training images, 3 repeats", repeats=5)
    parser.add_argument("--train", type=int, default=60, help="training images; 50 of them make the gallery")
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

    def scaled(compare: Compare, most: int) -> benchmark.Contestant:
        def run(turn: int) -> float:
            seconds = 0.0
            for maps, trained in zip(test.maps, normal.maps, strict=True):
                positions = trained[0].flatten(1).T.contiguous()
                part = positions[:most]
                took = benchmark.seconds(lambda image=maps[turn], part=part: compare(image, part))
                seconds += took * k * len(positions) / len(part)
            return seconds

        return run

    contestants = {"adbench": ours, **{name: scaled(*peer) for name, peer in PEERS.items()}}
    medians = benchmark.in_turns(contestants, repeats, options.threads)
    report.say(f"one image, {n} training images, K = {k}, {options.threads} thread(s), medians of {repeats}")
    maps = sum(m.nbytes for m in normal.maps)
    report.say(f"fit {fit:.2f} s, state {state_bytes(spade) / 1e6:.0f} MB, of which {maps / 1e6:.0f} the features' own")
    report.table(medians, "adbench", dict.fromkeys(PEERS, "scaled"))
    report.finish(medians["SPADE-pytorch"] / medians["adbench"])


if __name__ == "__main__":
    main()
