"""ELPV, solar cells seen by electroluminescence (Deitsch et al., Solar Energy 185, 2019).

The images come with the Python package ``elpv-dataset``. Experts gave each cell a probability of
being defective: 0, 1/3, 2/3 or 1. There are no masks, so that there are no pixel metrics.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.geometry import Geometry
from adbench.data.holdout import hold_out
from adbench.data.listing import shown
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.files import expanded
from adbench.system.settings import STRICT

CELLS = {"mono": 1074, "poly": 1550}
"""Cells of each category; 2,624 in all."""
LABELS = "labels.csv"
NORMAL, DEFECTIVE = "good", "defective"

Doubtful = Literal["leave_out", "normal", "anomalous"]


@dataclass(config=STRICT)
class ELPV:
    """Cells of monocrystalline (mono) and polycrystalline (poly) silicon, 300 x 300 pixels, grey.

    Cells of probability 0 are normal, and a part of them is held out for the test; cells of
    probability 1 are anomalous. Nothing tells which cells are of the same module.
    """

    name: ClassVar[str] = "elpv"

    categories: Annotated[tuple[Literal["mono", "poly"], ...], Field(min_length=1)] = (
        "mono",
        "poly",
    )
    """The kinds of silicon."""
    one_third: Doubtful = "leave_out"
    """What cells of probability 1/3 are in the test. They are never trained on."""
    two_thirds: Doubtful = "leave_out"
    """What cells of probability 2/3 are in the test. They are never trained on."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Part of the cells of probability 0 that is tested instead of trained on."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Chooses the cells that are held out."""
    root: str | None = None
    """The folder that holds labels.csv and images; null: that of the installed package."""

    def names(self) -> list[str]:
        """The chosen categories, each once. Raises DataError where the images are missing."""
        self._root()
        return list(dict.fromkeys(self.categories))

    def load(self, category: str) -> Split:
        """The cells of one category, sorted by name.

        Raises:
            DataError: The package is not installed, or its labels cannot be read.
        """
        sure: dict[Sample, str] = {}
        tested: list[Sample] = []
        for path, probability in self._cells(category):
            label = self._label(probability)
            sample = Sample(path, path.name, label)
            if probability == 0:
                sure[sample] = path.name
            elif label:
                tested.append(sample)
        if len(sure) < 2:
            raise DataError(f"{LABELS}: has {len(sure)} normal {category} cells; 2 are needed")
        train, held = hold_out(sure, self.holdout, self.seed)
        train, test = (sorted(p, key=lambda s: s.name) for p in (train, [*held, *tested]))
        return Split(train, test)

    def all_normal(self, category: str) -> list[Sample]:
        """The cells of probability 0, those included that ``load`` holds out for the test."""
        cells = [path for path, probability in self._cells(category) if probability == 0]
        return [Sample(path, path.name, NORMAL) for path in sorted(cells)]

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        return [survey(c, self.load, geometry, published=self._published(c)) for c in self.names()]

    def _label(self, probability: float) -> str:
        """The defect type of a cell; empty where it is left out."""
        chosen = {0: "normal", 1: self.one_third, 2: self.two_thirds, 3: "anomalous"}
        thirds = round(3 * probability)
        kinds = {1: "possibly_defective", 2: "likely_defective", 3: DEFECTIVE}
        if chosen[thirds] == "leave_out":
            return ""
        return NORMAL if chosen[thirds] == "normal" else kinds[thirds]

    def _root(self) -> Path:
        if self.root is not None:
            root = expanded(self.root).absolute()
        elif (package := find_spec("elpv_dataset")) and package.submodule_search_locations:
            root = Path(package.submodule_search_locations[0]) / "data"
        else:
            raise DataError(
                "elpv-dataset: not installed; run pip install 'adbench-vision[elpv]' (images of "
                "solar cells, free for non-commercial use, CC BY-NC-SA 4.0)"
            )
        if not (root / LABELS).is_file():
            raise DataError(f"dataset.root: {shown(root)} has no {LABELS}; name the folder with it")
        return root

    def _cells(self, category: str) -> list[tuple[Path, float]]:
        """The image and the probability of each cell of a category."""
        root = self._root()
        try:
            text = (root / LABELS).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{shown(root / LABELS)}: cannot be read: {error}") from error
        cells = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            try:
                name, probability, kind = words[0], float(words[1]), words[2]
            except (IndexError, ValueError):
                raise DataError(f"{LABELS}, line {number}: is no path, probability, type") from None
            if not 0 <= probability <= 1:
                raise DataError(f"{LABELS}, line {number}: {probability} is no probability")
            if kind == category:
                cells.append((root / name, probability))
        return cells

    def _published(self, category: str) -> int:
        """Cells of a category that these settings train on or test, in the whole dataset."""
        return CELLS[category] - sum(not self._label(p) for _, p in self._cells(category))
