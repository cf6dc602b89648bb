"""CRD's time per image, against the paper's product and nearest neighbour on coresets.

Features are random and smooth, of WideResNet50's shapes at 224 pixels (layers 2 and 3, d = 1536,
784 patches an image). There are no peers here: the product and the nearest neighbours are ours.
"""

import benchmark
import numpy as np
from random_maps import SHAPES, smooth_maps

from adbench.features.features import Features
from adbench.methods.crd import CRD
from adbench.methods.method import ask, replaced, state_bytes
from adbench.methods.patchcore import PatchCore
from adbench.system.stages import stages

POSITIONS, D = 784, 1536
LIMIT = "limit: one product (784, 1536) x (1536, 1536)"
LAMBDAS = (0.1, 1.0, 3.0, 5.0, 10.0)
"""Those of the paper's table 3."""


def make(n: int, seed: int) -> Features:
    return Features(smooth_maps(n, seed, SHAPES[1:]), None, (224, 224), source="random")


def nearest_neighbour(crd: CRD, ratio: float) -> PatchCore:
    """The rival that CRD names, with a coreset of another size."""
    (rival,) = crd.rivals().values()
    found: PatchCore = replaced(rival, {"ratio": ratio})
    return found


def distance(method: CRD | PatchCore, image: Features) -> float:
    """Seconds of the distance stage alone."""
    with stages() as inside:
        method.score(image)
    return inside["distance"]


def five_lambdas(report: benchmark.Report, normal: Features, test: Features) -> None:
    """How many times fit and scores of one lambda those of five cost, as a sweep makes them."""

    def sweep() -> None:
        fitted = CRD().fit(normal)
        for _ in fitted.score_all(test, [ask(fitted, lambda_=value) for value in LAMBDAS]):
            pass

    once = benchmark.seconds(lambda: CRD().fit(normal).score(test))
    ratio = benchmark.seconds(sweep) / once
    report.figures["five_lambdas_over_one"] = ratio
    report.say(
        f"fit and score of {len(test)} images {once:.2f} s; five lambdas cost {ratio:.2f} of that"
    )


def main() -> None:
    parser = benchmark.parser(__doc__, quick="8 training images, 10 repeats", repeats=40)
    parser.add_argument(
        "--train", type=int, default=209, help="training images; 209 is MVTec's bottle"
    )
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    n, repeats = (8, 10) if options.quick else (options.train, options.repeats)

    normal, test = make(n, 0), make(repeats, 1)
    crd = CRD()
    fit = benchmark.seconds(lambda: crd.fit(normal))
    rivals = {
        f"nearest neighbour, {ratio:.0%} coreset": nearest_neighbour(crd, ratio).fit(normal)
        for ratio in (0.01, 0.1)
    }

    rng = np.random.default_rng(0)
    stacked, matrix = (rng.standard_normal(s, np.float32) for s in ((POSITIONS, D), (D, D)))
    product = np.empty((POSITIONS, D), np.float32)
    contestants: dict[str, benchmark.Contestant] = {
        LIMIT: lambda turn: np.matmul(stacked, matrix, out=product),
        "CRD, distance": lambda turn: distance(crd, test[turn : turn + 1]),
        "CRD, whole": lambda turn: crd.score(test[turn : turn + 1]),
    }
    for name, rival in rivals.items():
        contestants[f"{name}, distance"] = lambda turn, rival=rival: distance(
            rival, test[turn : turn + 1]
        )
    medians = benchmark.in_turns(contestants, repeats, options.threads)

    work = {LIMIT: D * D, "CRD, distance": crd.multiply_adds()}
    work |= {f"{name}, distance": rival.multiply_adds() for name, rival in rivals.items()}
    report.say(
        f"one image, {n} training images, {options.threads} thread(s), medians of {repeats}; "
        f"fit {fit:.2f} s"
    )
    notes = {n: f"{adds * POSITIONS / 1e6:9.0f} million multiply-adds" for n, adds in work.items()}
    report.table(medians, "CRD, distance", notes)
    report.figures["fit_s"] = fit
    for name, method in {"CRD": crd, **rivals}.items():
        report.say(f"{name}: {state_bytes(method) / 1e6:.2f} MB of state")
    five_lambdas(report, normal, test)
    report.finish(medians[LIMIT] / medians["CRD, distance"])


if __name__ == "__main__":
    main()
