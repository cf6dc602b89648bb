"""Metrics that a threshold or a rate on normal images alone decides, against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adbench.errors import AdbenchError
from adbench.evaluation.checks import UndefinedError
from adbench.evaluation.measure import measure
from adbench.evaluation.ranks import image_ranks, pixel_ranks

SIDE = 150  # 22,500 pixels: below them 1e-4 is 2.25 pixels of an image


def drawn(seed, normal=3, anomalous=2, shapes=None, digits=None):
    """Masks and maps of images, the anomalous ones with a square defect that stands out."""
    rng = np.random.default_rng(seed)
    masks, maps = [], []
    for i in range(normal + anomalous):
        shape = (SIDE, SIDE) if shapes is None else shapes[i]
        anomaly, mask = rng.normal(size=shape).astype(np.float32), np.zeros(shape, bool)
        if i >= normal:
            y, x = rng.integers(0, 20, 2)
            mask[y : y + 9, x : x + 7] = mask[-2:, -5:] = True
            anomaly[mask] += rng.uniform(2, 5)
        maps.append(anomaly if digits is None else anomaly.round(digits))
        masks.append(mask)
    return masks, maps


def aupimo_by_definition(masks, maps, low=1e-5, high=1e-4, steps=20001):
    """At each of many rates the lowest threshold that keeps it, and the recall there, averaged."""
    normal = [m for mask, m in zip(masks, maps, strict=True) if not mask.any()]
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))
    rates = np.mean([[(m >= t).mean() for t in thresholds] for m in normal], axis=0)
    # midpoints of equal steps of the logarithm
    at = np.exp(np.linspace(np.log(low), np.log(high), steps))
    at = np.sqrt(at[1:] * at[:-1])
    values = []
    for mask, m in zip(masks, maps, strict=True):
        if mask.any():
            recalls = np.array([(m[mask] >= t).mean() for t in thresholds])
            first = np.searchsorted(-rates, -at, side="left")  # rates fall as thresholds rise
            values.append(np.where(first < len(rates), recalls[first.clip(max=len(rates) - 1)], 0))
    return np.mean(values)


@pytest.mark.parametrize("digits", [None, 1])
def test_aupimo_is_its_definition(digits):
    masks, maps = drawn(0, normal=2, digits=digits)
    maps = [m.copy() for m in maps]
    for m in maps[:2]:  # few distinct values below, so that the plain loop ends soon
        m[m < 2.5] = 0
    for mask, m in zip(masks[2:], maps[2:], strict=True):
        m[~mask] = 0
    found = pixel_ranks(masks, maps).image_overlap()
    assert 0 < found < 1
    assert found == pytest.approx(aupimo_by_definition(masks, maps), abs=2e-4)


def test_hand_worked_aupimo():
    # Two normal images of 100,000 pixels: one pixel is a rate of 5e-6, four are 2e-5.
    normal = np.zeros((2, 250, 400), np.float32)
    normal[0, 0, :2], normal[1, 5, :2] = 5.0, (5.0, 4.0)
    normal[0, 9, :30] = 3.0
    mask, anomaly = np.zeros((250, 400), bool), np.zeros((250, 400), np.float32)
    mask[0, :4] = True
    anomaly[0, :4] = 6.0, 4.5, 3.5, 2.5
    # 6.0 is found at every rate; 4.5 from 3 pixels on, 1.5e-5; 3.5 from 4 on, 2e-5; 2.5 from 34
    # on, 1.7e-4, which is beyond the end.
    expected = (1 + np.log10(1e-4 / 1.5e-5) + np.log10(1e-4 / 2e-5) + 0) / 4
    ranks = pixel_ranks([*np.zeros((2, 250, 400), bool), mask], [*normal, anomaly])
    assert ranks.image_overlap() == pytest.approx(expected, abs=1e-12)
    # A tie counts from the rate on that counts all that are tied: three pixels have 5 or more.
    tied = anomaly.copy()
    tied[0, 0] = 5.0
    expected += (np.log10(1e-4 / 1.5e-5) - 1) / 4
    ranks = pixel_ranks([*np.zeros((2, 250, 400), bool), mask], [*normal, tied])
    assert ranks.image_overlap() == pytest.approx(expected, abs=1e-12)


def test_aupimo_weighs_images_alike_whatever_their_size():
    shapes = [(100, 300), (50, 60), (150, 150), (120, 80)]
    masks, maps = drawn(1, normal=2, shapes=shapes)
    for m in maps[:2]:
        m[m > 2] = 0
    # One pixel of the small normal image alone is a mean rate of 1 / 6000, beyond the end.
    maps[1][0, 0] = 2.0
    above = [(m[mask] > 2).mean() for mask, m in zip(masks[2:], maps[2:], strict=True)]
    assert 0 < above[0] < 1
    assert pixel_ranks(masks, maps).image_overlap() == pytest.approx(np.mean(above), abs=1e-12)
    maps[1][0, 0] = 100.0
    assert pixel_ranks(masks, maps).image_overlap() == 0


def test_aupimo_needs_normal_images():
    masks, maps = drawn(2, normal=0)
    with pytest.raises(UndefinedError, match="every image has a marked pixel"):
        pixel_ranks(masks, maps).image_overlap()
    measured = measure(np.array([0, 1]), np.array([0.0, 1.0]), masks, maps)
    assert measured.values["aupimo"] is None
    assert "every image has a marked pixel" in measured.reasons["aupimo"]
    assert measured.values["pixel_auroc"] is not None


@pytest.mark.parametrize(("low", "high"), [(0, 1e-4), (1e-4, 1e-5), (1e-5, 1e-3)])
def test_bad_rates_are_refused(low, high):
    with pytest.raises(AdbenchError, match=f"got {low}"):
        pixel_ranks(*drawn(0)).image_overlap(low, high)


def test_images_have_no_overlap():
    with pytest.raises(AdbenchError, match="for pixels, not for images"):
        image_ranks(np.array([0, 1]), np.array([0.0, 1.0])).image_overlap()


def test_aupimo_equals_anomalib():
    metric = pytest.importorskip("anomalib.metrics.pimo.pimo")._AUPIMO(
        num_thresholds=20000, return_average=True
    )
    import torch

    masks, maps = drawn(3, normal=8, anomalous=4)
    metric.update(torch.from_numpy(np.stack(maps)), torch.from_numpy(np.stack(masks)))
    assert pixel_ranks(masks, maps).image_overlap() == pytest.approx(
        float(metric.compute()), abs=0.01
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 6))
def test_the_f1_at_a_threshold_counts_pixels(seed, threshold):
    masks, maps = drawn(seed, normal=1, shapes=[(30, 40)] * 3)
    labels = np.concatenate([m.ravel() for m in masks])
    called = np.concatenate([m.ravel() for m in maps]) > threshold
    expected = 2 * (called & labels).sum() / (called.sum() + labels.sum())
    ranks = pixel_ranks(masks, maps, threshold)
    assert ranks.f1_at_threshold() == pytest.approx(expected, abs=1e-15)
    assert ranks.f1_at_threshold() <= ranks.f1_max()[0]


def test_without_a_threshold_there_is_no_f1_at_it():
    masks, maps = drawn(0)
    labels = np.array([mask.any() for mask in masks])
    measured = measure(labels, labels.astype(float), masks, maps)
    assert measured.values["seg_f1"] is None
    assert "threshold=folds makes one" in measured.reasons["seg_f1"]
    given_one = measure(labels, labels.astype(float), masks, maps, pixel_threshold=1.0)
    assert 0 < given_one.values["seg_f1"] < 1
    assert "seg_f1" not in given_one.reasons
