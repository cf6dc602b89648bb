"""What the page shows, as plain values: all that is counted is counted before it is rendered.

Every ``str`` here may hold names from disk and is text; only ``Chart.svg`` is markup, in which the
texts are escaped already.
"""

from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

Kind = Literal["within", "outside", "inconclusive", "none"]
"""How a verdict is coloured; its words and its symbol say the same."""

NOTHING = "\N{EN DASH}"
"""Stands where there is no number."""

SYMBOLS: dict[Kind, str] = {"within": "✓", "outside": "✗", "inconclusive": "≈", "none": NOTHING}
"""The symbol of a verdict; it always stands beside words."""


@dataclass(frozen=True)
class VerdictLine:
    """A measured number beside the printed one; numbers are text already."""

    row: str
    category: str
    """A category, or ``mean``."""
    metric: str
    measured: str
    interval: str
    published: str
    difference: str
    verdict: str
    kind: Kind
    symbol: str


@dataclass(frozen=True)
class PublishedTable:
    """A published table of which something was measured."""

    name: str
    title: str
    source: str
    head: list[str]
    """Titles of the columns of ``lines``, in the order of their fields; ``kind`` has none."""
    lines: list[VerdictLine]
    notes: list[str]
    left: str
    """One sentence on what of the table is not shown; empty where all is."""


@dataclass(frozen=True)
class ClaimLine:
    """A claim of a report, and what was measured of it."""

    claim: str
    printed: str
    effect: str
    verdict: str
    kind: Kind
    symbol: str
    note: str


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard."""

    name: str
    title: str
    unit: str
    digits: int
    higher: bool
    """Whether a larger number is the better one."""
    about: str


@dataclass(frozen=True)
class BoardCell:
    """A number of the leaderboard."""

    text: str
    value: float | None
    low: float | None
    """Lower end of the 95% interval, in the unit of ``value``; None where none is known."""
    high: float | None
    best: bool
    """Whether no other setting on the same images has a better number."""
    within: bool
    """Whether the difference from the best is inside the noise; False for the best itself."""
    reason: str
    """Why there is no number, or what it must be read with."""
    note: str = ""
    """What of ``reason`` is more than of how many numbers it is the mean; it stands below."""
    busy: bool = False
    """Whether it is a time that other work on the machine made longer."""


@dataclass(frozen=True)
class BoardRow:
    """A setting on one category, or the mean over the categories of a dataset."""

    setting: str
    """Short, and unlike that of every other setting."""
    setting_key: str
    dataset: str
    category: str
    """A category, or ``mean``."""
    method: str
    backbone: str
    anchor: str
    """The id of the record; empty for a mean."""
    cells: dict[str, BoardCell]
    """By name of the column; a cell is there for every column."""
    is_mean: bool = False
    """Whether it is a mean over categories; a category may be called ``mean`` too."""
    found: float | None = None
    """Share of the defective test images that exceed the run's threshold, in [0, 1]."""
    false_alarms: float | None = None
    """Share of the normal test images that exceed it."""


@dataclass(frozen=True)
class Board:
    """The leaderboard: settings by categories."""

    columns: list[Column]
    rows: list[BoardRow]
    datasets: list[str]
    categories: list[str]
    methods: list[str]
    backbones: list[str]
    choices: tuple[list[str], list[list[str]]] = field(default_factory=lambda: ([], []))
    """Head and lines of a table: which setting to take for each category."""

    @property
    def groups(self) -> list[tuple[str, str, bool]]:
        """Dataset, category, and whether it is the mean, which comes first in its dataset."""
        found = {(row.dataset, row.category, row.is_mean) for row in self.rows}
        return sorted(found, key=lambda group: (group[0], not group[2], group[1]))

    @property
    def busy(self) -> bool:
        """Whether any time was taken on a busy machine."""
        return any(cell.busy for row in self.rows for cell in row.cells.values())


@dataclass(frozen=True)
class Chart:
    """A drawing and the numbers in it."""

    id: str
    title: str
    caption: str
    svg: Markup
    """``div.panels`` with an ``svg`` for each panel, and ``ul.key``; see ``svg.drawing``."""
    table: tuple[list[str], list[list[str]]]
    """The head and the rows of what is drawn, for those who do not see it."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DefectLine:
    """A defect type, and how often it is missed."""

    dataset: str
    category: str
    defect: str
    images: int
    """Test images with this defect."""
    settings: int
    """Settings that were measured on them."""
    missed: float
    """Share of the images that a setting misses, in [0, 1]: the mean over the settings."""
    least: float
    """The share that the best setting misses."""
    least_by: str
    """That setting; of several, how many there are."""


@dataclass(frozen=True)
class Picture:
    """An image with its ground truth and anomaly map, and what was decided of it."""

    src: str
    """A ``data:`` URI."""
    width: int
    height: int
    alt: str
    name: str
    """As in the dataset."""
    defect: str
    verdict: str
    """The title of ``adbench.results.judged``, such as ``missed defect``."""
    wrong: bool
    score: str
    threshold: str


@dataclass(frozen=True)
class GalleryGroup:
    """The pictures of a record: misses and false alarms first, then by score."""

    dataset: str
    category: str
    setting: str
    anchor: str
    """The id of the record."""
    threshold_words: str
    wrong: int
    """How many test images are decided wrongly, whether their pictures are here or not."""
    pictures: list[Picture]


@dataclass(frozen=True)
class RecordView:
    """One record in full."""

    id: str
    heading: str
    metrics: list[tuple[str, str]]
    """Each metric with its interval, in percent."""
    settings: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    """Weights, versions, machine, threads, date, notes."""
    stages: list[tuple[str, float, float]]
    """Name, milliseconds for one image, and share of the total in [0, 1]."""
    memory: list[tuple[str, str]]
    command: str
    """The words that repeat the run."""


@dataclass(frozen=True)
class Page:
    """The whole page, section by section."""

    title: str
    made: str
    """When the page was made, as text."""
    version: str
    """Of adbench."""
    command: str
    """The words that make this page again."""
    about: list[str]
    """Paragraphs: what was measured and on what."""
    pictures_note: str
    """How many pictures of how many are shown, and how to have more."""
    tables: list[PublishedTable]
    tables_left: str
    """Which tables are not shown, and why; may be empty."""
    claims: list[ClaimLine]
    board: Board
    speed: Chart | None
    sweeps: list[Chart]
    curves: list[Chart]
    curves_left: str
    """For which categories no curve is drawn, and why; may be empty."""
    thresholds: tuple[list[str], list[list[str]]]
    """Head and lines of a table: what the thresholds promise and give."""
    defects: list[DefectLine]
    """The defect type that is missed most first."""
    defects_note: str
    """By which threshold; empty where there are no lines."""
    gallery: list[GalleryGroup]
    records: list[RecordView]
