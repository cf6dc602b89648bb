"""Drift is told where scores have moved far, and seldom where they have not."""

import numpy as np
import pytest
from scipy.stats import kstest

from adbench.errors import AdbenchError
from adbench.evaluation.drift import LEAST, drift, mostly_anomalous
from adbench.evaluation.threshold import promise

ABOVE_ALL = 1e9


def normal_scores(rng, count, shift=0.0):
    return rng.normal(10 + shift, 1, count)


def test_the_distance_is_the_largest_difference_of_the_shares():
    normal = np.arange(40.0)
    new = np.arange(40.0) + 30
    found = drift(normal, new, ABOVE_ALL)
    assert found.distance == 0.75
    assert found.higher
    assert (found.normal, found.new) == (0.25, 1.0)  # 30 to 39 of the 40 exceed 29; all new do
    assert found.at == 29
    assert found.images == 40


def test_the_probability_is_that_of_an_independent_reference():
    rng = np.random.default_rng(0)
    normal, new = normal_scores(rng, 300), normal_scores(rng, 200, 0.3)
    found = drift(normal, new, ABOVE_ALL)
    reference = kstest(normal, new, method="exact")
    assert found.distance == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue, rel=0.2)


def test_what_is_called_anomalous_is_left_out_on_both_sides():
    normal, new = np.arange(50.0), np.concatenate([np.arange(40.0), np.full(400, 1000.0)])
    found = drift(normal, new, 39.0)
    assert found.distance == 0
    assert found.images == 40
    assert not found.drifted


@pytest.mark.parametrize(("shift", "direction"), [(2, "higher"), (-5, "lower")])
def test_a_far_shift_is_told_with_its_direction_and_advice(shift, direction):
    rng = np.random.default_rng(1)
    found = drift(normal_scores(rng, 200), normal_scores(rng, 40, shift), ABOVE_ALL)
    assert found.drifted
    text = found.in_words()
    assert f"are {direction} than the normal scores in the file" in text
    assert "the 40 images" in text
    assert "fit again" in text
    assert f"{found.new:.0%} of them exceed" in text


def test_scores_that_lie_a_little_lower_as_those_of_more_images_do_are_no_drift():
    rng = np.random.default_rng(2)
    crd = 1.5625  # 5 folds fit on 4/5 of the images, and its scores fall with the square of that
    normal = normal_scores(rng, 250)
    assert drift(normal, normal_scores(rng, 500, -0.5), ABOVE_ALL).drifted is False
    spread = rng.lognormal(0, 0.5, (2, 300))
    assert drift(spread[0], spread[1] / crd, ABOVE_ALL).drifted is False


@pytest.mark.parametrize("count", [30, 209])
def test_it_seldom_tells_of_drift_where_there_is_none(count):
    rng, told = np.random.default_rng(3), 0
    for _ in range(300):
        normal, new = normal_scores(rng, count), normal_scores(rng, 60)
        threshold = promise(count, 0.05).threshold(normal)
        told += drift(normal, new, threshold).drifted
    assert told <= 3


def test_it_mostly_tells_of_a_shift_by_one_and_a_half_spreads():
    rng, told = np.random.default_rng(4), 0
    for _ in range(100):
        normal, new = normal_scores(rng, 209), normal_scores(rng, 60, 1.5)
        told += drift(normal, new, promise(209, 0.01).threshold(normal)).drifted
    assert told > 90


def test_of_few_images_nothing_is_said():
    few, many = np.arange(LEAST - 1.0), np.arange(100.0)
    assert drift(few, many, ABOVE_ALL) is None
    assert drift(many, few, ABOVE_ALL) is None
    assert drift(many, many + 200, 99.0) is None  # all are called anomalous
    assert mostly_anomalous(LEAST - 1, LEAST - 1) is None


def test_most_images_are_anomalous():
    assert mostly_anomalous(50, 100) is None
    assert mostly_anomalous(51, 100).startswith("51 of 100 images are called anomalous")


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(AdbenchError, match="scores"):
        drift(np.array([1.0, np.nan]), np.arange(30.0), 5.0)
