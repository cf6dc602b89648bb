"""CRD's time per image against the product that the paper describes and against nearest neighbour on coresets.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 2 and 3, d = 1536, 784 patches an image).
Contestants take turns image by image, so that a busy machine is busy for all of them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits

from adbench.core import Features
from adbench.fitting import state_bytes
from adbench.memo import Memo
from adbench.methods.crd import CRD
from adbench.methods.patchcore import PatchCore
from adbench.timing import stages


def make(n: int, seed: int) -> Features:
    """Each layer a random mixture of 64 smooth maps per image, as correlated as a network's channels, and noise."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.Generator().manual_seed(99)
    maps = []
    for channels, edge in ((512, 28), (1024, 14)):
        mixture = torch.randn(channels, 64, generator=mixing) * torch.logspace(0, -2, 64)
        smooth = F.interpolate(torch.randn(n, 64, 7, 7, generator=generator), (edge, edge), mode="bicubic")
        layer = F.conv2d(smooth, mixture[:, :, None, None])
        maps.append(torch.relu(layer + 0.02 * torch.randn(layer.shape, generator=generator)))
    return Features(maps, None, (224, 224), source="random")


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def distance(method: CRD | PatchCore, image: Features) -> float:
    """Seconds of the distance stage alone."""
    with stages() as inside:
        method.score(image)
    return inside["distance"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", type=int, default=209, help="training images; 209 is MVTec's bottle")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="8 training images, 10 repeats")
    options = parser.parse_args()
    n, repeats = (8, 10) if options.quick else (options.train, options.repeats)
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)

    normal, test = make(n, 0), make(repeats, 1)
    crd = CRD()
    fit = seconds(lambda: crd.fit(normal))
    rivals = {f"nearest neighbour, {r:.0%} coreset": crd.nearest_neighbor(r).fit(normal) for r in (0.01, 0.1)}

    d, positions = 1536, 784
    rng = np.random.default_rng(0)
    stacked, matrix = (rng.standard_normal(shape, np.float32) for shape in ((positions, d), (d, d)))
    product = np.empty((positions, d), np.float32)
    taken: dict[str, list[float]] = {}
    for i in range(repeats):
        image = test[i : i + 1]
        taken.setdefault("limit: one product (784, 1536) x (1536, 1536)", []).append(
            seconds(lambda: np.matmul(stacked, matrix, out=product))
        )
        taken.setdefault("CRD, distance", []).append(distance(crd, image))
        taken.setdefault("CRD, whole", []).append(seconds(lambda image=image: crd.score(image)))
        for name, rival in rivals.items():
            taken.setdefault(f"{name}, distance", []).append(distance(rival, image))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    work = {"limit": d * d, "CRD, distance": crd.multiply_adds()}
    work |= {name: rival.multiply_adds() for name, rival in rivals.items()}

    print(f"{n} training images, {options.threads} thread(s), medians of {repeats}; fit {fit:.2f} s")
    for name, value in medians.items():
        adds = next((w for prefix, w in work.items() if name.startswith(prefix)), None)
        note = f"{adds * positions / 1e6:9.0f} million multiply-adds" if adds else ""
        print(f"{name:48} {value * 1e3:9.2f} ms {note}")
    for name, method in {"CRD": crd, **rivals}.items():
        print(f"{name:48} {state_bytes(method) / 1e6:9.2f} MB of state")

    with tempfile.TemporaryDirectory() as folder:
        kept = [replace(f, key=key, memo=Memo(Path(folder))) for f, key in ((normal, "normal"), (test, "test"))]
        once = seconds(lambda: CRD().fit(kept[0]).score(kept[1]))
        more = seconds(lambda: [CRD(lambda_=value).fit(kept[0]).score(kept[1]) for value in (0.1, 1.0, 3.0, 10.0)])
    print(f"fit and score of {repeats} kept images {once:.2f} s; five lambdas cost {(once + more) / once:.2f} of that")
    ours = medians["CRD, distance"]
    limit = medians["limit: one product (784, 1536) x (1536, 1536)"]
    for name in rivals:
        print(f"CRD's distance is {medians[f'{name}, distance'] / ours:.1f} times faster than {name}")
    print(f"ratio: {limit / ours:.2f}")


if __name__ == "__main__":
    main()
