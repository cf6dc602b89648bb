"""Labels at the marks of a figure that cover neither marks nor each other, and short names."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

SIZE = 8
"""Points of the letters."""
RADII = (7, 14, 22, 32, 44, 58, 75, 95, 120, 150, 190, 240)
"""Points from a mark to its label, tried in turn."""
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 68, 292, 112, 248)
MARK, BAR = 6, 2
"""Points that a mark takes to each side, and an interval."""
STEPS = 12
"""Places along a leader line at which it must not cross another mark."""
LONGEST = 40
"""Letters of a name."""


@dataclass(frozen=True)
class Marked:
    """A mark that wants a label."""

    x: float
    y: float
    interval: tuple[float, float]
    """Ends along y of the line through the mark."""
    text: str
    colour: str


def place(figure: "Figure", axes: Any, points: Sequence[Marked]) -> bool:
    """Write a label near each mark, where it covers nothing, and join both by a line.

    Args:
        figure: With all marks drawn.
        axes: Where the marks are.
        points: The marks.

    Returns:
        Whether every label found a place; else none is written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # settles the layout, so that the pixels of a point are known
    room = _Room(axes, canvas.get_renderer(), figure.dpi / 72, points)
    labels = []
    for number, point in enumerate(points):
        label = axes.annotate(
            point.text,
            (point.x, point.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=SIZE,
            va="center",
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": point.colour, "linewidth": 0.7, "shrinkB": 4},
        )
        label.set_in_layout(False)
        labels.append(label)
        if not any(room.takes(label, number, bars) for bars in (True, False)):
            for written in labels:
                written.remove()
            return False
    return True


class _Room:
    """What of the axes is taken by marks, their intervals and labels, in pixels."""

    def __init__(self, axes: Any, renderer: Any, pixels: float, points: Sequence[Marked]) -> None:
        self._renderer, self._pixels = renderer, pixels
        self._inside = axes.get_window_extent(renderer)
        self._centres = [axes.transData.transform((p.x, p.y)) for p in points]
        self._marks = [_box(axes, p.x, (p.y, p.y), MARK * pixels) for p in points]
        self._bars = [_box(axes, p.x, p.interval, BAR * pixels) for p in points]
        self._texts: list[Bbox] = []

    def takes(self, label: Any, number: int, bars: bool) -> bool:
        """Move a label to a free place, which is then taken; False where there is none.

        Args:
            label: The text.
            number: Of its mark.
            bars: Whether it must not cover intervals either.
        """
        taken = [*self._marks, *self._texts, *(self._bars if bars else ())]
        others = [*self._marks[:number], *self._marks[number + 1 :]]
        for radius, angle in ((r, math.radians(a)) for r in RADII for a in ANGLES):
            _move(label, radius, angle)
            box = _text_box(label, self._renderer)
            across = np.array([math.cos(angle), math.sin(angle)]) * radius * self._pixels
            way = self._centres[number] + np.linspace(0, 1, STEPS)[:, None] * across
            crossed = any(other.contains(*spot) for spot in way for other in others)
            if _within(box, self._inside) and not crossed and not any(map(box.overlaps, taken)):
                self._texts.append(box)
                return True
        return False


def short_names(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of settings that tell them apart, and the words that all of them share.

    ``method=padim method.dims=100 backbone=clip`` becomes ``padim, dims 100`` beside another with
    the same backbone. A name that is long, or not the only one of its kind, keeps more of its
    words.

    Args:
        texts: Words of ``adbench run`` in one string each.
    """
    words = [text.split() for text in texts]
    shared = [word for word in words[0] if len(words) > 1 and all(word in w for w in words)]
    if any(set(w) <= set(shared) for w in words):  # a setting that is nothing but what all share
        shared = []
    own = [[word for word in w if word not in shared] for w in words]
    names = [", ".join(map(_said, w)) for w in own]
    if len(set(names)) < len(set(texts)):
        names = [" ".join(w) for w in own]
    cut = [_cut(name) for name in names]
    return (cut if len(set(cut)) == len(set(names)) else names), shared


def _said(word: str) -> str:
    key, equals, value = word.partition("=")
    last = key.rsplit(".", 1)[-1]
    return word if not equals else f"{last} {value}" if "." in key else value


def _cut(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    return re.sub(r"\s+$", "", name[:half]) + "…" + name[-half:]


def _box(axes: Any, x: float, ends: tuple[float, float], reach: float) -> "Bbox":
    """What a line from end to end at x takes, in pixels."""
    from matplotlib.transforms import Bbox

    (left, low), (_, high) = axes.transData.transform([(x, ends[0]), (x, ends[1])])
    return Bbox.from_extents(left - reach, low - reach, left + reach, high + reach)


def _within(box: "Bbox", outer: "Bbox") -> bool:
    return bool(
        outer.x0 <= box.x0 and box.x1 <= outer.x1 and outer.y0 <= box.y0 and box.y1 <= outer.y1
    )


def _move(label: Any, radius: float, angle: float) -> None:
    across = math.cos(angle)
    label.set_position((radius * across, radius * math.sin(angle)))
    label.set_horizontalalignment(
        "center" if abs(across) < 0.1 else "left" if across > 0 else "right"
    )


def _text_box(label: Any, renderer: Any) -> "Bbox":
    from matplotlib.text import Text

    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer).padded(1.5)
