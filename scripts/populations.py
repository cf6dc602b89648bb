"""Populations of image scores and of anomaly maps whose true AUROC is known.

Image scores are drawn by their quantile functions, and the true AUROC is an integral over them.
Anomaly maps are not drawn pixel by pixel: a region is a few patches, the pixels of a patch are
normal around its level, and the share of ordered pixel pairs of two patches follows in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import t as student

from adbench.evaluation.pairs import PixelPairs

SIZES = ((8, 2), (10, 10), (20, 10), (20, 63), (21, 57), (28, 60), (60, 20), (26, 150), (120, 41))
"""Normal and anomalous test images: three small sets, then such as MVTec AD has."""

AUROCS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""True image AUROCs."""

Quantiles = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Images:
    """A population of image scores."""

    name: str
    auroc: float
    """The true one."""
    anomalous: Quantiles
    normal: Quantiles

    def draw(self, m: int, n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(m,) anomalous and (n,) normal scores."""
        return self.anomalous(random.random(m)), self.normal(random.random(n))

    def draw_two(self, m: int, n: int, random: np.random.Generator) -> list[np.ndarray]:
        """(m + n,) scores of two detectors that are equally good and correlated, 0.8."""
        shared = random.normal(size=m + n) * np.sqrt(0.8)
        shares = [ndtr(shared + random.normal(size=m + n) * np.sqrt(0.2)) for _ in range(2)]
        return [np.concatenate([self.anomalous(u[:m]), self.normal(u[m:])]) for u in shares]


def _t3(u: np.ndarray) -> np.ndarray:
    return np.asarray(student.ppf(u, 3))


def _lognormal(u: np.ndarray) -> np.ndarray:
    return np.exp(ndtri(u))


def _missed(share: float) -> Quantiles:
    """This share of defects scores like normal images, the others far above."""

    def quantiles(u: np.ndarray) -> np.ndarray:
        like_normal = ndtri(np.clip(u / share, 1e-12, 1 - 1e-12))
        return np.where(u < share, like_normal, 50 + u)

    return quantiles


FAMILIES: dict[str, tuple[Callable[[float], Quantiles], Quantiles]] = {
    "normal": (lambda shift: lambda u: ndtri(u) + shift, ndtri),
    "heavy tails (Student's t, 3)": (lambda shift: lambda u: _t3(u) + shift, _t3),
    "lognormal, shifted": (lambda shift: lambda u: _lognormal(u) + shift, _lognormal),
    "anomalous ones vary 3 times as much": (lambda shift: lambda u: 3 * ndtri(u) + shift, ndtri),
    "normal ones vary 3 times as much": (lambda shift: lambda u: ndtri(u) / 3 + shift, ndtri),
    "some defects score as normal": (lambda shift: _missed(np.exp(-shift)), ndtri),
}
"""Anomalous scores by a shift that sets the AUROC, and normal scores."""


def true_auroc(anomalous: Quantiles, normal: Quantiles, points: int = 200_001) -> float:
    """The integral over a fine grid of quantiles."""
    u = (np.arange(points) + 0.5) / points
    return float(np.searchsorted(np.sort(normal(u)), anomalous(u)).mean() / points)


def images(family: str, auroc: float) -> Images:
    """The population of a family with about this AUROC; what it truly has stands in it."""
    shifted, normal = FAMILIES[family]
    shift = brentq(lambda s: true_auroc(shifted(s), normal, 20_001) - auroc, 0.01, 12)
    anomalous = shifted(shift)
    return Images(family, true_auroc(anomalous, normal), anomalous, normal)


@dataclass(frozen=True)
class Maps:
    """A population of anomaly maps; scores in standard deviations of the pixels of a patch."""

    signal: float = 2.5
    """By how much defects lie above the rest, on average."""
    signal_spread: float = 0.5
    """Its standard deviation over the defects."""
    level: float = 0.5
    """Standard deviation of the levels of the images."""
    patch: float = 0.5
    """Standard deviation of the levels of the patches within an image."""
    halo: float = 0.0
    """By how much normal pixels of anomalous images lie above those of normal images."""
    size: float = 0.02
    """Share of the image that the median defect covers."""
    size_spread: float = 1.0
    """Standard deviation of the logit of that share."""
    size_signal: float = 0.0
    """How much the signal grows with each of these standard deviations."""
    missed: float = 0.0
    """Share of the defects that have no signal."""

    def share(self, z: np.ndarray) -> np.ndarray:
        """Share of an image that defects cover, by the normal score of their size."""
        return np.asarray(expit(logit(self.size) + self.size_spread * z))

    def auroc(self, m: int, n: int) -> float:
        """The true pixel AUROC of a set with m anomalous to n normal images.

        The expected ordered pairs of an anomalous pixel and a normal pixel of another image,
        divided by the expected pairs.
        """
        z, weights = np.polynomial.hermite_e.hermegauss(80)
        weights = weights * self.share(z)
        mean_share = weights.sum() / np.sqrt(2 * np.pi)
        noise = 2 * (1 + self.level**2 + self.patch**2)

        def against(halo: float) -> float:
            height = self.signal + self.size_signal * z - halo
            found = ndtr(height / np.sqrt(noise + self.signal_spread**2))
            lost = ndtr(-halo / np.sqrt(noise))
            mean = (weights * found).sum() / weights.sum()
            return float((1 - self.missed) * mean + self.missed * lost)

        beside = m * (1 - mean_share)
        return (beside * against(self.halo) + n * against(0.0)) / (beside + n)

    def draw(self, m: int, n: int, random: np.random.Generator) -> PixelPairs:
        """The counts of m anomalous and n normal images of one million pixels."""
        return self.draw_many(m, n, random, [self], own=0.0)[0]

    def draw_many(
        self, m: int, n: int, random: np.random.Generator, detectors: list["Maps"], own: float
    ) -> list[PixelPairs]:
        """The counts of several detectors on the same images.

        They differ in ``signal``, in patches, and in levels and signals of their own with a
        standard deviation of ``own``, which comes on top.
        """
        z = random.normal(size=m)
        shares = np.concatenate([self.share(z), np.zeros(n)])
        levels = self.level * random.normal(size=m + n) + self.halo * (shares > 0)
        varied = self.size_signal * z + self.signal_spread * random.normal(size=m)
        found = random.random(m) >= self.missed
        counts = []
        for detector in detectors:
            here = levels + own * random.normal(size=m + n)
            signals = detector.signal + varied + own * random.normal(size=m)
            defects = here[:m] - self.halo + np.where(found, signals, 0.0)
            high = defects[:, None] + self.patch * random.normal(size=(m, 3))
            low = here[:, None] + self.patch * random.normal(size=(m + n, 5))
            ordered = np.zeros((m + n, m + n))
            ordered[:m] = ndtr((high[:, None, :, None] - low[None, :, None]) / np.sqrt(2)).mean(
                axis=(2, 3)
            )
            positives, negatives = 1e6 * shares, 1e6 * (1 - shares)
            counts.append(
                PixelPairs(ordered * positives[:, None] * negatives, positives, negatives)
            )
        return counts


MAPS = {
    "plain": Maps(),
    "easy": Maps(signal=4.5),
    "very easy": Maps(signal=5.5, level=0.3),
    "hard": Maps(signal=1.2),
    "levels vary much": Maps(signal=3.0, level=1.2),
    "sizes vary much, large ones are easier": Maps(size_spread=1.5, size_signal=0.4),
    "large defects are harder": Maps(signal=3.0, size_spread=1.2, size_signal=-0.4),
    "halo around defects": Maps(signal=3.0, halo=0.7),
    "signals vary much": Maps(signal=3.0, signal_spread=1.5),
    "one defect in ten has no signal": Maps(signal=4.5, missed=0.1),
    "large defects": Maps(signal=3.0, size=0.15, size_spread=0.8),
    "defects of one size": Maps(signal=3.0, size_spread=0.3),
}
"""Populations of maps, by what is special in them."""
