"""The verdict on a number: one rule for categories and means, and what each verdict means."""

import math

import pytest
from made_records import CONFIGS, made

from adbench.data.mvtec import PUBLISHED
from adbench.evaluation.intervals import Interval
from adbench.reports.bands import band, judged
from adbench.reports.tables import table
from adbench.reports.text import to_markdown

ORDINARY = ["bottle", "cable", "capsule", "carpet", "hazelnut", "leather", "metal_nut", "tile"]
BASE = "experiment=belloni2023_resnet50"


def test_the_bands_of_one_category_and_of_fifteen_are_those_that_the_rule_is_made_of():
    assert band(["bottle"]) == pytest.approx(1)
    assert band(["pill"]) == pytest.approx(3)
    assert band([f"ordinary {i}" for i in range(15)]) == pytest.approx(0.4)


def test_the_band_of_a_mean_by_hand():
    assert band(ORDINARY[:2]) == pytest.approx(math.sqrt(0.1 + 0.9 / 2))
    assert band(["bottle", "grid"]) == pytest.approx(math.sqrt(0.1 + (0.9 + 8.9) / 4))
    assert band(list(PUBLISHED)) == pytest.approx(math.sqrt(0.1 + (10 * 0.9 + 5 * 8.9) / 225))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("n", range(1, 9))
def test_members_at_both_edges_of_their_bands_have_a_mean_inside_its_own(n, sign):
    """Members at the edge of their bands, on both sides, average to a mean inside its own."""
    edges = [sign * (-1) ** i * 1.0 for i in range(n)]
    assert abs(sum(edges) / n) <= band(ORDINARY[:n]) + 1e-9


def test_the_measured_interval_decides_outside_the_band():
    assert judged(98.9, 100.0, None, ["bottle"]) == "outside"
    assert judged(98.9, 100.0, Interval(95.0, 100.0), ["bottle"]) == "inconclusive"
    assert judged(98.9, 100.0, Interval(95.0, 99.9), ["bottle"]) == "outside"
    assert judged(99.0, 100.0, Interval(98.9, 99.1), ["bottle"]) == "within"
    assert judged(97.1, 100.0, None, ["grid"]) == "within"


def test_members_within_their_bands_and_their_mean_do_not_contradict_each_other():
    """The case that was seen: grid 1.5 points off, and the mean over the same two outside ±0.4."""
    records = [made(BASE, "bottle", image=1.0), made(BASE, "grid", image=0.895)]
    built = table("belloni2023_table4", records, [], CONFIGS)
    words = [built.cells["ResNet50", "image_auroc", c].words for c in ("bottle", "grid", "mean")]
    assert words == ["within ±1", "within ±3", "within ±1.6"]


def test_noise_is_said_with_the_number_of_images():
    built = table("belloni2023_table4", [made(BASE, "cable", image=0.97)], [], CONFIGS)
    cell = built.cells["ResNet50", "image_auroc", "cable"]  # printed 98.0, measured to 98.0
    assert cell.words == "within ±1"
    built = table("belloni2023_table4", [made(BASE, "tile", image=0.975)], [], CONFIGS)
    cell = built.cells["ResNet50", "image_auroc", "tile"]  # printed 99.0, measured to 98.5
    assert cell.words == "outside ±1"
    record = made(BASE, "tile", image=0.975)
    record.intervals["image_auroc"] = [0.9, 0.995]
    cell = table("belloni2023_table4", [record], [], CONFIGS).cells[
        "ResNet50", "image_auroc", "tile"
    ]
    assert cell.words == "inconclusive: outside ±1, within the noise of 117 images"


# ---------------------------------------------------------------------------- incomplete categories


def test_a_part_of_a_category_is_marked_and_gets_no_verdict():
    records = [
        made(BASE, "bottle", image=0.5, counts=(8, 18)),
        made(BASE, "cable", image=0.98),
    ]
    built = table("belloni2023_table4", records, [], CONFIGS)
    bottle, cable, mean = (
        built.cells["ResNet50", "image_auroc", c] for c in ("bottle", "cable", "mean")
    )
    why = "measured on 8 training and 18 test images; bottle of MVTec AD has 209 and 83"
    assert (bottle.verdict, bottle.reason) == ("incomplete", why)
    assert (cable.verdict, mean.verdict) == ("within", "incomplete")
    page = to_markdown(built)
    assert "| 50.00† / 100.0" in page
    assert "| 74.00† / 99.0" in page
    assert f"**† {why}; it gets no verdict.**" in page


def test_more_images_than_published_are_another_category_too():
    record = made(BASE, "bottle", counts=(210, 83))
    built = table("belloni2023_table4", [record], [], CONFIGS)
    assert built.cells["ResNet50", "image_auroc", "bottle"].verdict == "incomplete"
