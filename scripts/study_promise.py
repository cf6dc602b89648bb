"""How often the threshold of ``adbench fit`` keeps the false alarm rate that it promises.

For each repeat, N normal images of a folder are drawn at random. A detector is fitted on them and
its threshold is found by folds over them, as ``adbench fit`` does. All other images of the folder
are new normal images: the share of them that is called anomalous is the realised false alarm rate.
Prints the tables of results/promise.md, and writes a row per repeat, method and alpha.
"""

import argparse
import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import betabinom
from tabulate import tabulate
from tqdm import tqdm

from adbench.backbones.backbone import Backbone
from adbench.bench.fitting import images_of
from adbench.bench.folds import out_of_fold
from adbench.bench.plan import described
from adbench.config.compose import Configs
from adbench.data.geometry import Geometry
from adbench.data.listing import files_below, is_image
from adbench.data.samples import Images
from adbench.detectors.detector import Detector
from adbench.detectors.direct import Direct
from adbench.detectors.family import Family, families
from adbench.detectors.header import Normal
from adbench.evaluation.threshold import promise
from adbench.features.extract import Extractor
from adbench.features.features import Features
from adbench.system.machine import set_threads

METHODS = ("padim", "crd", "crd_scaled", "patchcore method.ratio=0.01")


@dataclass(frozen=True)
class Trial:
    """What one draw of images gave for a method and a false alarm rate."""

    method: str
    repeat: int
    alpha: float
    fitted: int
    """Images that the detector and its threshold come from."""
    new: int
    """Images that neither has seen."""
    alarms: int
    """How many of the new ones exceed the threshold."""
    fold_median: float
    """Of the scores of the fitted images, each by a detector that was fitted without its fold."""
    new_median: float
    """Of the scores of the new images."""


class Ideal(NamedTuple):
    """What a threshold from scores of one and the same detector gives, exactly."""

    mean: float
    """Realised rate, on average over the draws."""
    low: float
    """Lower end of the 95% interval of the true rate over the draws."""
    high: float
    exceeds: float
    """Share of the draws in which the rate on the new images exceeds alpha."""


@dataclass(frozen=True)
class Pool(Direct):
    """A provider that makes the features of all images once and gives rows of them."""

    images: Images = field(default_factory=Images)
    whole: dict[str, Features] = field(default_factory=dict)

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """Features of some of the images."""
        source, _ = Extractor(backbone, geometry).names(Images(), layers, vectors)
        if source not in self.whole:
            self.whole[source] = super().features(backbone, geometry, self.images, layers, vectors)
        whole = self.whole[source]
        rows = [self.images.digests.index(digest) for digest in images.digests]
        pooled = None if whole.vectors is None else whole.vectors[rows]
        return replace(whole, maps=[m[rows] for m in whole.maps], vectors=pooled, key="", files=[])


def different_images(folders: Sequence[Path]) -> Images:
    """The images below some folders; a copy is left out, since it would be no new image."""
    paths = [path for folder in folders for path in files_below(folder) if is_image(path)]
    images = images_of(paths)
    first = {digest: path for path, digest in zip(images.paths, images.digests, strict=True)}
    return Images(tuple(first.values()), tuple(first))


def trials(
    names: Sequence[str],
    detectors: Sequence[Detector],
    pool: Pool,
    alphas: Sequence[float],
    fitted: int,
    folds: int,
    repeat: int,
    seed: int,
) -> Iterator[Trial]:
    """One draw: detectors that one fit serves, on the same images."""
    order = np.random.default_rng([seed, repeat]).permutation(len(pool.images))
    old, new = taken(pool.images, order[:fitted]), taken(pool.images, order[fitted:])
    found = out_of_fold(detectors, old, pool, folds, repeat)
    family = Family(detectors)
    family.fit(old, pool)
    scores = family.image_scores(new, range(len(detectors)))
    for name, out, of_new in zip(names, found, scores, strict=True):
        kept = tuple(out.images.tolist()), None, tuple(out.fold.tolist())
        normal, values = Normal(*kept, alphas[0], folds, repeat), of_new.double().numpy()
        medians = float(np.median(out.images)), float(np.median(values))
        for alpha in alphas:
            alarms = int((values > normal.decision(alpha).value).sum())
            yield Trial(name, repeat, alpha, fitted, len(new), alarms, *medians)


