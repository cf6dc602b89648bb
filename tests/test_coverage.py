"""The 95% intervals hold the true value about as often as they say, by simulation.

The populations are those of results/intervals.md. A size has 720 trials or more, so that the share
of intervals that hold the true value is known to 1.6 points (two standard errors at 95%). The band
of 93% to 97% is that of 94% to 96% and most of this noise.
"""

from pathlib import Path

import numpy as np
import pytest

from adbench.evaluation.intervals import auroc_interval, paired_auroc
from adbench.evaluation.jackknife import paired_pixel_auroc, pixel_auroc_interval

SCRIPTS = Path(__file__).parents[1] / "scripts"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.is_dir(), reason="not in a checkout: there are no scripts"),
]
SIZES = [(10, 10), (20, 10), (20, 63), (21, 57), (28, 60), (60, 20), (26, 150), (120, 41)]


@pytest.fixture(scope="module")
def populations():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import populations

        return populations


def covered(trials):
    low, high, truth = np.array(trials).T
    return np.mean((low <= truth) & (truth <= high))


@pytest.fixture(scope="module")
def image_coverage(populations):
    scores = [
        populations.images(family, auroc)
        for family in populations.FAMILIES
        for auroc in populations.AUROCS
    ]

    def coverage(n, m):
        random, labels, trials = np.random.default_rng(n), np.arange(m + n) < m, []
        for population in scores * 20:
            drawn = np.concatenate(population.draw(m, n, random))
            trials.append((*auroc_interval(labels, drawn), population.auroc))
        return covered(trials)

    return coverage


@pytest.fixture(scope="module")
def pixel_coverage(populations):
    def coverage(n, m):
        random, trials = np.random.default_rng(n), []
        for maps in populations.MAPS.values():
            truth, drawn = maps.auroc(m, n), (maps.draw(m, n, random) for _ in range(60))
            trials += [(*pixel_auroc_interval(pairs), truth) for pairs in drawn]
        return covered(trials)

    return coverage


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_image_auroc_interval_covers(image_coverage, n, m):
    assert 0.93 <= image_coverage(n, m) <= 0.97


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_pixel_auroc_interval_covers(pixel_coverage, n, m):
    assert 0.93 <= pixel_coverage(n, m) <= 0.97


def test_two_defects_are_covered_rather_too_often(image_coverage, pixel_coverage):
    assert 0.94 <= image_coverage(8, 2) <= 0.98
    assert pixel_coverage(8, 2) >= 0.97


@pytest.mark.parametrize(("n", "m"), [(20, 10), (20, 63)])
def test_equally_good_detectors_seldom_differ(populations, n, m):
    random, pixel = np.random.default_rng(6), []
    labels = np.arange(m + n) < m
    scores = populations.images("normal", 0.9)
    image = [paired_auroc(labels, *scores.draw_two(m, n, random)).p < 0.05 for _ in range(400)]
    for maps in populations.MAPS.values():
        pairs = (maps.draw_many(m, n, random, [maps, maps], own=0.3) for _ in range(40))
        pixel += [paired_pixel_auroc(*two).p < 0.05 for two in pairs]
    assert 0 < np.mean(image) <= 0.07
    assert 0 < np.mean(pixel) <= 0.07


def test_true_values_of_the_populations(populations):
    """A very large set has nearly the true value: closed forms against what is drawn."""
    random = np.random.default_rng(7)
    scores = populations.images("anomalous ones vary 3 times as much", 0.9)
    a, n = scores.draw(40_000, 40_000, random)
    drawn = np.searchsorted(np.sort(n), a).mean() / len(n)
    assert drawn == pytest.approx(scores.auroc, abs=0.006)
    for name in ("halo around defects", "large defects are harder"):
        maps = populations.MAPS[name]
        drawn = np.mean([maps.draw(150, 150, random).auroc() for _ in range(30)])
        assert drawn == pytest.approx(maps.auroc(150, 150), abs=0.005)
