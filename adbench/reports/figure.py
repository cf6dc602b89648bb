"""Figures as files: PNG and SVG, with the same bytes for the same content."""

import importlib.metadata
import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbench.system.files import write_whole
from adbench.system.settings import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING = 1
"""Raised when the same content is drawn in another way."""
SUFFIXES = (".png", ".svg")
_START = 4096
"""Bytes at the start of an SVG within which its description stands."""


def key_of(content: Any) -> str:
    """Names JSON-like content and how it is drawn, for the description of a figure."""
    return digest([content, DRAWING, importlib.metadata.version("matplotlib")])


def files_of(path: Path) -> list[Path]:
    """The files of the figure ``path``, which has no suffix."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES]


def is_drawn(path: Path, key: str) -> bool:
    """Whether the figure is there already, with this content."""
    picture, drawing = files_of(path)
    if not (picture.is_file() and drawing.is_file()):
        return False
    with drawing.open("rb") as file:
        found = re.search(rb"adbench figure (\w+)", file.read(_START))
    return found is not None and found[1].decode() == key


def save(figure: "Figure", path: Path, key: str | None = None) -> list[Path]:
    """Write ``path``.png and ``path``.svg without dates or random names.

    Args:
        figure: What to write.
        path: Without a suffix.
        key: Of ``key_of``; it stands in the SVG for ``is_drawn``.
    """
    from matplotlib import rc_context

    described = {"Description": f"adbench figure {key}"} if key else {}
    metadata = ({"Software": None}, {"Date": None, **described})
    with rc_context({"svg.hashsalt": "adbench"}):
        for file, about in zip(files_of(path), metadata, strict=True):
            content = io.BytesIO()
            figure.savefig(content, format=file.suffix[1:], dpi=150, metadata=about)
            write_whole(file, content.getvalue())
    return files_of(path)


def panels(count: int) -> tuple["Figure", list[Any]]:
    """A figure of ``count`` panels side by side, with their axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * count, 4), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def legend(figure: "Figure") -> None:
    """One legend below all panels, where it hides nothing; the panels share their labels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = min(3, len(labels))
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=columns)


def title(figure: "Figure", lines: Sequence[str]) -> None:
    """A title of several lines, wrapped to the figure's width."""
    wide = int(15 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, wide) for line in lines), fontsize=9)
