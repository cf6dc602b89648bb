"""Thresholds from scores of normal images: hand-worked values, scipy, simulation."""

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from adbench.errors import AdbenchError
from adbench.evaluation.threshold import largest, p_values, promise, rate, rates


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [
        (19, 0.05, 19),  # ceil(.95 * 20)
        (20, 0.05, 20),  # ceil(.95 * 21) = ceil(19.95)
        (39, 0.05, 38),
        (9, 0.1, 9),
        (9, 0.5, 5),
        (99, 0.29, 71),  # .29 * 100 is 28.999999999999996 in floating point
        (99, 0.01, 99),
        (3, 0.999, 1),
    ],
)
def test_the_rank_is_the_conformal_quantile(n, alpha, rank):
    assert promise(n, alpha).rank == rank


def test_the_threshold_is_the_score_of_that_rank_in_any_order():
    scores = np.random.default_rng(0).permutation(39).astype(float)
    assert promise(39, 0.05).threshold(scores) == 37.0  # the 38th smallest of 0 to 38
    with pytest.raises(AdbenchError, match="made for 39 scores; got 38"):
        promise(39, 0.05).threshold(scores[1:])


def test_an_alpha_that_is_too_small_names_the_smallest_that_can_be_promised():
    found = promise(20, 0.01)
    assert found.rank is None
    assert found.threshold(np.arange(20.0)) is None
    assert "20 normal images cannot promise a false alarm rate of 0.01" in found.reason
    assert "alpha=0.0477 (1/21)" in found.reason  # rounded up, so that it can be used as it stands
    assert promise(20, 0.0477).rank == 20
    assert promise(0, 0.5).rank is None
    with pytest.raises(AdbenchError, match="between 0 and 1; got 1"):
        promise(20, 1.0)


def test_the_promise_is_what_new_scores_of_the_same_distribution_do():
    rng = np.random.default_rng(1)
    found = promise(60, 0.1)
    drawn = rng.random((20_000, 60))  # of a uniform score, 1 - threshold is the false alarm rate
    true_rates = 1 - np.sort(drawn, axis=1)[:, found.rank - 1]
    assert true_rates.mean() == pytest.approx(found.mean, abs=0.001)
    assert found.mean <= 0.1
    assert np.quantile(true_rates, [0.025, 0.975]) == pytest.approx(
        [found.low, found.high], abs=0.003
    )
    exact = beta(60 + 1 - found.rank, found.rank)
    assert (found.low, found.high) == pytest.approx(exact.interval(0.95), rel=1e-9)
    assert found.mean == pytest.approx(exact.mean())


def test_p_values_by_hand_and_against_the_threshold():
    normal = np.array([3.0, 1.0, 2.0, 2.0])
    # at or above: 0.5 -> 4, 1 -> 4, 2 -> 3, 2.5 -> 1, 3 -> 1, 4 -> 0
    found = p_values(normal, np.array([0.5, 1, 2, 2.5, 3, 4]))
    assert found == pytest.approx([1, 1, 4 / 5, 2 / 5, 2 / 5, 1 / 5])
    rng = np.random.default_rng(2)
    normal, scores = rng.integers(0, 30, 49).astype(float), rng.integers(0, 40, 300).astype(float)
    for alpha in (0.02, 0.05, 0.2, 0.9):
        threshold = promise(49, alpha).threshold(normal)
        assert ((p_values(normal, scores) <= alpha) == (scores > threshold)).all()


@pytest.mark.parametrize(("count", "of"), [(0, 20), (1, 20), (7, 21), (20, 20), (0, 1)])
def test_rates_have_the_interval_of_clopper_and_pearson(count, of):
    found = rate(count, of)
    expected = binomtest(count, of).proportion_ci(0.95, "exact")
    assert found == pytest.approx((count / of, expected.low, expected.high), abs=1e-9)


def test_what_is_called_anomalous_must_exceed_the_threshold():
    labels, scores = np.array([0, 0, 0, 1, 1]), np.array([3.0, 3.5, 1.0, 4.0, 2.0])
    false, true = rates(3.0, labels, scores)
    assert (false.value, true.value) == (1 / 3, 1 / 2)
    assert rates(1.0, np.array([1, 1]), np.array([0.0, 2.0]))[0] is None
    assert rates(1.0, np.array([0, 0]), np.array([0.0, 2.0]))[1] is None


def test_the_largest_training_score():
    assert largest(np.array([1.0, 3.0])) == 3.0
    with pytest.raises(AdbenchError, match="at least one normal image"):
        largest(np.array([]))


@pytest.mark.parametrize("use", [largest, promise(1, 0.5).threshold, lambda s: p_values(s, s)])
def test_scores_that_are_not_finite_are_refused(use):
    with pytest.raises(AdbenchError, match="normal images: 1 of 1 values are NaN"):
        use(np.array([np.nan]))
