"""Nearest neighbours of one image's 784 patches in a bank, against the peers and the plain product.

A coreset of the features is the bank, as in PatchCore. The plain product is numpy's over all
coordinates in chunks and a running minimum: what is reached without excluding anything. The table
gives milliseconds. All of them are timed in turns, so that load on the machine hits all alike; the
peers run in processes of their own.
"""

from collections.abc import Callable
from functools import partial

import benchmark
import numpy as np
import torch
from bench_coreset import make

from adbench.kernels.coreset import greedy
from adbench.kernels.neighbors import Neighbors
from adbench.kernels.projection import gaussian

Search = Callable[[torch.Tensor], object]
"""Is given (784, d) queries."""


def plain_product(bank: torch.Tensor) -> Search:
    rows = bank.numpy()
    squares = np.einsum("ij,ij->i", rows, rows)

    def search(queries: torch.Tensor) -> np.ndarray:
        best = np.full(len(queries), np.inf, np.float32)
        for first in range(0, len(rows), 2048):
            part = queries.numpy() @ rows[first : first + 2048].T
            part *= -2
            part += squares[first : first + 2048]
            np.minimum(best, part.min(axis=1), out=best)
        return best

    return search


def faiss_flat(bank: torch.Tensor, k: int, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    return lambda queries: index.search(queries.numpy(), k)


def scikit_learn(bank: torch.Tensor, k: int) -> Search:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(bank.numpy())
    return lambda queries: index.kneighbors(queries.numpy())


def anomalib(bank: torch.Tensor, k: int) -> Search:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel.__new__(PatchcoreModel)  # its search alone, without a backbone
    torch.nn.Module.__init__(model)
    model.register_buffer("memory_bank", bank)
    return lambda queries: model.nearest_neighbors(queries, k)


class Searching:
    """A peer: an index of the bank, and the queries of each round.

    Args:
        make: Makes the index from the bank.
        bank: (n, d) float32.
        tests: (q, d) float32, 784 per image.
    """

    def __init__(
        self, make: Callable[[torch.Tensor], Search], bank: np.ndarray, tests: np.ndarray
    ) -> None:
        self.search, self.tests = make(torch.from_numpy(bank)), torch.from_numpy(tests)

    def __call__(self, turn: int) -> None:
        """Search with the queries of this round."""
        self.search(image(self.tests, turn))


def image(tests: torch.Tensor, turn: int) -> torch.Tensor:
    """The 784 patches of one image, the images in turn."""
    first = turn * 784 % len(tests)
    return tests[first : first + 784]


def load(path: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="r+"))


def main() -> None:
    parser = benchmark.parser(
        __doc__, quick="20 images, 3 repeats, bank of 1638", repeats=10, peer_seconds=300
    )
    argument = parser.add_argument
    argument("--features", help="a .npy file of (n, d) float32 patches to select the bank from")
    argument("--queries", help="a .npy file of (q, d) float32 test patches, 784 per image")
    argument("--images", type=int, default=209, help="synthetic images; 209 is MVTec's bottle")
    argument("--bank", type=int, nargs="+", default=[1638, 16384], help="sizes of the bank")
    argument("--k", type=int, default=1, help="neighbours of each patch")
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    images, repeats, sizes = options.images, options.repeats, options.bank
    if options.quick:
        images, repeats, sizes = 20, 3, [1638]

    features = load(options.features) if options.features else make(images, 1536)
    tests = load(options.queries) if options.queries else make(repeats, 1536, seed=1)
    d, k = features.shape[1], options.k
    projection = gaussian(d, min(d, 128), 0)
    projected = torch.cat([block @ projection for block in features.split(8192)])
    order = greedy(projected, max(sizes))

    for size in sizes:
        bank = features[torch.from_numpy(order[:size])]
        build = benchmark.seconds(lambda bank=bank: Neighbors(bank))
        index = Neighbors(bank)
        report.say(
            f"bank {size} x {d}, k {k}, {options.threads} thread(s), medians of {repeats}; "
            f"built in {build:.2f} s, {index.nbytes >> 20} MB"
        )
        searches: dict[str, Search] = {
            "adbench": lambda rows, index=index: index.search(rows, k),
            "plain product": plain_product(bank),
            "torch.cdist": lambda rows, bank=bank: torch.cdist(rows, bank).topk(k, largest=False),
        }
        calls: dict[str, benchmark.Contestant] = {
            name: lambda turn, search=search: search(image(tests, turn))
            for name, search in searches.items()
        }
        makers = {
            "anomalib": partial(anomalib, k=k),
            "faiss": partial(faiss_flat, k=k, threads=options.threads),
            "scikit-learn": partial(scikit_learn, k=k),
        }
        arrays = bank.numpy(), np.ascontiguousarray(tests.numpy())
        peers = report.peer_processes(
            {name: partial(Searching, make, *arrays) for name, make in makers.items()}
        )
        medians = benchmark.in_turns({**calls, **peers}, repeats, options.threads, warm_up=True)
        for peer in peers.values():
            peer.close()
        report.table(medians, "adbench")
        report.figures |= {
            benchmark.key("bank", size, name, "s"): value for name, value in medians.items()
        }
    ours, rival = medians["adbench"], "anomalib" if "anomalib" in medians else "plain product"
    report.figures["products_over_adbench"] = medians["plain product"] / ours
    report.finish(medians[rival] / ours)


if __name__ == "__main__":
    main()
