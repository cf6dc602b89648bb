"""Metrics against hand-worked values, scikit-learn and plain loops over all thresholds."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from adbench.errors import AdbenchError
from adbench.evaluation.checks import OneClassError
from adbench.evaluation.curves import pr_curve, roc_curve
from adbench.evaluation.measure import measure
from adbench.evaluation.measured import measure_images
from adbench.evaluation.metrics import METRICS, of_level
from adbench.evaluation.ranks import Ranks, image_ranks, pixel_ranks

# -------------------------------------------------------------------- independent references


def regions_of(mask):
    """8-connected regions by flood fill: a list of sets of (row, column)."""
    left = {tuple(p) for p in np.argwhere(mask).tolist()}
    regions = []
    while left:
        region, border = set(), [left.pop()]
        while border:
            y, x = border.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            border += near
        regions.append(region)
    return regions


def aupro_by_definition(masks, maps, limit=0.3):
    """Measure the overlaps at every threshold and integrate the polygon up to the limit."""
    normal = [float(s) for mask, m in zip(masks, maps, strict=True) for s in m[~mask]]
    regions = [
        [float(m[y, x]) for y, x in region]
        for mask, m in zip(masks, maps, strict=True)
        for region in regions_of(mask)
    ]
    points = [(0.0, 0.0)]
    for t in sorted({float(s) for m in maps for s in m.ravel()}, reverse=True):
        fpr = sum(s >= t for s in normal) / len(normal)
        overlap = sum(sum(s >= t for s in region) / len(region) for region in regions) / len(
            regions
        )
        points.append((fpr, overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        end = min(x1, limit)
        if end > x0:
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


def f1_by_definition(labels, scores):
    best = (-1.0, 0.0)
    for t in sorted(set(scores.tolist())):
        called = scores >= t
        f1 = 2 * (called & labels).sum() / (called.sum() + labels.sum())
        best = max(best, (f1, t))
    return best


def two_classes(draw_scores):
    """(labels, scores) with at least one of each class."""

    @st.composite
    def build(draw):
        n = draw(st.integers(2, 40))
        labels = draw(arrays(bool, n))
        labels[draw(st.integers(0, n - 1))] = True
        if labels.all():
            labels[draw(st.integers(0, n - 1))] = False
        return labels, draw(arrays(np.float32, n, elements=draw_scores))

    return build()


few_values = st.integers(-2, 3).map(float)
any_values = st.floats(-(2.0**99), 2.0**99, width=32)

# ------------------------------------------------------------------------------------ images


def test_hand_worked_image_metrics():
    labels = np.array([1, 0, 1, 1, 0])
    scores = np.array([0.9, 0.8, 0.7, 0.5, 0.5])
    # pairs in order: .9 beats 2, .7 beats 1, .5 ties 1: 3.5 of 6
    ranks = image_ranks(labels, scores)
    assert ranks.auroc() == 3.5 / 6
    # recall 1/3 at precision 1, 1/3 more at 2/3, the rest at 3/5
    assert ranks.average_precision() == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=1e-15)
    # threshold .9: 2/4, .7: 4/6, .5: 6/8
    assert ranks.f1_max() == (0.75, 0.5)
    expected = {
        "image_auroc": 3.5 / 6,
        "image_ap": ranks.average_precision(),
        "image_f1_max": 0.75,
    }
    assert expected.items() <= measure_images(labels, scores).values.items()


def test_f1_ties_choose_the_highest_threshold():
    labels = np.array([1, 0, 0, 1, 1, 0, 1])
    scores = np.array([7, 6, 5, 4, 3, 2, 1])  # F1: 7 -> 2/5, 4 -> 4/8, 3 -> 6/9, 1 -> 8/11
    assert image_ranks(labels, scores).f1_max() == (8 / 11, 1.0)
    labels = np.array([1, 0, 0, 1])
    scores = np.array([4, 3, 2, 1])  # 4 -> 2/3, 1 -> 4/6
    assert image_ranks(labels, scores).f1_max() == (2 / 3, 4.0)


@settings(max_examples=150, deadline=None)
@given(st.one_of(two_classes(few_values), two_classes(any_values)))
def test_image_metrics_equal_scikit_learn(case):
    labels, scores = case
    measured = image_ranks(labels, scores)
    assert measured.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert measured.average_precision() == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    best, threshold = f1_by_definition(labels, scores)
    assert measured.f1_max() == (pytest.approx(best, abs=1e-12), threshold)


@settings(max_examples=50, deadline=None)
@given(st.one_of(two_classes(few_values), two_classes(any_values)))
def test_curves_equal_scikit_learn(case):
    labels, scores = case
    fpr, tpr = roc_curve(labels, scores)
    theirs = sklearn_roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr, theirs[0], atol=1e-12)
    np.testing.assert_allclose(tpr, theirs[1], atol=1e-12)
    assert np.trapezoid(tpr, fpr) == pytest.approx(image_ranks(labels, scores).auroc(), abs=1e-12)
    recall, precision = pr_curve(labels, scores)
    theirs = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision[::-1], theirs[0], atol=1e-12)
    np.testing.assert_allclose(recall[::-1], theirs[1], atol=1e-12)


def image_auroc(labels, scores):
    return image_ranks(labels, scores).auroc()


def test_scores_keep_their_precision():
    labels = np.array([0, 1])
    assert image_auroc(labels, np.array([1.0, 1.0 + 1e-12])) == 1.0  # equal in float32
    assert image_auroc(labels, np.array([2**24, 2**24 + 1])) == 1.0  # integers, equal in float32
    assert (
        image_auroc(labels, np.array([20.0, 30.0], np.float32)) == 1.0
    )  # torchmetrics' sigmoid gives 0.5
    assert image_auroc(labels, np.array([0.0, -0.0], np.float32)) == 0.5
    assert image_auroc(labels, np.array([0.25, 0.5], np.float16)) == 1.0


@pytest.mark.parametrize("kind", [0, 1])
def test_one_class_gives_no_number_but_a_reason(kind):
    labels, scores = np.full(5, kind), np.arange(5.0)
    normal = 0 if kind else 5
    reason = (
        f"normal and anomalous images are needed; got {normal} normal and {5 - normal} anomalous"
    )
    names = {metric.name for metric in of_level("image")}
    measured = measure_images(labels, scores)
    assert measured.values == dict.fromkeys(names)
    assert measured.reasons == dict.fromkeys(names, reason)
    assert measured.intervals == {}
    for function in (image_ranks, roc_curve, pr_curve):
        with pytest.raises(OneClassError, match=reason):
            function(labels, scores)


def test_no_image_at_all():
    reasons = measure_images(np.array([], bool), np.array([])).reasons
    assert "got 0 normal and 0 anomalous" in reasons["image_auroc"]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0], r"got shapes \(2,\) and \(1,\)"),
        ([[0, 1]], [[1.0, 2.0]], r"got shapes \(1, 2\)"),
        ([0, 255], [1.0, 2.0], r"labels are 0 \(normal\) or 1 \(anomalous\); got \[0, 255\]"),
        ([0, 1], [np.nan, 1.0], "scores: 1 of 2 values are NaN or infinite"),
        ([0, 1], [np.inf, -np.inf], "scores: 2 of 2 values are NaN or infinite"),
    ],
)
def test_bad_images_are_refused(labels, scores, message):
    with pytest.raises(AdbenchError, match=message):
        measure_images(np.array(labels), np.array(scores))


# ------------------------------------------------------------------------------------ pixels


def aupro(masks, maps, limit=0.3):
    return pixel_ranks(masks, maps).region_overlap(limit)


def test_hand_worked_aupro():
    # One region of two pixels (diagonal neighbours) scoring 9 and 5; ten normal pixels, two of
    # them at or above 5.
    mask = np.zeros((3, 4), bool)
    mask[0, 0] = mask[1, 1] = True
    scores = np.zeros((3, 4), np.float32)
    scores[0, 0], scores[1, 1], scores[2, 3], scores[0, 3] = 9, 5, 7, 6
    # overlap 1/2 until FPR .2, then 1 until .3
    assert aupro(mask[None], scores[None]) == pytest.approx((0.2 * 0.5 + 0.1) / 0.3, abs=1e-15)
    scores[0, 3] = 5  # tied: overlap climbs from 1/2 at FPR .1 to 1 at .2
    assert aupro(mask[None], scores[None]) == pytest.approx(
        (0.1 * 0.5 + 0.1 * 0.75 + 0.1) / 0.3, abs=1e-15
    )
    # the limit falls inside the ramp: overlap 1/2 until .1, then up to 3/4 at .15
    measured = aupro(mask[None], scores[None], 0.15)
    assert measured == pytest.approx((0.1 * 0.5 + 0.05 * 0.625) / 0.15, abs=1e-15)


@st.composite
def small_images(draw):
    """Up to three images of different sizes, with both classes among their pixels."""
    masks, maps = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
        masks.append(draw(arrays(bool, shape)))
        maps.append(
            draw(
                arrays(np.float32, shape, elements=draw(st.sampled_from([few_values, any_values])))
            )
        )
    masks.append(np.array([[True, False]]))
    maps.append(draw(arrays(np.float32, (1, 2), elements=few_values)))
    return masks, maps


@settings(max_examples=150, deadline=None)
@given(small_images(), st.sampled_from([0.05, 0.3, 1.0]))
def test_pixel_metrics_equal_the_references(images, limit):
    masks, maps = images
    measured = pixel_ranks(masks, maps)
    labels = np.concatenate([m.ravel() for m in masks])
    scores = np.concatenate([m.ravel() for m in maps])
    assert measured.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert measured.average_precision() == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    best, threshold = f1_by_definition(labels, scores)
    assert measured.f1_max() == (pytest.approx(best, abs=1e-12), threshold)
    overlap = measured.region_overlap(limit)
    assert overlap == pytest.approx(aupro_by_definition(masks, maps, limit), abs=1e-12)
    assert 0 <= overlap <= 1


def blobs(n=6, edge=96, seed=0):
    """Correlated maps with defects of several sizes and more scores than a strip of the search."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, edge, edge), bool)
    for i in range(1, n):
        for _ in range(i):
            y, x, r = rng.integers(0, edge), rng.integers(0, edge), rng.integers(2, 16)
            masks[i, max(y - r, 0) : y + r, max(x - r, 0) : x + r] = True
    maps = rng.normal(0, 1, masks.shape) + masks * rng.normal(1, 0.5, (n, 1, 1))
    return masks, maps.astype(np.float32)


