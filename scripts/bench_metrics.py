"""Pixel metrics of 83 maps of 900 x 900, MVTec's bottle at full resolution, against peers.

Each contestant runs in a process of its own on the same arrays; seconds are medians, memory is what
the process needed above the arrays and the libraries. adbench runs three times as often as the
others. Peers that are not installed are left out.
"""

import statistics
from collections.abc import Callable
from functools import partial

import benchmark
import numpy as np
from peers import PeerFailed
from scipy.ndimage import gaussian_filter, zoom

Run = Callable[[np.ndarray, np.ndarray], str]
OURS = "adbench, all four"


def make(images: int, edge: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks and smooth maps (n, h, w).

    Three quarters of the images have elliptic defects, most of which raise the score.
    """
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

    # It would apply a sigmoid to scores outside [0, 1].
    scores = torch.from_numpy(maps).flatten() / float(maps.max())
    return f"auroc {binary_auroc(scores, torch.from_numpy(masks).flatten().long()):.9f}"


def anomalib_aupro(masks: np.ndarray, maps: np.ndarray) -> str:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO(fpr_limit=0.3)
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).long())
    return f"aupro {float(metric.compute()):.9f}"


def adbench_four(masks: np.ndarray, maps: np.ndarray) -> str:
    from adbench.evaluation.ranks import pixel_ranks

    ranks = pixel_ranks(masks, maps)
    auroc, ap, (f1, _) = ranks.auroc(), ranks.average_precision(), ranks.f1_max()
    return f"auroc {auroc:.9f} ap {ap:.9f} f1_max {f1:.9f} aupro {ranks.region_overlap():.9f}"


def adbench_pairs(masks: np.ndarray, maps: np.ndarray) -> str:
    from adbench.evaluation.jackknife import pixel_auroc_interval
    from adbench.evaluation.pixels import pixel_pairs

    pairs = pixel_pairs(masks, maps)
    low, high = pixel_auroc_interval(pairs)
    return f"auroc {pairs.auroc():.9f} 95% interval {low:.5f} {high:.5f}"


class Contest:
    """A contestant in its process."""

    def __init__(self, run: Run, masks: np.ndarray, maps: np.ndarray) -> None:
        self.run, self.masks, self.maps = run, masks, maps
        run(masks[:4], maps[:4])  # imports, and compiles

    def measure(self, repeats: int) -> tuple[float, int, str]:
        """Median seconds, peak bytes above what was there before, and the numbers."""
        from adbench.system import machine
        from adbench.system.parallel import libraries_known

        machine.reset_peak_memory()
        before, taken = machine.peak_memory(), []
        said: list[str] = []
        with libraries_known():
            for _ in range(repeats):
                work = partial(self.run, self.masks, self.maps)
                taken.append(benchmark.seconds(lambda work=work: said.append(work())))
        return statistics.median(taken), machine.peak_memory() - before, said[-1]


CONTESTANTS: dict[str, tuple[Run, int]] = {
    "scikit-learn AUROC": (sklearn_auroc, 1),
    "scikit-learn AUROC, AP, F1": (sklearn_three, 1),
    "torchmetrics AUROC": (torchmetrics_auroc, 1),
    "anomalib AUPRO": (anomalib_aupro, 1),
    OURS: (adbench_four, 3),
    "adbench, AUROC interval": (adbench_pairs, 1),
}
"""What they do, and how many times as often as others."""


def main() -> None:
    parser = benchmark.parser(__doc__, "20 maps of 300 x 300", repeats=3, peer_seconds=900)
    options = parser.parse_args()
    report = benchmark.Report(options)
    masks, maps = make(20, 300) if options.quick else make(83, 900)
    n, h, w = maps.shape
    report.say(f"{n} maps of {h} x {w}, {masks.mean():.1%} anomalous, {options.threads} thread(s)")
    medians: dict[str, float] = {}
    notes: dict[str, str] = {}
    for name, (run, times) in CONTESTANTS.items():
        started = report.peer_processes({name: partial(Contest, run, masks, maps)})
        for contestant in started.values():  # none where it is not installed
            try:
                measured = contestant.value("measure", options.repeats * times)
            except PeerFailed:  # it has said why
                continue
            contestant.close()
            medians[name], peak, said = measured
            notes[name] = f"{peak / 1e9:5.2f} GB   {said}"
            report.figures[benchmark.key(name, "bytes")] = peak
    if OURS not in medians:
        raise SystemExit(f"{OURS}: failed, see above")
    report.table(medians, OURS, notes)
    report.finish(benchmark.over(medians, "scikit-learn AUROC", OURS))


if __name__ == "__main__":
    main()
