"""CRD's time per image against the product that the paper describes and against nearest neighbour on coresets.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 2 and 3, d = 1536, 784 patches an image).
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import benchmark
import numpy as np

from adbench.features.features import Features
from adbench.bench.fitting import state_bytes
from adbench.features.memo import Memo
from adbench.methods.crd import CRD
from adbench.methods.patchcore import PatchCore
from adbench.system.stages import stages

POSITIONS, D = 784, 1536
LIMIT = "limit: one product (784, 1536) x (1536, 1536)"
OTHERS = (0.1, 1.0, 3.0, 10.0)
"""The lambdas of the paper's table 3 beside 5."""


def make(n: int, seed: int) -> Features:
    return Features(benchmark.smooth_maps(n, seed, benchmark.SHAPES[1:]), None, (224, 224), source="random")


def distance(method: CRD | PatchCore, image: Features) -> float:
    """Seconds of the distance stage alone."""
    with stages() as inside:
        method.score(image)
    return inside["distance"]


def five_lambdas(report: benchmark.Report, normal: Features, test: Features) -> None:
    """How many times one run's fit and scores, from kept features on, those of five lambdas cost."""
    with tempfile.TemporaryDirectory() as folder:
        kept = [replace(f, key=key, memo=Memo(Path(folder))) for f, key in ((normal, "normal"), (test, "test"))]
        once = benchmark.seconds(lambda: CRD().fit(kept[0]).score(kept[1]))
        more = benchmark.seconds(lambda: [CRD(lambda_=value).fit(kept[0]).score(kept[1]) for value in OTHERS])
    report.figures["five_lambdas_over_one"] = (once + more) / once
    report.say(
        f"fit and score of {len(test)} kept images {once:.2f} s; five lambdas cost {(once + more) / once:.2f} of that"
    )


def main() -> None:
    parser = benchmark.parser(__doc__, quick="8 training images, 10 repeats", repeats=40)
    parser.add_argument("--train", type=int, default=209, help="training images; 209 is MVTec's bottle")
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    n, repeats = (8, 10) if options.quick else (options.train, options.repeats)

    normal, test = make(n, 0), make(repeats, 1)
    crd = CRD()
    fit = benchmark.seconds(lambda: crd.fit(normal))
    rivals = {f"nearest neighbour, {r:.0%} coreset": crd.nearest_neighbor(r).fit(normal) for r in (0.01, 0.1)}

    rng = np.random.default_rng(0)
    stacked, matrix = (rng.standard_normal(shape, np.float32) for shape in ((POSITIONS, D), (D, D)))
    product = np.empty((POSITIONS, D), np.float32)
    contestants: dict[str, benchmark.Contestant] = {
        LIMIT: lambda turn: np.matmul(stacked, matrix, out=product),
        "CRD, distance": lambda turn: distance(crd, test[turn : turn + 1]),
        "CRD, whole": lambda turn: crd.score(test[turn : turn + 1]),
    }
    for name, rival in rivals.items():
        contestants[f"{name}, distance"] = lambda turn, rival=rival: distance(rival, test[turn : turn + 1])
    medians = benchmark.in_turns(contestants, repeats, options.threads)

    work = {LIMIT: D * D, "CRD, distance": crd.multiply_adds()}
    work |= {f"{name}, distance": rival.multiply_adds() for name, rival in rivals.items()}
    report.say(f"one image, {n} training images, {options.threads} thread(s), medians of {repeats}; fit {fit:.2f} s")
    notes = {name: f"{adds * POSITIONS / 1e6:9.0f} million multiply-adds" for name, adds in work.items()}
    report.table(medians, "CRD, distance", notes)
    report.figures["fit_s"] = fit
    for name, method in {"CRD": crd, **rivals}.items():
        report.say(f"{name}: {state_bytes(method) / 1e6:.2f} MB of state")
    five_lambdas(report, normal, test)
    report.finish(medians[LIMIT] / medians["CRD, distance"])


if __name__ == "__main__":
    main()
