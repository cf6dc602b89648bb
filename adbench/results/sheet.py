"""One picture that explains itself: an image, its ground truth, its anomaly map and its verdict."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from adbench.results.judged import Judged
from adbench.results.overlay import DIM, Scale, View, colour_map, over_grey
from adbench.results.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
"""At which the sizes below are in pixels."""
LONG, WIDE_LONG = 240, 560  # the longer side of a panel; of panels below each other
NARROWEST = 190  # room for a panel's title
MARGIN, GAP, HEAD, TITLE, BAR, BAR_TEXT, STRIP, FOOT = 12, 12, 68, 24, 16, 52, 84, 22
AWAY = 3  # pixels from a defect to its outline, which so hides no thin scratch
WIDE = 2.0
"""Panels of images that are this many times wider than high stand below each other."""
WRONG, RIGHT, OPEN = "#a32b00", "#d5ecf7", "#ebebeb"
"""Paper of the heading: of wrong and right decisions, and where nothing is decided."""
LONGEST_NAME = 60
MOST = 2**15
"""Pixels of a picture's longer side, beyond which it is scaled down."""


def sheet(view: View, scale: Scale, judged: Judged, place: int, name: str) -> "Figure":
    """The picture of one image; at least as many pixels as the view has.

    Args:
        view: The image with its map and its ground truth.
        scale: The colours.
        judged: All scores.
        place: Of the image among them.
        name: Of the image.
    """
    from matplotlib.figure import Figure

    layout = _Layout.of(view)
    figure = Figure(figsize=(layout.wide / DPI, layout.high / DPI), dpi=layout.dpi)
    canvas = figure.add_axes((0, 0, 1, 1))  # in pixels from the top left corner
    canvas.set_axis_off()
    _head(canvas, layout, judged, place, name)
    _image(canvas, layout.box(0), view)
    _truth(canvas, layout.box(1), view)
    _map(canvas, layout.box(2), view, scale)
    canvas.text(MARGIN, layout.high - 12, _foot(scale, view), fontsize=7)
    canvas.set(xlim=(0, layout.wide), ylim=(layout.high, 0), aspect="auto")
    x, y, width, height = layout.box(2)
    _bar(figure.add_axes(layout.place(x + width + GAP, y, BAR, height)), scale)
    top = layout.high - STRIP - FOOT + 14
    _strip(figure.add_axes(layout.place(68, top, layout.wide - 90, 34)), judged, place)
    return figure


Box = tuple[float, float, float, float]
"""Left, top, width and height."""


