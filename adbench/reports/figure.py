"""Figures as files: PNG, SVG and PDF, with the same bytes for the same content."""

import importlib.metadata
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbench.results.style import LIGHT, Style
from adbench.system.files import write_whole
from adbench.system.settings import digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING = 2
"""Raised when the same content is drawn in another way."""
SUFFIXES = (".png", ".svg")
DPI = 150
_START = 4096
"""Bytes at the start of an SVG within which its description stands."""
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class Figures:
    """What was drawn, and what was left out of it."""

    files: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Sentences that name each and say why."""


@dataclass(frozen=True)
class Look:
    """How figures are written."""

    style: Style = LIGHT
    suffixes: tuple[str, ...] = SUFFIXES

    def path(self, folder: Path, name: str) -> Path:
        """The figure's place, without a suffix; on dark paper it has a name of its own."""
        return folder / (name if self.style is LIGHT else f"{name}-{self.style.name}")


PLAIN = Look()


def key_of(content: Any) -> str:
    """Names JSON-like content and how it is drawn, for the description of a figure."""
    return digest([content, DRAWING, importlib.metadata.version("matplotlib")])


def files_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files of the figure ``path``, which has no suffix."""
    return [path.with_name(path.name + suffix) for suffix in suffixes]


def is_drawn(path: Path, key: str, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Whether the figure is there already, with this content; an SVG among its files tells it."""
    files = files_of(path, suffixes)
    if ".svg" not in suffixes or not all(file.is_file() for file in files):
        return False
    with files[suffixes.index(".svg")].open("rb") as file:
        found = re.search(rb"adbench figure (\w+)", file.read(_START))
    return found is not None and found[1].decode() == key


def save(
    figure: "Figure", path: Path, key: str | None = None, suffixes: Sequence[str] = SUFFIXES
) -> list[Path]:
    """Write a figure without dates or random names; to be called inside ``drawn_in``.

    Args:
        figure: What to write.
        path: Without a suffix.
        key: Of ``key_of``; it stands in the SVG for ``is_drawn``.
        suffixes: Among ``.png``, ``.svg`` and ``.pdf``.
    """
    written = files_of(path, suffixes)
    for file in written:
        metadata = dict(_METADATA[file.suffix])
        if key and file.suffix == ".svg":
            metadata["Description"] = f"adbench figure {key}"
        content = io.BytesIO()
        figure.savefig(content, format=file.suffix[1:], dpi=DPI, metadata=metadata)
        write_whole(file, content.getvalue())
    return written


def panels(
    rows: int, columns: int, width: float = 5.0, height: float = 3.8, **options: Any
) -> tuple["Figure", list[list[Any]]]:
    """A figure with its axes, row by row.

    Args:
        rows: Panels below each other.
        columns: Panels side by side.
        width: Of a panel, in inches.
        height: Of a panel.
        options: Of matplotlib's ``subplots``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options).tolist()


def beside(figure: "Figure", handles: list[Any], labels: list[str], heading: str = "") -> None:
    """A legend at the right, for which the figure grows wider."""
    legend = figure.legend(handles, labels, loc="outside right upper", title=heading or None)
    legend.get_title().set_fontsize(8)
    width = figure.get_figwidth() + 0.5 + 0.068 * max(map(len, [*labels, heading]))
    figure.set_size_inches(width, figure.get_figheight())


def title(figure: "Figure", lines: Sequence[str]) -> None:
    """A title of several lines, wrapped to the figure's width."""
    wide = int(12 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, wide) for line in lines)
    figure.suptitle(text, fontsize=10, parse_math=False)


def note(figure: "Figure", lines: Sequence[str]) -> None:
    """Sentences below the figure, wrapped to its width: how to read it and what is left out."""
    wide = int(17 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, wide) for line in lines)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7, parse_math=False)
