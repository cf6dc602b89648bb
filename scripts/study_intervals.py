"""How often the intervals of image AUROC and pixel AUROC hold the true value, by simulation.

Prints the tables of results/intervals.md. "Before" is the rule that was used earlier: DeLong's
interval on the logit scale, and the percentiles of a bootstrap over images.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from populations import AUROCS, FAMILIES, MAPS, SIZES, Maps, images
from scipy.special import expit, logit
from tabulate import tabulate

from adbench.evaluation.intervals import auroc_interval, delong, paired_auroc, without_variance
from adbench.evaluation.jackknife import paired_pixel_auroc, pixel_auroc_interval
from adbench.evaluation.pairs import PixelPairs

Ends = tuple[float, float]


def earlier_auroc_interval(labels: np.ndarray, scores: np.ndarray) -> Ends:
    auc, variance = delong(labels, scores)
    if not variance > 0:
        return without_variance(auc, int(min(labels.sum(), (~labels).sum())), 0.95)
    reach = 1.959964 * np.sqrt(variance) / (auc * (1 - auc))
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def bootstrap(
    values: PixelPairs | tuple[PixelPairs, PixelPairs], random: np.random.Generator
) -> Ends:
    """Percentiles of the AUROC, or of a difference, over 500 draws of images class by class."""
    sides = (values,) if isinstance(values, PixelPairs) else values
    anomalous = sides[0].positives > 0
    weights = np.zeros((500, len(anomalous)))
    for part in (np.flatnonzero(anomalous), np.flatnonzero(~anomalous)):
        weights[:, part] = random.multinomial(len(part), np.full(len(part), 1 / len(part)), 500)
    drawn = [
        ((weights @ p.concordant) * weights).sum(1)
        / ((weights @ p.positives) * (weights @ p.negatives))
        for p in sides
    ]
    low, high = np.quantile(drawn[0] - drawn[1] if len(drawn) > 1 else drawn[0], [0.025, 0.975])
    return float(low), float(high)


class Trials:
    """Intervals of one cell of a table and the true values."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []

    def add(self, ends: Iterable[float], truth: float) -> None:
        """Add a trial."""
        low, high = list(ends)
        self.rows.append((low, high, truth))

    def covered(self) -> float:
        """In percent."""
        low, high, truth = np.array(self.rows).T
        return float(100 * ((low <= truth) & (truth <= high)).mean())

    def misses(self) -> str:
        """Percent of the intervals that lie below and above the true value."""
        low, high, truth = np.array(self.rows).T
        return f"{100 * (high < truth).mean():.1f} / {100 * (low > truth).mean():.1f}"

    def width(self) -> float:
        """Median width in points."""
        low, high, _ = np.array(self.rows).T
        return float(100 * np.median(high - low))