@dataclass(frozen=True)
class _Layout:
    """Where the panels lie, in pixels."""

    panel: tuple[float, float]
    """Width and height."""
    below: bool
    """Whether the panels stand below each other."""
    dpi: float

    @classmethod
    def of(cls, view: View) -> "_Layout":
        height, width = view.image.shape[:2]
        below = width > WIDE * height
        enlarged = (WIDE_LONG if below else LONG) / max(height, width)
        layout = cls((width * enlarged, height * enlarged), below, DPI)
        most = MOST / max(layout.wide, layout.high)
        return replace(layout, dpi=DPI * min(max(1.0, 1 / enlarged), most))

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a panel with its title."""
        return max(self.panel[0], NARROWEST), self.panel[1] + TITLE

    @property
    def wide(self) -> float:
        panels = self.cell[0] if self.below else 3 * self.cell[0] + 2 * GAP
        return 2 * MARGIN + panels + GAP + BAR + BAR_TEXT

    @property
    def high(self) -> float:
        return HEAD + (3 if self.below else 1) * (self.cell[1] + GAP) + STRIP + FOOT

    def box(self, number: int) -> Box:
        """Of the panel ``number``."""
        (width, height), cell = self.panel, self.cell
        x = MARGIN + (cell[0] - width) / 2 + (0 if self.below else number * (cell[0] + GAP))
        y = HEAD + TITLE + (number * (cell[1] + GAP) if self.below else 0)
        return x, y, width, height

    def place(self, x: float, y: float, width: float, height: float) -> Box:
        """As matplotlib places axes: in shares of the figure, from the bottom left corner."""
        bottom = 1 - (y + height) / self.high
        return x / self.wide, bottom, width / self.wide, height / self.high


def _head(canvas: Any, layout: _Layout, judged: Judged, place: int, name: str) -> None:
    """A band that is dark for what is wrong and light for what is right, in grey too."""
    verdict = judged.verdict(place)
    decided = judged.threshold is not None
    paper, ink = (WRONG, "white") if verdict.wrong else (RIGHT if decided else OPEN, LIGHT.ink)
    canvas.axhspan(0, HEAD - 4, color=paper, linewidth=0)
    sign = ("✗ " if verdict.wrong else "✓ ") if decided else ""
    shown = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
    left, right = MARGIN, layout.wide - MARGIN
    style = {"va": "center", "color": ink, "parse_math": False}
    canvas.text(left, 22, sign + verdict.title, fontsize=17, weight="bold", **style)
    canvas.text(right, 22, judged.in_words(place), fontsize=13, ha="right", **style)
    canvas.text(left, 49, shown, fontsize=8, **style)
    canvas.text(right, 49, judged.origin, fontsize=8, ha="right", **style)


def _image(canvas: Any, box: Box, view: View) -> None:
    _panel(canvas, box, "image, defect outlined" if view.marked else "image", view.image)
    _outline(canvas, box, view)


def _truth(canvas: Any, box: Box, view: View) -> None:
    known = np.zeros(view.image.shape[:2], bool) if view.mask is None else view.mask
    grey = np.repeat(np.where(known, 255, 50)[..., None], 3, axis=2).astype(np.uint8)
    _panel(canvas, box, "ground truth", grey, "nearest")
    if not view.marked:
        x, y, width, height = box
        centred = {"ha": "center", "va": "center"}
        canvas.text(
            x + width / 2, y + height / 2, view.unmarked, color="white", fontsize=12, **centred
        )


def _map(canvas: Any, box: Box, view: View, scale: Scale) -> None:
    _panel(canvas, box, "anomaly map", over_grey(view, scale))
    _outline(canvas, box, view)
    looked = ~np.isnan(view.heat)
    if not looked.all():
        x, y = _places(box, looked.shape)
        dashes = {"colors": "white", "linewidths": 0.8, "linestyles": "--"}
        canvas.contour(x, y, looked, [0.5], **dashes)


def _panel(
    canvas: Any, box: Box, title: str, pixels: np.ndarray, interpolation: str = "antialiased"
) -> None:
    x, y, width, height = box
    extent = (x, x + width, y + height, y)
    canvas.imshow(pixels, extent=extent, interpolation=interpolation, aspect="auto")
    canvas.text(x + width / 2, y - 6, title, ha="center", fontsize=10)


def _outline(canvas: Any, box: Box, view: View) -> None:
    """Around the defect: a white line on a black one, which is seen on any ground."""
    if view.mask is None or not view.mask.any():
        return
    away = AWAY * view.mask.shape[0] / box[3]  # in pixels of the mask
    x, y = _places(box, view.mask.shape)
    distances = distance_transform_edt(~view.mask)
    for colour, width in (("black", 2.2), ("white", 1.0)):
        canvas.contour(x, y, distances, [away], colors=colour, linewidths=width)


def _places(box: Box, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of a panel's columns and rows of pixels lie on the canvas."""
    x, y, width, height = box
    rows, columns = shape
    return x + (np.arange(columns) + 0.5) * width / columns, y + (
        np.arange(rows) + 0.5
    ) * height / rows


def _bar(axes: Any, scale: Scale) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = colour_map().with_extremes(under=(DIM / 2,) * 3)
    shown = ScalarMappable(Normalize(scale.low, scale.high), colours)
    bar = axes.figure.colorbar(shown, cax=axes, extend="min", extendfrac=0.08)
    bar.set_label("anomaly score of a pixel", fontsize=7)
    bar.ax.tick_params(labelsize=7)


def _strip(axes: Any, judged: Judged, place: int) -> None:
    """Where the image stands among all test images."""
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    scores, anomalous = judged.scores, judged.anomalous
    for line, part, mark in ((0, ~anomalous, "o"), (1, anomalous, "^")):
        axes.plot(scores[part], np.full(part.sum(), line), mark, color="#8a8a8a", markersize=4)
    axes.plot(scores[place], int(anomalous[place]), "D", color="black", markersize=8)
    if judged.threshold is not None:
        axes.axvline(judged.threshold, color=WRONG, linestyle="--", linewidth=1.4)
    axes.set(ylim=(-0.7, 1.7))
    axes.set_yticks([0, 1], ["normal", "defect"])
    axes.tick_params(axis="y", length=0)
    dashes = "" if judged.threshold is None else "; dashes: the threshold"
    axes.set_xlabel(f"score of each test image; diamond: this one{dashes}", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)


def _foot(scale: Scale, view: View) -> str:
    text = f"One scale for the category. No colour up to {scale.low:.4g}: {scale.meaning}."
    outside = " The detector does not see beyond the dashed line."
    return text + (outside if np.isnan(view.heat).any() else "")