def taken(images: Images, rows: np.ndarray) -> Images:
    """Some of the images."""
    return Images(
        tuple(images.paths[row] for row in rows), tuple(images.digests[row] for row in rows)
    )


def ideal(alpha: float, fitted: int, new: int) -> Ideal:
    """What split conformal prediction promises for ``fitted`` scores and ``new`` images.

    The true rate of a draw is distributed as Beta(k, n + 1 - k) with k = floor(alpha (n + 1)), so
    the number of alarms among the new images follows the beta-binomial distribution.
    """
    promised = promise(fitted, alpha)
    if promised.mean is None or promised.low is None or promised.high is None:
        raise SystemExit(promised.reason)
    k = round(promised.mean * (fitted + 1))
    most = max(count for count in range(new + 1) if count / new <= alpha)
    exceeds = float(betabinom(new, k, fitted + 1 - k).sf(most))
    return Ideal(promised.mean, promised.low, promised.high, exceeds)


def table(rows: Sequence[Trial]) -> str:
    """A line per method and alpha, in percent."""
    lines = []
    for method, alpha in dict.fromkeys((row.method, row.alpha) for row in rows):
        own = [row for row in rows if (row.method, row.alpha) == (method, alpha)]
        realised = np.array([row.alarms / row.new for row in own])
        error = realised.std(ddof=1) / math.sqrt(len(own)) if len(own) > 1 else math.nan
        promised = ideal(alpha, own[0].fitted, own[0].new)
        higher = np.median([row.fold_median / row.new_median for row in own])
        lines.append(
            [
                method,
                f"{alpha:g}",
                len(own),
                f"{percent(promised.mean)} ({percent(promised.low)} to {percent(promised.high)})",
                f"{percent(realised.mean())} ± {percent(error)}",
                percent(promised.exceeds),
                percent((realised > alpha).mean()),
                f"{higher:.3f}",
            ]
        )
    heads = [
        *("method", "alpha", "repeats", "promised % (95% of draws)", "realised %"),
        *("ideal: draws above alpha, %", "draws above alpha, %", "fold scores / new scores"),
    ]
    return tabulate(lines, heads, "github", disable_numparse=True)


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="normal images alone")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="words of adbench run each")
    parser.add_argument("--words", nargs="*", default=[], help="words for all of the methods")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.05, 0.01])
    parser.add_argument("--fitted", type=int, default=200, help="images that are fitted")
    parser.add_argument("--folds", type=int, default=5, help="as adbench fit's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="CSV, one row per trial")
    given = parser.parse_args()
    set_threads(given.threads)
    pool = Pool(images=different_images(given.images))
    new = len(pool.images) - given.fitted
    if new < 1:
        parser.error(f"--fitted {given.fitted} leaves none of the {len(pool.images)} images")
    for alpha in given.alpha:
        ideal(alpha, given.fitted, new)
    configs = Configs()
    composed = [
        configs.compose([*f"method={name}".split(), *given.words]) for name in given.methods
    ]
    detectors = [described(config, "cpu")[0] for config in composed]
    rows: list[Trial] = []
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Trial)])
        writer.writeheader()
        for repeat in tqdm(range(given.repeats), unit="draw"):
            for places in families(detectors):
                made = list(
                    trials(
                        [given.methods[place] for place in places],
                        [detectors[place] for place in places],
                        pool,
                        given.alpha,
                        given.fitted,
                        given.folds,
                        repeat,
                        given.seed,
                    )
                )
                writer.writerows(asdict(trial) for trial in made)
                rows += made
            file.flush()  # a study that is stopped keeps its repeats
    print(f"{given.fitted} images fitted, {given.folds} folds, {new} new ones per draw\n")
    print(table(rows))


if __name__ == "__main__":
    main()
