"""Pixel metrics of 83 maps of 900 x 900, MVTec's bottle at full resolution: adbench against its peers.

Each contestant runs in a process of its own forked from the same arrays; seconds are medians, memory is what the
process needed above the arrays. adbench runs three times as often as the others. Peers that are not installed are left
out.
"""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import benchmark
import numpy as np
from scipy.ndimage import gaussian_filter, zoom

Run = Callable[[np.ndarray, np.ndarray], str]
OURS = "adbench, all four"


def make(images: int, edge: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth maps and elliptic defects in three quarters of the images; most defects raise the score."""
    rng = np.random.default_rng(seed)
    maps = np.empty((images, edge, edge), np.float32)
    masks = np.zeros((images, edge, edge), bool)
    y, x = np.mgrid[:edge, :edge].astype(np.float32) / edge
    for i in range(images):
        coarse = rng.gamma(4.0, 0.5, (28, 28)).astype(np.float32)
        for _ in range(i % 4):
            cy, cx = rng.uniform(0.2, 0.8, 2)
            ry, rx = rng.uniform(0.03, 0.12, 2)
            masks[i] |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
            coarse[int(cy * 28), int(cx * 28)] += rng.gamma(3.0, 2.0)
        maps[i] = gaussian_filter(zoom(coarse, edge / 28, order=1), edge / 56)
    return masks, maps


def sklearn_auroc(masks: np.ndarray, maps: np.ndarray) -> str:
    from sklearn.metrics import roc_auc_score

    return f"auroc {roc_auc_score(masks.ravel(), maps.ravel()):.9f}"


def sklearn_three(masks: np.ndarray, maps: np.ndarray) -> str:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    labels, scores = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    auroc, ap = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    return f"auroc {auroc:.9f} ap {ap:.9f} f1_max {f1:.9f}"


def torchmetrics_auroc(masks: np.ndarray, maps: np.ndarray) -> str:
    import torch
    from torchmetrics.functional.classification import binary_auroc

    scores = torch.from_numpy(maps).flatten() / float(maps.max())  # it would apply a sigmoid outside [0, 1]
    return f"auroc {binary_auroc(scores, torch.from_numpy(masks).flatten().long()):.9f}"


def anomalib_aupro(masks: np.ndarray, maps: np.ndarray) -> str:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO(fpr_limit=0.3)
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).long())
    return f"aupro {float(metric.compute()):.9f}"


def adbench_four(masks: np.ndarray, maps: np.ndarray) -> str:
    from adbench.evaluation.metrics import pixel_metrics

    m = pixel_metrics(masks, maps)
    return f"auroc {m.auroc:.9f} ap {m.ap:.9f} f1_max {m.f1_max:.9f} aupro {m.aupro:.9f}"


def adbench_pairs(masks: np.ndarray, maps: np.ndarray) -> str:
    from adbench.evaluation.intervals import bootstrap_interval, pixel_pairs

    pairs = pixel_pairs(masks, maps)
    low, high = bootstrap_interval(pairs)
    return f"auroc {pairs.auroc():.9f} 95% interval {low:.5f} {high:.5f}"


def contest(run: Run, masks: np.ndarray, maps: np.ndarray, repeats: int, threads: int, pipe: Connection) -> None:
    """In the child: median seconds, peak bytes above the arrays, and the numbers."""
    try:
        said = run(masks[:4], maps[:4])  # imports
        benchmark.set_threads(threads)
        with open("/proc/self/statm") as file:
            before = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        taken = []
        for _ in range(repeats):
            start = time.perf_counter()
            said = run(masks, maps)
            taken.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.send((statistics.median(taken), peak - before, said))
    except ImportError:
        pipe.send(benchmark.MISSING)


def main() -> None:
    parser = benchmark.parser(__doc__, quick="20 maps of 300 x 300", repeats=3)
    options = parser.parse_args()
    report = benchmark.Report(options)
    masks, maps = make(20, 300) if options.quick else make(83, 900)
    n, h, w = maps.shape
    report.say(f"{n} maps of {h} x {w}, {masks.mean():.1%} anomalous, {options.threads} thread(s)")
    contestants: dict[str, tuple[Run, int]] = {
        "scikit-learn AUROC": (sklearn_auroc, 1),
        "scikit-learn AUROC, AP, F1": (sklearn_three, 1),
        "torchmetrics AUROC": (torchmetrics_auroc, 1),
        "anomalib AUPRO": (anomalib_aupro, 1),
        OURS: (adbench_four, 3),
        "adbench, AUROC interval": (adbench_pairs, 1),
    }
    fork = multiprocessing.get_context("fork")
    medians: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name, (run, times) in contestants.items():
        here, there = fork.Pipe()
        arguments = (run, masks, maps, options.repeats * times, options.threads, there)
        child = fork.Process(target=contest, args=arguments)
        child.start()
        there.close()  # so that a child that dies ends the waiting
        try:
            answer = here.recv()
        except EOFError:
            answer = "failed, see above"
        child.join()
        if isinstance(answer, str):
            report.say(f"{name}: {answer}")
            continue
        medians[name], peak, said = answer
        notes[name] = f"{peak / 1e9:5.2f} GB   {said}"
        report.figures[benchmark.key(name, "bytes")] = peak
    report.table(medians, OURS, notes)
    report.finish(medians["scikit-learn AUROC"] / medians[OURS])


if __name__ == "__main__":
    main()
