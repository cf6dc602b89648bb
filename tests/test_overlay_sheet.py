"""The picture of an image that a saved detector judges says what is decided, and shows where."""

import numpy as np
import pytest

from adbench.data.geometry import Geometry
from adbench.results.overlay import Scale, View, placed
from adbench.results.overlay_sheet import (
    LONGS,
    Judgement,
    overlay_sheet,
    reduced,
    scale_of_normal,
)
from adbench.results.panels import drawn

SCALE = Scale(1.0, 5.0, "what lies below")
SQUARE = np.s_[8:20, 8:20]


def view(heat=None, shape=(32, 32)):
    heat = np.zeros(shape, np.float32) if heat is None else heat
    return View(np.full((*shape, 3), 200, np.uint8), heat, None)


def judgement(score=3.0, threshold=2.0, name="a/1.png"):
    return Judgement(name, score, threshold, p_value=0.05, alpha=0.1)


def texts(figure):
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def outlines(figure):
    return [p.vertices for c in figure.axes[0].collections for p in c.get_paths() if len(p)]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(3.0, "anomalous\nscore 3 > threshold 2"), (2.0, "normal\nscore 2 ≤ threshold 2")],
)
def test_the_verdict_stands_beside_score_and_threshold(score, verdict):
    shown = texts(overlay_sheet(view(), SCALE, judgement(score)))
    for said in (verdict, "a/1.png", "p 0.05; threshold for a false alarm rate of 0.1"):
        assert said in shown
    assert "No colour up to 1: what lies below" in shown


def test_the_papers_of_the_verdicts_differ_in_grey_too():
    papers = [judgement(score).heading().paper for score in (3.0, 2.0)]
    grey = [sum(int(paper[i : i + 2], 16) for i in (1, 3, 5)) / 3 for paper in papers]
    assert grey[0] < 100 < 200 < grey[1]


def test_what_exceeds_the_threshold_of_pixels_is_outlined():
    heat = np.zeros((32, 32), np.float32)
    heat[SQUARE] = 4.0
    anomalous, normal = view(heat), view(heat / 4)  # the latter reaches 1, and does not exceed it
    assert outlines(overlay_sheet(anomalous, SCALE, judgement()))
    assert not outlines(overlay_sheet(normal, SCALE, judgement()))
    points = np.concatenate(outlines(overlay_sheet(anomalous, SCALE, judgement())))
    extent = points.max(0) - points.min(0)
    np.testing.assert_allclose(extent, 12 * LONGS[0] / 32, atol=LONGS[0] / 32)


def test_the_bar_marks_the_threshold_at_which_the_colours_begin():
    figure = overlay_sheet(view(), SCALE, judgement())
    bar = figure.axes[1]
    assert "threshold" in [text.get_text() for text in bar.texts]
    (mark,) = [line for line in bar.lines if len(set(line.get_ydata())) == 1]
    assert mark.get_ydata()[0] == SCALE.low


def test_what_the_detector_does_not_see_is_marked():
    heat = np.full((32, 32), np.nan, np.float32)
    heat[4:28, 4:28] = 0
    figure = overlay_sheet(view(heat), SCALE, judgement())
    assert outlines(figure)
    assert "does not see beyond the dashed line" in texts(figure)


@pytest.mark.parametrize(("shape", "below"), [((32, 32), False), ((32, 96), True)])
def test_panels_of_wide_images_stand_below_each_other(shape, below):
    image, heat = overlay_sheet(view(shape=shape), SCALE, judgement()).axes[0].images
    left, _, bottom, top = image.get_extent()
    assert (heat.get_extent()[0] > left) != below
    assert (heat.get_extent()[3] >= bottom) == below
    assert bottom > top


@pytest.mark.parametrize("shape", [(1, 1), (1, 32), (32, 1), (2, 4000)])
def test_an_image_of_a_single_row_or_column_has_an_outline(shape):
    heat = np.zeros(shape, np.float32)
    heat[..., : max(1, shape[1] // 2)] = 4.0
    heat[:1] += 1.0
    heat[..., -1:] = np.nan if shape[1] > 1 else 4.0
    assert drawn(overlay_sheet(view(heat, shape), SCALE, judgement())).size


def test_the_scale_follows_from_normal_maps_alone():
    scale = scale_of_normal(np.array([4.0, 6.0, 7.0, 9.0, 10.0]), 9.0)
    assert (scale.low, scale.high) == (9.0, 13.0)  # 9 + 2 * (9 - 7)
    assert scale_of_normal(np.array([1.0, 1.0, 30.0]), 2.0).high == 30.0


@pytest.mark.parametrize("value", [0.0, -3.0, 1e30])
def test_equal_normal_maps_have_a_scale(value):
    scale = scale_of_normal(np.full(4, value), value)
    assert scale.high > scale.low
    assert np.isfinite(scale.colours(np.array([value]))).all()


def test_a_large_image_is_shown_small_and_in_its_aspect():
    heat = np.zeros((1000, 2000), np.float32)
    heat[:, 1000:] = 3.0
    small = reduced(view(heat, heat.shape))
    assert small.image.shape == (LONGS[1] // 2, LONGS[1], 3)
    assert small.heat.shape == small.image.shape[:2]
    assert (small.heat[:, : LONGS[1] // 2] == 0).all()
    assert (small.heat[:, LONGS[1] // 2 :] == 3).all()
    same = view()
    assert reduced(same) is same


def test_a_map_is_placed_where_the_detector_looked():
    heat = np.arange(16, dtype=np.float32).reshape(4, 4)
    whole = placed(heat, Geometry(resize=None, crop=4), (8, 10))
    np.testing.assert_array_equal(whole[2:6, 3:7], heat)
    assert np.isnan(whole).sum() == 80 - 16
