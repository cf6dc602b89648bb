"""How all pictures and figures look: colours, marks and letters, on light or on dark paper.

The colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any colour
vision tell apart. Marks and lines differ too, so that nothing is said by colour alone.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MARKS = "os^DvPX*"
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """Colours as matplotlib reads them."""

    name: str
    paper: str
    ink: str
    faint: str
    """Of grids and leader lines."""
    series: tuple[str, ...]

    def look(self, number: int) -> dict[str, Any]:
        """Colour, mark and line of the series ``number``; the first 8 marks all differ."""
        return {
            "color": self.series[number % len(self.series)],
            "marker": MARKS[number % len(MARKS)],
            "linestyle": LINES[number // len(self.series) % len(LINES)],
        }

    def dashes(self, number: int) -> str:
        """The line of the series ``number`` where there are no marks."""
        return LINES[number % len(LINES)]

    def settings(self) -> dict[str, Any]:
        """Settings of matplotlib."""
        ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
        paper = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
        return {
            **dict.fromkeys(ink, self.ink),
            **dict.fromkeys(paper, self.paper),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.labelsize": 9,
            "axes.ymargin": 0.08,
            "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
            "font.size": 9,
            "grid.color": self.faint,
            "grid.linewidth": 0.6,
            "legend.edgecolor": self.faint,
            "legend.fontsize": 8,
            "lines.linewidth": 1.6,
            "lines.markersize": 6,
            "svg.hashsalt": "adbench",
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
        }


_BLUE, _SKY, _GREEN, _YELLOW = "#0072b2", "#56b4e9", "#009e73", "#f0e442"
_ORANGE, _VERMILION, _PURPLE = "#e69f00", "#d55e00", "#cc79a7"
LIGHT = Style(
    "light",
    "white",
    "#1a1a1a",
    "#d4d4d4",
    (_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, "#1a1a1a"),
)
DARK = Style(
    "dark",
    "#16181d",
    "#ececec",
    "#3d4048",
    (_SKY, _ORANGE, _GREEN, _PURPLE, _YELLOW, _VERMILION, "#ececec"),
)


@contextmanager
def drawn_in(style: Style) -> Iterator[None]:
    """What is drawn and saved in this block looks like ``style``, whatever the user's settings."""
    from matplotlib import rc_context, rcParamsDefault  # slow to load, and many runs draw nothing

    settings: Any = {name: v for name, v in rcParamsDefault.items() if name != "backend"}
    settings |= style.settings()
    with rc_context(settings), warnings.catch_warnings():
        # A name may have letters that the font lacks; the picture shows boxes in their place.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        yield