def test_larger_maps_equal_scikit_learn():
    masks, maps = blobs(9, edge=128)
    assert len(np.unique(maps[masks])) > 2 * 4096
    measured = pixel_ranks(masks, maps)
    labels, scores = masks.ravel(), maps.ravel()
    assert measured.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert measured.average_precision() == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / (precision + recall + 1e-300)
    assert measured.f1_max() == (
        pytest.approx(f1.max(), abs=1e-12),
        thresholds[f1.argmax()],
    )


def test_aupro_of_regions_of_one_size_up_to_one_is_the_auroc():
    rng = np.random.default_rng(1)
    masks = np.zeros((4, 20, 20), bool)
    masks[:, 3:6, 3:6] = masks[:, 10:13, 10:13] = True
    maps = rng.integers(0, 30, masks.shape).astype(np.float32)
    measured = pixel_ranks(masks, maps)
    assert measured.region_overlap(1.0) == pytest.approx(measured.auroc(), abs=1e-12)


def test_a_small_defect_weighs_as_much_as_a_large_one():
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :10, :10] = masks[0, 15, 15] = True
    maps = masks.astype(np.float32)
    maps[0, 15, 15] = -1
    assert aupro(masks, maps) == 0.5


def pixel_values(masks, maps):
    """Every pixel metric by name but those that a threshold decides."""
    labels = np.array([mask.any() for mask in masks])
    values = measure(labels, labels.astype(float), masks, maps).values
    return {m.name: values[m.name] for m in of_level("pixel") if values[m.name] is not None}


