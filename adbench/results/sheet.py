"""One picture that explains itself: an image, its ground truth, its anomaly map and its verdict."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from adbench.results.judged import Judged
from adbench.results.overlay import Scale, View
from adbench.results.panels import (
    ALARM,
    CALM,
    FOOT,
    OPEN,
    Box,
    Heading,
    Layout,
    canvas_of,
    draw_bar,
    draw_heading,
    draw_map,
    draw_outline,
    draw_panel,
    finish,
    foot_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGS = (240, 560)
"""The longer side of panels beside each other, and of panels below each other."""
STRIP = 84  # height of the line of all scores
AWAY = 3  # pixels from a defect to its outline, which so hides no thin scratch


def sheet(view: View, scale: Scale, judged: Judged, place: int, name: str) -> "Figure":
    """The picture of one image; at least as many pixels as the view has.

    Args:
        view: The image with its map and its ground truth.
        scale: The colours.
        judged: All scores.
        place: Of the image among them.
        name: Of the image.
    """
    layout = Layout.of(view, 3, STRIP, LONGS, finest=True)
    figure, canvas = canvas_of(layout)
    draw_heading(canvas, layout, _heading(judged, place, name))
    draw_panel(
        canvas, layout.box(0), "image, defect outlined" if view.marked else "image", view.image
    )
    _truth(canvas, layout.box(1), view)
    draw_map(canvas, layout.box(2), "anomaly map", view, scale)
    for number in (0, 2):
        _outline(canvas, layout.box(number), view)
    finish(canvas, layout, foot_of(scale, view, "the category"))
    draw_bar(figure, layout, scale)
    top = layout.high - STRIP - FOOT + 14
    _strip(figure.add_axes(layout.place(68, top, layout.wide - 90, 34)), judged, place)
    return figure


def _heading(judged: Judged, place: int, name: str) -> Heading:
    verdict = judged.verdict(place)
    decided = judged.threshold is not None
    sign = ("✗ " if verdict.wrong else "✓ ") if decided else ""
    paper = ALARM if verdict.wrong else (CALM if decided else OPEN)
    return Heading(paper, sign + verdict.title, judged.in_words(place), name, judged.origin)


def _truth(canvas: Any, box: Box, view: View) -> None:
    known = np.zeros(view.image.shape[:2], bool) if view.mask is None else view.mask
    grey = np.repeat(np.where(known, 255, 50)[..., None], 3, axis=2).astype(np.uint8)
    draw_panel(canvas, box, "ground truth", grey, "nearest")
    if not view.marked:
        x, y, width, height = box
        centred = {"ha": "center", "va": "center"}
        canvas.text(
            x + width / 2, y + height / 2, view.unmarked, color="white", fontsize=12, **centred
        )


def _outline(canvas: Any, box: Box, view: View) -> None:
    """Around the defect, in a small distance."""
    if view.mask is None or not view.mask.any():
        return
    away = AWAY * view.mask.shape[0] / box[3]  # in pixels of the mask
    draw_outline(canvas, box, distance_transform_edt(~view.mask), away)


def _strip(axes: Any, judged: Judged, place: int) -> None:
    """Where the image stands among all test images."""
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    scores, anomalous = judged.scores, judged.anomalous
    for line, part, mark in ((0, ~anomalous, "o"), (1, anomalous, "^")):
        axes.plot(scores[part], np.full(part.sum(), line), mark, color="#8a8a8a", markersize=4)
    axes.plot(scores[place], int(anomalous[place]), "D", color="black", markersize=8)
    if judged.threshold is not None:
        axes.axvline(judged.threshold, color=ALARM, linestyle="--", linewidth=1.4)
    axes.set(ylim=(-0.7, 1.7))
    axes.set_yticks([0, 1], ["normal", "defect"])
    axes.tick_params(axis="y", length=0)
    dashes = "" if judged.threshold is None else "; dashes: the threshold"
    axes.set_xlabel(f"score of each test image; diamond: this one{dashes}", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)
