"""The parts of a picture: where its panels lie, its heading, and how a map and outlines are drawn.

All of it is drawn on one canvas, whose units are pixels from the top left corner.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from adbench.results.overlay import DIM, Scale, View, colour_map, over_grey
from adbench.results.style import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
"""At which the sizes below are in pixels."""
NARROWEST = 190  # room for a panel's title
MARGIN, GAP, HEAD, TITLE, BAR, BAR_TEXT, FOOT = 12, 12, 68, 24, 16, 52, 22
WIDE = 2.0
"""Panels of images that are this many times wider than high stand below each other."""
ALARM, CALM, OPEN = "#a32b00", "#d5ecf7", "#ebebeb"
"""Paper of a heading: of what calls for attention, of what does not, and of neither."""
LONGEST_NAME = 60
MOST = 2**15
"""Pixels of a picture's longer side, beyond which it is scaled down."""

Box = tuple[float, float, float, float]
"""Left, top, width and height."""


@dataclass(frozen=True)
class Layout:
    """Where the panels lie, in pixels."""

    panel: tuple[float, float]
    """Width and height."""
    panels: int
    below: bool
    """Whether the panels stand below each other."""
    strip: float
    """Height of what stands between the panels and the foot."""
    dpi: float = DPI

    @classmethod
    def of(
        cls, view: View, panels: int, strip: float, longs: tuple[float, float], finest: bool
    ) -> "Layout":
        """The layout of a picture.

        Args:
            view: What the panels show.
            panels: How many there are.
            strip: Height of what stands below them.
            longs: The longer side of panels beside each other, and of panels below each other.
            finest: Whether the picture gets at least as many pixels as the view has.
        """
        height, width = view.image.shape[:2]
        below = width > WIDE * height
        enlarged = longs[below] / max(height, width)
        layout = cls((width * enlarged, height * enlarged), panels, below, strip)
        if not finest:
            return layout
        most = MOST / max(layout.wide, layout.high)
        return replace(layout, dpi=DPI * min(max(1.0, 1 / enlarged), most))

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a panel with its title."""
        return max(self.panel[0], NARROWEST), self.panel[1] + TITLE

    @property
    def wide(self) -> float:
        """Of the picture."""
        beside = 1 if self.below else self.panels
        return 2 * MARGIN + beside * self.cell[0] + (beside - 1) * GAP + GAP + BAR + BAR_TEXT

    @property
    def high(self) -> float:
        """Of the picture."""
        stacked = self.panels if self.below else 1
        return HEAD + stacked * (self.cell[1] + GAP) + self.strip + FOOT

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


@dataclass(frozen=True)
class Heading:
    """What the band at the top says: a title and what it follows from; a name and a remark."""

    paper: str
    """Its colour: ``ALARM`` is dark and the others are light, in grey too."""
    title: str
    said: str
    name: str
    remark: str


def canvas_of(layout: Layout) -> tuple["Figure", Any]:
    """A figure, and the axes over all of it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(layout.wide / DPI, layout.high / DPI), dpi=layout.dpi)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    return figure, canvas


def finish(canvas: Any, layout: Layout, foot: str) -> None:
    """Write the line at the foot, and let the units of the canvas be pixels."""
    canvas.text(MARGIN, layout.high - 12, foot, fontsize=7)
    canvas.set(xlim=(0, layout.wide), ylim=(layout.high, 0), aspect="auto")


def draw_heading(canvas: Any, layout: Layout, heading: Heading) -> None:
    """Draw the band at the top."""
    ink = "white" if heading.paper == ALARM else LIGHT.ink
    canvas.axhspan(0, HEAD - 4, color=heading.paper, linewidth=0)
    name = heading.name
    shown = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
    left, right = MARGIN, layout.wide - MARGIN
    style = {"va": "center", "color": ink, "parse_math": False}
    canvas.text(left, 22, heading.title, fontsize=17, weight="bold", **style)
    canvas.text(right, 22, heading.said, fontsize=13, ha="right", **style)
    canvas.text(left, 49, shown, fontsize=8, **style)
    canvas.text(right, 49, heading.remark, fontsize=8, ha="right", **style)


def draw_panel(
    canvas: Any, box: Box, title: str, pixels: np.ndarray, interpolation: str = "antialiased"
) -> None:
    """Draw an image with its title."""
    x, y, width, height = box
    extent = (x, x + width, y + height, y)
    canvas.imshow(pixels, extent=extent, interpolation=interpolation, aspect="auto")
    canvas.text(x + width / 2, y - 6, title, ha="center", fontsize=10)


def draw_map(canvas: Any, box: Box, title: str, view: View, scale: Scale) -> None:
    """Draw the anomaly map over its image, with dashes around what the detector looked at."""
    draw_panel(canvas, box, title, over_grey(view, scale))
    looked = ~np.isnan(view.heat)
    if not looked.all():
        _contour(canvas, box, looked, 0.5, colors="white", linewidths=0.8, linestyles="--")


def draw_outline(canvas: Any, box: Box, values: np.ndarray, level: float) -> None:
    """Outline where (h, w) values reach a level: white on black, which is seen on any ground."""
    for colour, width in (("black", 2.2), ("white", 1.0)):
        _contour(canvas, box, values, level, colors=colour, linewidths=width)


def draw_bar(figure: "Figure", layout: Layout, scale: Scale, ends: str = "min") -> Any:
    """Draw the colours and their values beside the last panel.

    Args:
        figure: The picture.
        layout: Its layout.
        scale: The colours.
        ends: Where values may lie beyond the scale: ``min``, or ``both``.

    Returns:
        The axes of the bar.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    x, y, width, height = layout.box(layout.panels - 1)
    axes = figure.add_axes(layout.place(x + width + GAP, y, BAR, height))
    colours = colour_map().with_extremes(under=(DIM / 2,) * 3)
    shown = ScalarMappable(Normalize(scale.low, scale.high), colours)
    bar = figure.colorbar(shown, cax=axes, extend=ends, extendfrac=0.08)
    bar.set_label("anomaly score of a pixel", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return bar.ax


def foot_of(scale: Scale, view: View, whose: str) -> str:
    """What the colours mean.

    Args:
        scale: The colours.
        view: Shown in them.
        whose: What else is shown in the same colours, such as ``the category``.
    """
    text = f"One scale for {whose}. No colour up to {scale.low:.4g}: {scale.meaning}."
    outside = " The detector does not see beyond the dashed line."
    return text + (outside if np.isnan(view.heat).any() else "")


def drawn(figure: "Figure") -> Image.Image:
    """The pixels of a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _contour(canvas: Any, box: Box, values: np.ndarray, level: float, **style: Any) -> None:
    """Draw where (h, w) values cross a level."""
    if min(values.shape) == 1:  # a contour needs two rows and two columns
        values = values.repeat(2, axis=0).repeat(2, axis=1)
    canvas.contour(*_places(box, values.shape), values, [level], **style)


def _places(box: Box, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of a panel's columns and rows of pixels lie on the canvas."""
    x, y, width, height = box
    rows, columns = shape
    return x + (np.arange(columns) + 0.5) * width / columns, y + (
        np.arange(rows) + 0.5
    ) * height / rows