def test_perfect_constant_and_reversed_maps():
    masks, _ = blobs()
    perfect = pixel_values(masks, masks.astype(np.float32))
    assert set(perfect.values()) == {1.0}
    constant = pixel_values(masks, np.full(masks.shape, 7.0, np.float32))
    assert constant["pixel_auroc"] == 0.5
    assert constant["pixel_ap"] == pytest.approx(masks.mean(), abs=1e-15)
    assert constant["aupro"] == pytest.approx(0.15, abs=1e-15)  # the diagonal up to 0.3, over 0.3
    reverse = pixel_values(masks, -masks.astype(np.float32))
    assert (reverse["pixel_auroc"], reverse["aupro"]) == (0.0, 0.0)


def test_only_the_order_of_scores_matters():
    masks, maps = blobs()
    coarse = np.round(maps * 4) / 4  # ties stay ties
    for values in (maps.astype(np.float64), coarse.astype(np.float64)):
        bent = np.exp(values) - 3
        assert pixel_values(masks, bent) == pixel_values(masks, values)
        threshold = pixel_ranks(masks, values).f1_max()[1]
        assert pixel_ranks(masks, bent).f1_max()[1] == np.exp(threshold) - 3


def test_order_and_container_of_the_images_do_not_matter():
    masks, maps = blobs()
    stacked = pixel_values(masks, maps)
    assert pixel_values(list(masks), list(maps)) == stacked
    shuffled = pixel_values(masks[::-1], maps[::-1])
    assert shuffled["pixel_auroc"] == stacked["pixel_auroc"]
    assert shuffled["aupro"] == pytest.approx(stacked["aupro"], abs=1e-12)
    assert pixel_values(masks.astype(np.uint8) * 255, maps) == stacked
    turned = pixel_values(masks.transpose(0, 2, 1), maps.transpose(0, 2, 1))
    assert turned["pixel_auroc"] == stacked["pixel_auroc"]


