"""Intervals and paired tests against their definitions, resampling and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from adbench.errors import AdbenchError
from adbench.evaluation.intervals import (
    Difference,
    auroc_interval,
    delong,
    mean_difference,
    mean_std,
    paired_auroc,
    student_quantile,
    student_tails,
)
from adbench.evaluation.jackknife import paired_pixel_auroc, pixel_auroc_interval
from adbench.evaluation.pixels import pixel_pairs
from adbench.evaluation.ranks import image_ranks, pixel_ranks

# -------------------------------------------------------------------- independent references


def kernel(x, y):
    """1 where the anomalous score x exceeds the normal y, 1/2 where they tie."""
    return (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])


def delong_covariance(labels, many):
    """AUROCs of several detectors and their covariance: DeLong et al. 1988, equations 4 to 6."""
    table = [kernel(s[labels], s[~labels]) for s in many]
    tens, ones = (
        np.array([t.mean(axis=1) for t in table]),
        np.array([t.mean(axis=0) for t in table]),
    )
    covariance = (
        np.atleast_2d(np.cov(tens)) / tens.shape[1] + np.atleast_2d(np.cov(ones)) / ones.shape[1]
    )
    return np.array([t.mean() for t in table]), covariance


def gaussian_scores(rng, positives, negatives, auc):
    labels = np.arange(positives + negatives) < positives
    return labels, rng.normal(0, 1, len(labels)) + labels * math.sqrt(2) * norm.ppf(auc)


@st.composite
def labelled_pairs(draw):
    """Labels with two or more images in each class and two sets of scores with ties."""
    positives, negatives = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    labels = np.arange(positives + negatives) < positives
    scores = arrays(np.float32, len(labels), elements=st.integers(0, 6).map(float))
    return labels, draw(scores), draw(scores)


# ------------------------------------------------------------------------------- image AUROC


def test_hand_worked_delong():
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([4.0, 2.0, 1.0, 2.0, 3.0])
    # 4 beats 3 of 3, 2 beats 1.5 of 3; the normal ones are beaten by 2, 1.5 and 1 of 2
    variance = np.var([1, 0.5], ddof=1) / 2 + np.var([1, 0.75, 0.5], ddof=1) / 3
    assert delong(labels, scores) == (0.75, pytest.approx(variance, abs=1e-15))


@settings(max_examples=100, deadline=None)
@given(labelled_pairs())
def test_delong_is_its_definition(case):
    labels, a, b = case
    (auc, other), covariance = delong_covariance(labels, [a, b])
    measured = delong(labels, a)
    assert measured == (pytest.approx(auc, abs=1e-12), pytest.approx(covariance[0, 0], abs=1e-12))
    assert measured[0] == image_ranks(labels, a).auroc()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance < 1e-12:
        return
    difference = paired_auroc(labels, a, b)
    assert difference.difference == pytest.approx(auc - other, abs=1e-12)
    assert difference.p == pytest.approx(
        2 * norm.sf(abs(auc - other) / math.sqrt(variance)), abs=1e-9
    )
    low, high = norm.interval(0.95, auc - other, math.sqrt(variance))
    assert difference[1:3] == (
        pytest.approx(max(low, -1), abs=1e-9),
        pytest.approx(min(high, 1), abs=1e-9),
    )


def exponential_variance(auc, m, n):
    """Hanley & McNeil 1982 with the mean of both class sizes: Newcombe 2006, method 5."""
    q1, q2, size = auc / (2 - auc), 2 * auc**2 / (1 + auc), (m + n) / 2
    own = auc * (1 - auc)
    return (own + (size - 1) * (q1 - auc**2) + (size - 1) * (q2 - auc**2)) / (m * n)


@pytest.mark.parametrize("case", [(40, 25, 0.9, 1), (40, 25, 0.9, 4), (12, 30, 0.97, 1)])
def test_ends_of_the_interval_are_z_standard_errors_away(case):
    m, n, auc, spread = case
    labels, scores = gaussian_scores(np.random.default_rng(0), m, n, auc)
    scores[labels] = scores[labels].mean() + spread * (scores[labels] - scores[labels].mean())
    auc, variance = delong(labels, scores)
    factor = max(0.8, variance / exponential_variance(auc, m, n))
    low, high = auroc_interval(labels, scores, 0.9)
    for end in (low, high):
        error = math.sqrt(factor * exponential_variance(end, m, n))
        assert abs(end - auc) == pytest.approx(norm.ppf(0.95) * error, abs=1e-9)
    wider = auroc_interval(labels, scores, 0.99)
    assert 0 < wider.low < low < auc < high < wider.high < 1


def test_one_misplaced_pair_hardly_moves_the_interval_of_a_perfect_detector():
    scores = np.arange(83.0)
    labels = scores >= 20
    perfect = auroc_interval(labels, scores)
    scores[[19, 20]] = scores[[20, 19]]
    assert 0 < perfect.low - auroc_interval(labels, scores).low < 0.005


def test_interval_of_the_reversed_scores_is_the_mirror_image():
    labels, scores = gaussian_scores(np.random.default_rng(1), 30, 12, 0.97)
    low, high = auroc_interval(labels, scores)
    assert auroc_interval(labels, -scores) == (
        pytest.approx(1 - high, abs=1e-12),
        pytest.approx(1 - low, abs=1e-12),
    )


def test_perfect_detector_keeps_what_its_images_can_tell():
    labels = np.arange(83) < 63
    low, high = auroc_interval(labels, labels.astype(float))
    assert high == 1.0
    error = math.sqrt(0.8 * exponential_variance(low, 63, 20))
    assert 1 - low == pytest.approx(norm.ppf(0.975) * error, abs=1e-9)
    assert auroc_interval(labels, -labels.astype(float)) == (0.0, pytest.approx(1 - low, abs=1e-12))
    fewer = np.arange(10) < 2
    assert auroc_interval(fewer, fewer.astype(float)).low < low


@pytest.mark.parametrize("labels", [[1, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
def test_one_image_of_a_class_says_nearly_nothing(labels):
    labels, scores = np.array(labels), np.array([3.0, 1.0, 2.0, 4.0, 2.0])
    auc, variance = delong(labels, scores)
    assert math.isnan(variance)
    low, high = auroc_interval(labels, scores)
    assert low == pytest.approx(0.05 * auc, abs=1e-12)
    assert high == pytest.approx(1 - 0.05 * (1 - auc), abs=1e-12)
    difference = paired_auroc(labels, scores, -scores)
    assert difference.low < -0.9
    assert difference.high > 0.9
    assert difference.p == 1.0


def test_constant_scores_do_not_claim_to_be_certain():
    labels = np.arange(40) < 20
    low, high = auroc_interval(labels, np.zeros(40))
    assert low + high == pytest.approx(1, abs=1e-12)
    error = math.sqrt(0.8 * exponential_variance(low, 20, 20))
    assert 0.5 - low == pytest.approx(norm.ppf(0.975) * error, abs=1e-9)


def test_paired_test_of_equal_scores():
    labels, scores = gaussian_scores(np.random.default_rng(4), 30, 12, 0.9)
    assert paired_auroc(labels, scores, scores.copy()) == Difference(0.0, 0.0, 0.0, 1.0)


def test_paired_test_without_variance():
    labels = np.arange(83) < 63
    q = 0.05 ** (1 / 20)
    both = paired_auroc(labels, labels * 1.0, labels * 2.0)
    assert both == (0.0, pytest.approx(q - 1), pytest.approx(1 - q), 1.0)
    better = paired_auroc(labels, labels * 1.0, np.zeros(83))
    assert better == (0.5, pytest.approx(1.5 * q - 1), pytest.approx(1 - q / 2), 0.5**19)


def test_paired_test_changes_sign_with_its_sides():
    rng = np.random.default_rng(5)
    labels, a = gaussian_scores(rng, 30, 12, 0.9)
    b = a + rng.normal(0, 0.7, len(a))
    forth, back = paired_auroc(labels, a, b), paired_auroc(labels, b, a)
    assert back == (
        -forth.difference,
        pytest.approx(-forth.high),
        pytest.approx(-forth.low),
        pytest.approx(forth.p),
    )


def test_paired_error_agrees_with_a_bootstrap_over_images():
    rng = np.random.default_rng(6)
    labels, a = gaussian_scores(rng, 60, 40, 0.85)
    b = 0.6 * a + rng.normal(0, 0.8, len(a))
    difference = paired_auroc(labels, a, b)
    tables = kernel(a[labels], a[~labels]) - kernel(b[labels], b[~labels])
    drawn = [
        tables[rng.integers(0, 60, 60)][:, rng.integers(0, 40, 40)].mean() for _ in range(4000)
    ]
    error = (difference.high - difference.low) / (2 * norm.ppf(0.975))
    assert error == pytest.approx(np.std(drawn), rel=0.06)


def test_paired_test_is_wrong_about_once_in_twenty_under_the_null():
    rng = np.random.default_rng(7)
    rejected = 0
    for _ in range(800):
        labels, shared = gaussian_scores(rng, 40, 40, 0.8)
        a, b = (shared + rng.normal(0, 0.7, len(shared)) for _ in range(2))
        rejected += paired_auroc(labels, a, b).p < 0.05
    assert 0.03 <= rejected / 800 <= 0.08


def test_paired_test_agrees_with_swapping_the_sides_at_random():
    rng = np.random.default_rng(8)
    labels, a = gaussian_scores(rng, 50, 50, 0.9)
    b = a + rng.normal(0, 1.1, len(a))
    a, b = (s.argsort().argsort() for s in (a, b))  # exchangeable under the null
    measured = paired_auroc(labels, a, b)
    swapped = rng.random((2000, len(labels))) < 0.5
    shuffled = [
        image_ranks(labels, np.where(s, b, a)).auroc()
        - image_ranks(labels, np.where(s, a, b)).auroc()
        for s in swapped
    ]
    p = np.mean(np.abs(shuffled) >= abs(measured.difference) - 1e-12)
    assert 0.001 < p < 0.2
    assert measured.p == pytest.approx(p, abs=0.03)


@pytest.mark.parametrize("function", [delong, auroc_interval, lambda y, s: paired_auroc(y, s, s)])
def test_one_class_is_refused(function):
    with pytest.raises(AdbenchError, match="got 3 normal and 0 anomalous"):
        function(np.zeros(3, int), np.arange(3.0))


# ------------------------------------------------------------------------------- pixel AUROC


def pixels(n=12, edge=16, seed=0, gain=1.0):
    """Two thirds of the images with a square defect; half-integer scores, so ties abound."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, edge, edge), bool)
    for mask in masks[n // 3 :]:
        y, x = rng.integers(0, edge - 5, 2)
        mask[y : y + 5, x : x + 5] = True
    level = rng.normal(0, 0.5, (n, 1, 1))
    maps = np.round(2 * (rng.normal(0, 1, masks.shape) + level + gain * masks)) / 2
    return masks, maps.astype(np.float32)


def test_pairs_are_counted_by_definition():
    masks, maps = pixels(5, edge=8)
    pairs = pixel_pairs(masks, maps)
    for i in range(5):
        for j in range(5):
            assert pairs.concordant[i, j] == kernel(maps[i][masks[i]], maps[j][~masks[j]]).sum()
    np.testing.assert_array_equal(pairs.positives, masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(pairs.negatives, (~masks).sum(axis=(1, 2)))


def test_images_of_different_sizes():
    masks, maps = pixels(3)
    masks, maps = (
        [masks[0], masks[1][:9], masks[2][:, :13]],
        [maps[0], maps[1][:9], maps[2][:, :13]],
    )
    assert pixel_pairs(masks, maps).auroc() == pixel_ranks(masks, maps).auroc()


def test_auroc_without_each_image():
    masks, maps = pixels()
    pairs = pixel_pairs(masks, maps)
    assert pairs.auroc() == pixel_ranks(masks, maps).auroc()
    others = [np.delete(np.arange(12), i) for i in range(12)]
    expected = [roc_auc_score(masks[o].ravel(), maps[o].ravel()) for o in others]
    np.testing.assert_allclose(pairs.without_each(), expected, atol=1e-12)


def jackknife_variance(values, anomalous):
    """Efron's formula, class by class."""
    total = 0.0
    for part in (values[anomalous], values[~anomalous]):
        n = len(part)
        total += (n - 1) / n * sum((v - sum(part) / n) ** 2 for v in part) if n > 1 else 0.0
    return total


def logit(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize("first", [0, 4])  # 4: no normal image
@pytest.mark.parametrize("uneven", [False, True])
def test_pixel_interval_is_a_jackknife_by_hand(first, uneven):
    masks, maps = pixels(gain=4.0)
    masks, maps = masks[first:], maps[first:]
    if uneven:
        maps[-1] -= 4 * masks[-1]  # one defect has no signal and is larger than the others
        masks[-1, :6] = True
    anomalous = masks.any(axis=(1, 2))
    left = np.array(
        [
            roc_auc_score(np.delete(masks, i, 0).ravel(), np.delete(maps, i, 0).ravel())
            for i in range(len(maps))
        ]
    )
    sizes = masks.sum(axis=(1, 2))
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    assert (jackknife_variance(logit(left), anomalous) > 1 / effective) == uneven
    error = math.sqrt(max(jackknife_variance(logit(left), anomalous), 1 / effective))
    auc = roc_auc_score(masks.ravel(), maps.ravel())
    low, high = pixel_auroc_interval(pixel_pairs(masks, maps), 0.9)
    assert logit(low) == pytest.approx(logit(auc) - t.ppf(0.95, effective) * error, abs=1e-9)
    assert logit(high) == pytest.approx(logit(auc) + t.ppf(0.95, effective) * error, abs=1e-9)


def test_pixel_interval_of_perfect_maps_and_of_one_defect():
    masks, maps = pixels()
    perfect = pixel_pairs(masks, masks.astype(np.float32))
    assert pixel_auroc_interval(perfect) == (pytest.approx(0.05 ** (1 / 8)), 1.0)
    alone = pixel_pairs(masks[:5], maps[:5])
    auc = alone.auroc()
    assert pixel_auroc_interval(alone) == (
        pytest.approx(0.05 * auc),
        pytest.approx(1 - 0.05 * (1 - auc)),
    )


def test_pixel_interval_where_one_image_holds_every_error():
    masks, _ = pixels()
    maps = masks.astype(np.float32)
    maps[-1] = 0
    pairs = pixel_pairs(masks, maps)
    low, high = pixel_auroc_interval(pairs)
    assert 0 < low < pairs.auroc() < high < 1


def test_pixel_interval_of_constant_maps():
    masks, maps = pixels()
    low, high = pixel_auroc_interval(pixel_pairs(masks, np.zeros_like(maps)))
    assert low + high == pytest.approx(1, abs=1e-12)
    assert logit(high) == pytest.approx(t.ppf(0.975, 8) / math.sqrt(8), abs=1e-9)


def test_pixel_interval_where_one_image_holds_all_normal_pixels():
    maps = np.random.default_rng(4).random((3, 4, 4)).astype(np.float32)
    masks = np.ones((3, 4, 4), bool)
    masks[1, :2] = False
    auc = pixel_ranks(masks, maps).auroc()
    low, high = pixel_auroc_interval(pixel_pairs(masks, maps))
    assert 0 <= low < auc < high <= 1


def test_paired_pixel_test_sees_what_two_intervals_hide():
    masks, maps = pixels(30)
    better = maps + np.float32(0.25) * masks
    a, b = pixel_pairs(masks, better), pixel_pairs(masks, maps)
    assert pixel_auroc_interval(a).low < pixel_auroc_interval(b).high
    measured = paired_pixel_auroc(a, b)
    assert measured.difference == a.auroc() - b.auroc()
    assert 0 < measured.low < measured.difference < measured.high
    left = np.array(
        [
            np.subtract(
                *(
                    roc_auc_score(np.delete(masks, i, 0).ravel(), np.delete(m, i, 0).ravel())
                    for m in (better, maps)
                )
            )
            for i in range(30)
        ]
    )
    error = math.sqrt(jackknife_variance(left, masks.any(axis=(1, 2))))
    assert measured.p == pytest.approx(2 * t.sf(measured.difference / error, 20), rel=1e-6)
    assert measured.high - measured.low == pytest.approx(2 * t.ppf(0.975, 20) * error, rel=1e-9)
    back = paired_pixel_auroc(b, a)
    assert back == (
        -measured.difference,
        pytest.approx(-measured.high),
        pytest.approx(-measured.low),
        pytest.approx(measured.p),
    )


def test_paired_pixel_test_of_noise_is_not_significant():
    masks, maps = pixels(30)
    rng = np.random.default_rng(5)
    a, b = (pixel_pairs(masks, maps + rng.normal(0, 0.5, maps.shape)) for _ in range(2))
    measured = paired_pixel_auroc(a, b)
    assert measured.low < 0 < measured.high
    assert measured.p > 0.05


def test_paired_pixel_test_without_variance():
    masks, maps = pixels()
    pairs = pixel_pairs(masks, maps)
    assert paired_pixel_auroc(pairs, pixel_pairs(masks, maps)) == Difference(0.0, 0.0, 0.0, 1.0)
    perfect, reverse = (pixel_pairs(masks, sign * masks.astype(np.float32)) for sign in (1, -1))
    q = 0.05 ** (1 / 8)
    assert paired_pixel_auroc(perfect, reverse) == (1.0, pytest.approx(2 * q - 1), 1.0, 0.5**7)
    alone = [pixel_pairs(masks[:5], sign * maps[:5]) for sign in (1, -1)]
    assert paired_pixel_auroc(*alone).p == 1.0


def test_paired_pixel_test_refuses_other_images():
    masks, maps = pixels()
    a, b = pixel_pairs(masks, maps), pixel_pairs(masks[2:], maps[2:])
    with pytest.raises(
        AdbenchError, match="same images in the same order; got 12 images, 8 anomalous, and 10, 8"
    ):
        paired_pixel_auroc(a, b)
    with pytest.raises(AdbenchError, match="same images in the same order"):
        paired_pixel_auroc(a, pixel_pairs(masks[::-1], maps[::-1]))


@pytest.mark.parametrize("kind", [False, True])
def test_pairs_need_both_classes(kind):
    with pytest.raises(AdbenchError, match="normal and anomalous pixels are needed; got"):
        pixel_pairs(np.full((2, 3, 3), kind), np.zeros((2, 3, 3), np.float32))


def test_pairs_refuse_nan():
    masks, maps = pixels(3)
    maps[1, 2, 3] = np.nan
    with pytest.raises(AdbenchError, match="anomaly map 1: 1 of 256 values are NaN or infinite"):
        pixel_pairs(masks, maps)


# ------------------------------------------------------------------------------- aggregation


def test_errors_of_categories_add_in_squares():
    mean = mean_difference([Difference(0.03, 0.0, 0.06, 0.05), Difference(0.01, -0.03, 0.05, 0.6)])
    assert mean[:3] == (
        pytest.approx(0.02),
        pytest.approx(0.02 - 0.025),
        pytest.approx(0.02 + 0.025),
    )
    assert mean.p == pytest.approx(2 * norm.sf(norm.ppf(0.975) * 0.02 / 0.025), abs=1e-12)


def test_limits_of_lopsided_intervals_add_each_on_its_side():
    mean = mean_difference([Difference(-0.1, -0.4, -0.1, 0.5), Difference(-0.1, -0.5, 0.2, 0.5)])
    assert mean[:3] == (pytest.approx(-0.1), pytest.approx(-0.1 - 0.25), pytest.approx(-0.1 + 0.15))
    assert mean.p == pytest.approx(2 * norm.sf(norm.ppf(0.975) * 0.1 / 0.15), abs=1e-12)


def test_mean_of_one_category_is_its_test():
    rng = np.random.default_rng(9)
    labels, a = gaussian_scores(rng, 60, 40, 0.85)
    one = paired_auroc(labels, a, a + rng.normal(0, 1, len(a)), level=0.9)
    assert mean_difference([one], level=0.9) == pytest.approx(one, abs=1e-9)


def test_mean_of_differences_without_variance():
    equal = Difference(0.0, 0.0, 0.0, 1.0)
    assert mean_difference([equal, equal]) == equal
    assert mean_difference([Difference(0.1, 0.1, 0.1, 0.0)]).p == 0.0
    with pytest.raises(AdbenchError, match="at least one difference"):
        mean_difference([])


def test_mean_and_standard_deviation_of_repeats():
    assert mean_std([0.1, 0.2, 0.3]) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert mean_std([0.5]) == (0.5, None, 1)
    with pytest.raises(AdbenchError, match="at least one value"):
        mean_std([])


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4, 9.3, 101])
@pytest.mark.parametrize("share", [0.75, 0.975, 0.995])
def test_students_quantile_is_scipys(freedom, share):
    value = student_quantile(share, freedom)
    assert value == pytest.approx(t.ppf(share, freedom), rel=1e-9)
    assert student_tails(-value, freedom) == pytest.approx(2 * (1 - share), rel=1e-6)
