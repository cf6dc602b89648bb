"""The picture of an image that a saved detector judges: image, anomaly map and verdict."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from adbench.results.overlay import Scale, View
from adbench.results.panels import (
    ALARM,
    CALM,
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

LONGS = (400, 640)
"""The longer side of panels beside each other, and of panels below each other, in pixels."""
SPREADS = 2.0
"""How far the scale reaches above the threshold of pixels, as a multiple of what lies below it.

The strongest pixel of the middle defect of bottle and of grid (MVTec AD) then lies between a fifth
of the scale and its end, for PatchCore, PaDiM and CRD with a lambda that is scaled to the data.
"""


@dataclass(frozen=True)
class Judgement:
    """What is said of an image."""

    name: str
    score: float
    threshold: float
    """An image is called anomalous where its score exceeds it."""
    p_value: float
    alpha: float
    """The false alarm rate that the threshold keeps."""

    @property
    def anomalous(self) -> bool:
        """The decision."""
        return self.score > self.threshold

    def heading(self) -> Heading:
        """The same in the words of a picture."""
        sign = ">" if self.anomalous else "≤"
        return Heading(
            paper=ALARM if self.anomalous else CALM,
            title="anomalous" if self.anomalous else "normal",
            said=f"score {self.score:.4g} {sign} threshold {self.threshold:.4g}",
            name=self.name,
            remark=f"p {self.p_value:.3g}; threshold for a false alarm rate of {self.alpha:g}",
        )


def scale_of_normal(highest: np.ndarray, threshold: float) -> Scale:
    """The colours of all pictures of a detector, whatever images they show.

    They begin at the threshold of pixels. They end ``SPREADS`` times as far above it as the median
    of ``highest`` lies below.

    Args:
        highest: (n,) the largest values of the anomaly maps of normal images.
        threshold: Of pixels.
    """
    high = max(threshold + SPREADS * (threshold - float(np.median(highest))), float(highest.max()))
    least = threshold + 1e-6 * max(abs(threshold), 1.0)  # all may be the same
    return Scale(threshold, max(high, least), "the threshold of pixels, from normal images")


def overlay_sheet(view: View, scale: Scale, judgement: Judgement) -> "Figure":
    """The picture of one image.

    Args:
        view: The image with its map. It is shown with at most ``LONGS`` pixels on a side.
        scale: The colours, which begin at the threshold of pixels.
        judgement: What is said of it.
    """
    view = reduced(view)
    layout = Layout.of(view, 2, 0, LONGS, finest=False)
    figure, canvas = canvas_of(layout)
    draw_heading(canvas, layout, judgement.heading())
    draw_panel(canvas, layout.box(0), "image", view.image)
    title = "anomaly map, outlined above the threshold"
    draw_map(canvas, layout.box(1), title, view, scale)
    if (view.heat > scale.low).any():  # NaN is not
        draw_outline(canvas, layout.box(1), view.heat, scale.low)
    finish(canvas, layout, foot_of(scale, view, "all pictures of this detector"))
    bar = draw_bar(figure, layout, scale, ends="both")
    bar.axhline(scale.low, color="black", linewidth=2)
    bar.annotate(
        "threshold", (1, scale.low), (4, -6), va="top", textcoords="offset points", fontsize=7
    )
    return figure


def reduced(view: View) -> View:
    """A view of which no side is longer than a panel."""
    longest = max(LONGS)
    height, width = view.image.shape[:2]
    if max(height, width) <= longest:
        return view
    share = longest / max(height, width)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    image = Image.fromarray(view.image).resize((columns, rows), reducing_gap=2.0)
    at = np.ix_((np.arange(rows) * height // rows), (np.arange(columns) * width // columns))
    return View(np.asarray(image), view.heat[at], None)