def test_inputs_stay_as_they_are():
    masks, maps = blobs(2)
    before = maps.copy()
    maps.flags.writeable = masks.flags.writeable = False  # as when memory-mapped
    pixel_ranks(masks[1:], maps[1:])
    scores = np.array([3.0, 1.0, 2.0])
    image_ranks(np.array([1, 0, 1]), scores)
    np.testing.assert_array_equal(maps, before)
    assert scores.tolist() == [3.0, 1.0, 2.0]


def test_negative_zero_is_zero():
    mask = np.array([[True, False, False]])
    assert pixel_ranks([mask], [np.array([[-0.0, 0.0, -1.0]], np.float32)]).auroc() == 0.75
    assert pixel_ranks([mask], [np.array([[0.0, -0.0, 1.0]], np.float32)]).auroc() == 0.25


def test_memory_is_one_copy_of_the_maps():
    masks, maps = blobs(1, edge=1000)
    masks[0, :50, :50] = True
    tracemalloc.start()
    pixel_ranks(masks, maps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * maps.nbytes


@pytest.mark.parametrize("kind", [False, True])
def test_pixels_of_one_class_give_a_reason(kind):
    masks, maps = np.full((2, 3, 3), kind), np.zeros((2, 3, 3), np.float32)
    normal = 0 if kind else 18
    reason = (
        f"normal and anomalous pixels are needed; got {normal} normal and {18 - normal} anomalous"
    )
    with pytest.raises(OneClassError, match=reason):
        pixel_ranks(masks, maps)
    measured = measure(np.array([0, 1]), np.array([0.0, 1.0]), masks, maps)
    names = {metric.name for metric in of_level("pixel")}
    assert {name: measured.values[name] for name in names} == dict.fromkeys(names)
    assert measured.reasons == dict.fromkeys(names, reason)
    assert measured.pairs is None


@pytest.mark.parametrize(
    ("masks", "maps", "limit", "message"),
    [
        (np.zeros((2, 3, 3), bool), np.zeros((1, 3, 3)), 0.3, "got 2 masks and 1 maps"),
        (np.zeros((0, 3, 3), bool), np.zeros((0, 3, 3)), 0.3, "got 0 masks and 0 maps"),
        (
            np.zeros((1, 3, 3), bool),
            np.zeros((1, 3, 4)),
            0.3,
            r"mask 0 is \(3, 3\) and its map \(3, 4\)",
        ),
        (np.zeros((1, 3), bool), np.zeros((1, 3)), 0.3, r"both must be the same \(h, w\)"),
        (
            np.eye(3, dtype=bool)[None],
            np.full((1, 3, 3), np.nan),
            0.3,
            "anomaly map 0: 9 of 9 values are NaN",
        ),
        (
            np.eye(3, dtype=bool)[None],
            np.full((1, 3, 3), np.inf),
            0.3,
            "anomaly map 0: 9 of 9 values are NaN",
        ),
        (np.eye(3, dtype=bool)[None], np.zeros((1, 3, 3)), 0.0, r"in \(0, 1\]; got 0.0"),
        (np.eye(3, dtype=bool)[None], np.zeros((1, 3, 3)), 30.0, r"in \(0, 1\]; got 30.0"),
    ],
)
def test_bad_pixels_are_refused(masks, maps, limit, message):
    with pytest.raises(AdbenchError, match=message):
        pixel_ranks(masks, maps).region_overlap(limit)


# ----------------------------------------------------------------------- the list of metrics


def test_every_metric_of_the_list_is_measured_and_explained():
    masks, maps = blobs(4, edge=24)
    labels = masks.any(axis=(1, 2))
    measured = measure(labels, maps.max(axis=(1, 2)), masks, maps, pixel_threshold=1.0)
    assert list(measured.values) == [metric.name for metric in METRICS]
    assert all(0 <= value <= 1 for value in measured.values.values())
    assert set(measured.intervals) == {metric.name for metric in METRICS if metric.noise}
    assert measured.reasons == {}
    assert measured.pairs.auroc() == measured.values["pixel_auroc"]
    for metric in METRICS:
        assert metric.title
        assert metric.about
        assert "\n" not in metric.about


def test_pixels_that_cannot_be_compared_have_the_reason_given():
    measured = measure(np.array([0, 1]), np.array([0.1, 0.2]), why_no_pixels="no masks")
    assert measured.values["image_auroc"] == 1.0
    assert measured.values["pixel_auroc"] is None
    assert set(measured.reasons.values()) == {"no masks"}


def test_images_have_no_regions():
    with pytest.raises(AdbenchError, match="for pixels, not for images"):
        image_ranks(np.array([0, 1]), np.array([0.0, 1.0])).region_overlap()


def test_ranks_are_enough_for_f1_at_a_fixed_false_positive_rate():
    def f1_at(ranks: Ranks, rate: float) -> float:
        allowed = ranks.false <= rate * ranks.n
        true, false = ranks.true[allowed], ranks.false[allowed]
        return float((2 * true / (true + false + ranks.p)).max(initial=0.0))

    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0])
    scores = np.array([8, 7, 6, 5, 4, 3, 2, 1])
    ranks = image_ranks(labels, scores)
    assert f1_at(ranks, 0.25) == 6 / 8  # three of four found, one of four false
    assert f1_at(ranks, 0.0) == 2 / 5
    assert f1_at(ranks, 1.0) == ranks.f1_max()[0]
