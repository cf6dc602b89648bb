"""Every method on a device against the CPU: scores, maps, picks, seconds and memory.

It draws the demo's images, makes features of them on the CPU once, and lets each method learn and
score on the CPU by compiled kernels and on the device by plain torch. It exits with 1 where scores
or maps differ by more than --bound, as a share of the largest. With --device cpu, plain torch on
the CPU is compared with the kernels.

    python scripts/check_device.py --device cuda
    python scripts/check_device.py --device cpu --train 12 --test 6
"""

import argparse
import copy
import sys
import tempfile
import time
from dataclasses import dataclass, replace

import torch

import adbench
from adbench.data.demo import Demo
from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.methods.crd import CRD
from adbench.methods.method import Method, Scores
from adbench.methods.padim import PaDiM
from adbench.methods.patchcore import PatchCore
from adbench.methods.spade import SPADE
from adbench.methods.subspace import SubspaceAD
from adbench.system import machine

METHODS: dict[str, Method] = {
    "PatchCore": PatchCore(ratio=0.1),
    "PatchCore, s of the paper": PatchCore(ratio=0.1, reweight="paper"),
    "PatchCore, all patches, cosine": PatchCore(ratio=1.0, distance="cosine"),
    "CRD": CRD(),
    "CRD, coreset": CRD(bank="coreset"),
    "SubspaceAD": SubspaceAD(),
    "PaDiM, dual": PaDiM(solver="dual"),
    "PaDiM, primal": PaDiM(dims=16, solver="primal"),
    "PaDiM, all channels": PaDiM(reduction="none"),
    "SPADE": SPADE(),
    "SPADE, same position": SPADE(gallery="same_position"),
}
LAYERS = (1, 2, 3)


@dataclass
class Run:
    """What one method gave, and the seconds of fit and score."""

    method: Method
    scores: Scores
    seconds: tuple[float, float]


def run(method: Method, normal: Features, test: Features) -> Run:
    """Fit and score a copy of a method."""
    method = copy.copy(method)
    parts = [layers_of(some, method) for some in (normal, test)]
    start = time.perf_counter()
    method.fit(parts[0])
    machine.synchronise(normal.device)
    fitted = time.perf_counter()
    scores = method.score(parts[1])
    return Run(method, scores, (fitted - start, time.perf_counter() - fitted))


def layers_of(features: Features, method: Method) -> Features:
    """The layers that a method reads."""
    return replace(features, maps=[features.maps[LAYERS.index(i)] for i in method.layers])


def difference(found: Run, expected: Run) -> float:
    """The largest difference of a score or of a map, as a share of the largest of these."""
    pairs = [(found.scores.images, expected.scores.images)]
    if found.scores.maps is not None and expected.scores.maps is not None:
        pairs.append((found.scores.maps, expected.scores.maps))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def picks(found: Run, expected: Run) -> str:
    """The share of the CPU's picks that the device made too; empty where there are none."""
    orders = [vars(one.method).get("order_") for one in (found, expected)]
    if orders[0] is None or orders[1] is None:
        return ""
    return f"{len({*orders[0].tolist()} & {*orders[1].tolist()}) / len(orders[1]):.2%}"


def main() -> int:
    """Compare, print a line for each method, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", help="such as random; default: the backbone's own")
    parser.add_argument("--bound", type=float, default=1e-4)
    options = parser.parse_args()
    try:
        device = machine.device_name(options.device)
        machine.set_threads(None)
        words = [f"backbone.weights={options.weights}"] if options.weights else []
        with tempfile.TemporaryDirectory() as folder:
            demo = Demo(cache=folder, categories=("flange",), train=options.train)
            split = demo.load("flange")
            made = [
                adbench.extract(
                    [sample.path for sample in samples],
                    *words,
                    layers=LAYERS,
                    vectors=True,
                    backbone=options.backbone,
                    device="cpu",
                    cache=folder,
                )
                for samples in (split.train, split.test[: options.test])
            ]
            return compare(made[0], made[1], device, options.bound)
    except AdbenchError as error:
        print(f"check_device: {error}", file=sys.stderr)
        return 2


def compare(normal: Features, test: Features, device: str, bound: float) -> int:
    """Print the comparison of all methods; 1 where one differs by more than ``bound``."""
    on_gpu = device.startswith("cuda")
    there = [replace(some, device=device, plain=True) for some in (normal, test)]
    head = f"{'method':<32}{'difference':>11}{'picks':>9}{'CPU fit':>9}{'score':>8}"
    print(f"{head}{f'{device} fit':>12}{'score':>8}{'GB':>7}")
    failed = []
    for name, method in METHODS.items():
        expected = run(method, normal, test)
        run(method, there[0][:4], there[1][:1])  # loads the libraries of the device
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        found = run(method, there[0], there[1])
        peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.2f}" if on_gpu else ""
        # Images that are scored at once reach the method on the device.
        again = found.method.score(layers_of(there[1].on_device(), method))
        apart = max(difference(one, expected) for one in (found, replace(found, scores=again)))
        failed += [name] * (not apart <= bound)
        print(
            f"{name:<32}{apart:>11.1e}{picks(found, expected):>9}"
            f"{expected.seconds[0]:>9.2f}{expected.seconds[1]:>8.2f}"
            f"{found.seconds[0]:>12.2f}{found.seconds[1]:>8.2f}{peak:>7}",
            flush=True,
        )
    names = f": {', '.join(failed)}" if failed else ""
    print(f"{len(failed)} of {len(METHODS)} differ by more than {bound:g}{names}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