class Study:
    """Trials of the earlier rule and of the present one, by size and by population."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], Trials] = {}

    def add(self, rule: str, size: str, population: str, ends: Iterable[float], t: float) -> None:
        """Add a trial to a cell."""
        self.cells.setdefault((rule, size, population), Trials()).add(ends, t)

    def table(self, by: int, name: str) -> str:
        """Percent covered by size or by population, in all trials and in single populations."""
        rows = []
        for key in dict.fromkeys(cell[by] for cell in self.cells):
            row: list[str] = [key]
            for rule in ("before", "now"):
                parts = [t for cell, t in self.cells.items() if cell[0] == rule and cell[by] == key]
                if not parts:
                    continue
                whole = Trials()
                whole.rows = [row for part in parts for row in part.rows]
                shares = [part.covered() for part in parts]
                row += [f"{whole.covered():.1f}", f"{min(shares):.0f} to {max(shares):.0f}"]
                row += [whole.misses(), f"{whole.width():.1f}"]
            rows.append(row)
        heads = ["%", "least to most", "below / above", "width"]
        return tabulate(
            rows,
            [name, *(f"{r}: {h}" for r in ("before", "now") for h in heads)],
            "github",
            disable_numparse=True,
        )


def study_images(trials: int, random: np.random.Generator) -> Study:
    study = Study()
    for family in FAMILIES:
        for auroc in AUROCS:
            population = images(family, auroc)
            for n, m in SIZES:
                labels = np.arange(m + n) < m
                for _ in range(trials):
                    scores = np.concatenate(population.draw(m, n, random))
                    place = f"{n} + {m}", family
                    before = earlier_auroc_interval(labels, scores)
                    study.add("before", *place, before, population.auroc)
                    study.add("now", *place, auroc_interval(labels, scores), population.auroc)
    return study


def study_pixels(trials: int, random: np.random.Generator) -> Study:
    study = Study()
    for name, population in MAPS.items():
        for n, m in SIZES:
            truth = population.auroc(m, n)
            for trial in range(trials):
                pairs, place = population.draw(m, n, random), (f"{n} + {m}", name)
                study.add("now", *place, pixel_auroc_interval(pairs), truth)
                if trial < trials // 5:
                    study.add("before", *place, bootstrap(pairs, random), truth)
    return study


def study_records(folder: Path, trials: int, random: np.random.Generator) -> Study:
    """The records are the populations: their images are drawn again with replacement."""
    study, seen = Study(), set()
    for path in sorted(folder.glob("*-efficientnet_lite0-*.pixels.npz")):
        name = " ".join(path.name.split("-")[1:3])
        if name in seen:
            continue
        seen.add(name)
        with np.load(path) as arrays:
            whole = PixelPairs(arrays["concordant"], arrays["positives"], arrays["negatives"])
        parts = np.flatnonzero(whole.positives > 0), np.flatnonzero(whole.positives == 0)
        for n, m in SIZES:
            weights = np.zeros(len(whole.positives))
            weights[parts[0]], weights[parts[1]] = m / len(parts[0]), n / len(parts[1])
            truth = (weights @ whole.concordant @ weights) / (
                (weights @ whole.positives) * (weights @ whole.negatives)
            )
            for trial in range(trials):
                rows = np.concatenate([random.choice(parts[0], m), random.choice(parts[1], n)])
                pairs = PixelPairs(
                    whole.concordant[np.ix_(rows, rows)],
                    whole.positives[rows],
                    whole.negatives[rows],
                )
                place = f"{n} + {m}", name
                study.add("now", *place, pixel_auroc_interval(pairs), float(truth))
                if trial < trials // 5:
                    study.add("before", *place, bootstrap(pairs, random), float(truth))
    return study


def study_pairs(trials: int, random: np.random.Generator) -> str:
    """Tests of two detectors: how often p is below 0.05 where they are equally good, and covers."""
    rows = []
    for n, m in SIZES:
        labels = np.arange(m + n) < m
        found: dict[str, list[bool]] = {"image": [], "pixel": [], "before": [], "apart": []}
        for family in FAMILIES:
            for auroc in (0.8, 0.95):
                population = images(family, auroc)
                for _ in range(trials):
                    a, b = population.draw_two(m, n, random)
                    found["image"].append(paired_auroc(labels, a, b).p < 0.05)
        for maps in MAPS.values():
            better = Maps(**{**vars(maps), "signal": maps.signal + 0.7})
            apart = true_with(maps, m, n) - true_with(better, m, n)
            for _ in range(trials):
                same = maps.draw_many(m, n, random, [maps, maps], own=0.3)
                other = maps.draw_many(m, n, random, [maps, better], own=0.3)
                found["pixel"].append(paired_pixel_auroc(*same).p < 0.05)
                low, high = paired_pixel_auroc(*other)[1:3]
                found["apart"].append(low <= apart <= high)
            for _ in range(trials // 5):
                low, high = bootstrap(
                    tuple(maps.draw_many(m, n, random, [maps, better], own=0.3)), random
                )
                found["before"].append(low <= apart <= high)
        percent = [f"{100 * np.mean(found[k]):.1f}" for k in ("image", "pixel", "before", "apart")]
        rows.append([f"{n} + {m}", *percent])
    return tabulate(
        rows,
        [
            "normal + anomalous",
            "image AUROC: p < 0.05, equal",
            "pixel AUROC: p < 0.05, equal",
            "pixel, different: covered before",
            "pixel, different: covered now",
        ],
        "github",
        disable_numparse=True,
    )


def true_with(maps: Maps, m: int, n: int) -> float:
    """The true AUROC with the noise that each detector of a pair has of its own."""
    noisier = {
        "level": float(np.hypot(maps.level, 0.3)),
        "signal_spread": float(np.hypot(maps.signal_spread, 0.3)),
    }
    return Maps(**{**vars(maps), **noisier}).auroc(m, n)


def show(title: str, study: Study) -> None:
    by_size, by_population = study.table(1, "normal + anomalous"), study.table(2, "population")
    print(f"## {title}\n\n{by_size}\n\n{by_population}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="per population and size")
    parser.add_argument("--records", type=Path, default=Path("results/records"))
    given = parser.parse_args()
    each: Callable[[int], np.random.Generator] = np.random.default_rng
    show("Image AUROC", study_images(given.trials, each(1)))
    show("Pixel AUROC", study_pixels(given.trials, each(2)))
    show(
        "Pixel AUROC, images of records drawn again",
        study_records(given.records, given.trials, each(3)),
    )
    print("## Two detectors\n\n" + study_pairs(given.trials // 2, each(4)))


if __name__ == "__main__":
    main()
