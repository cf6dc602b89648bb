"""Nearest neighbours of one image's 784 patches in a bank, against the peers and the plain product, milliseconds.

A coreset of the features is the bank, as in PatchCore. The plain product is numpy's over all coordinates in chunks and
a running minimum: what is reached without pruning.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from bench_coreset import make
from threadpoolctl import threadpool_limits

from adbench.coreset import greedy
from adbench.neighbors import Neighbors
from adbench.projection import gaussian


def plain_product(bank: torch.Tensor) -> Callable[[torch.Tensor], object]:
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


def faiss_flat(bank: torch.Tensor, k: int, threads: int) -> Callable[[torch.Tensor], object]:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.numpy())
    return lambda queries: index.search(queries.numpy(), k)


def scikit_learn(bank: torch.Tensor, k: int) -> Callable[[torch.Tensor], object]:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(bank.numpy())
    return lambda queries: index.kneighbors(queries.numpy())


def anomalib(bank: torch.Tensor, k: int) -> Callable[[torch.Tensor], object]:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel.__new__(PatchcoreModel)  # its search alone, without a backbone
    torch.nn.Module.__init__(model)
    model.register_buffer("memory_bank", bank)
    return lambda queries: model.nearest_neighbors(queries, k)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--features", help="a .npy file of (n, d) float32 patches to select the bank from")
    parser.add_argument("--queries", help="a .npy file of (q, d) float32 test patches, 784 per image")
    parser.add_argument("--images", type=int, default=209, help="synthetic images; 209 is MVTec's bottle")
    parser.add_argument("--bank", type=int, nargs="+", default=[1638, 16384], help="sizes of the bank")
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="20 images, 3 repeats, bank of 1638")
    options = parser.parse_args()
    images, repeats, sizes = (20, 3, [1638]) if options.quick else (options.images, options.repeats, options.bank)
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)

    features = torch.from_numpy(np.load(options.features, mmap_mode="r+")) if options.features else make(images, 1536)
    tests = torch.from_numpy(np.load(options.queries)) if options.queries else make(repeats, 1536, seed=1)
    d, k = features.shape[1], options.k
    projection = gaussian(d, min(d, 128), 0)
    order = greedy(torch.cat([block @ projection for block in features.split(8192)]), max(sizes)).indices

    for size in sizes:
        bank = features[torch.from_numpy(order[:size])]
        build = seconds(lambda bank=bank: Neighbors(bank))
        index = Neighbors(bank)
        print(f"bank {size} x {d}, k {k}, {options.threads} threads; built in {build:.2f} s, {index.nbytes >> 20} MB")
        searches: dict[str, Callable[[torch.Tensor], object]] = {
            "adbench": lambda queries, index=index: index.search(queries, k),
            "plain product": plain_product(bank),
            "torch.cdist": lambda queries, bank=bank: torch.cdist(queries, bank).topk(k, largest=False),
        }
        makers: dict[str, Callable[[], Callable[[torch.Tensor], object]]] = {
            "anomalib": lambda bank=bank: anomalib(bank, k),
            "faiss": lambda bank=bank: faiss_flat(bank, k, options.threads),
            "scikit-learn": lambda bank=bank: scikit_learn(bank, k),
        }
        for name, maker in makers.items():
            try:
                searches[name] = maker()
            except ImportError:
                print(f"{name}: not installed (pip install 'adbench[peers]')")
        taken: dict[str, list[float]] = {name: [] for name in searches}
        for i in range(-1, repeats):  # in turns, so that a busy machine is busy for all; the first round warms up
            for name, search in searches.items():
                start = max(i, 0) * 784 % len(tests)
                took = seconds(lambda search=search, start=start: search(tests[start : start + 784]))
                if i >= 0:
                    taken[name].append(took)
        medians = {name: statistics.median(values) for name, values in taken.items()}
        for name, median in medians.items():
            print(f"{name:20} {median * 1e3:8.1f} ms   {median / medians['adbench']:6.1f} x")
    rival = "anomalib" if "anomalib" in medians else "plain product"
    print(f"bank {sizes[-1]}, against {rival}:")
    print(f"ratio: {medians[rival] / medians['adbench']:.1f}")


if __name__ == "__main__":
    main()
