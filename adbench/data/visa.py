"""VisA (Zou et al., ECCV 2022), in the layout in which it is given out.

Its file ``split_csv/1cls.csv`` says which images are trained on. Masks hold 0 and small numbers, so
that whatever is not 0 is anomalous.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken, without_broken
from adbench.data.category_folders import Categories, existing, unknown, warn_of_counts
from adbench.data.geometry import Geometry
from adbench.data.listing import files_below, is_image, shown
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.settings import STRICT

PUBLISHED = {
    "candle": (900, 200),
    "capsules": (542, 160),
    "cashew": (450, 150),
    "chewinggum": (453, 150),
    "fryum": (450, 150),
    "macaroni1": (900, 200),
    "macaroni2": (900, 200),
    "pcb1": (904, 200),
    "pcb2": (901, 200),
    "pcb3": (905, 201),
    "pcb4": (904, 201),
    "pipe_fryum": (450, 150),
}
"""Training and test images of each category in the split; 8,659 and 2,162 in all."""
SPLIT = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
SOURCE = (
    "VisA is free (CC BY 4.0) from Amazon's registry of open data, as VisA_20220922.tar; a copy "
    "that was brought into MVTec's layout is dataset=mvtec dataset.categories=[candle]"
)

Rows = list[dict[str, str]]


@dataclass(config=STRICT)
class VisA:
    """Twelve products; an anomalous image has the defect type ``anomaly``."""

    name: ClassVar[str] = "visa"
    archive: ClassVar[Archive] = Archive(
        SOURCE, SPLIT, "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362"
    )

    root: str
    """The folder that holds split_csv and the category folders."""
    categories: Categories = "all"
    """``all`` that are there, one name, or a list."""
    broken: Broken = "refuse"
    """What is done about training images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

    def names(self) -> list[str]:
        """The chosen categories.

        Raises:
            DataError: The root or its split file is missing or damaged, or lacks a category.
        """
        root = self._root()
        listed = list(dict.fromkeys(row["object"] for row in _rows(root)))
        if self.categories == "all":
            present = [category for category in listed if (root / category).is_dir()]
            if not present:
                raise DataError(f"dataset.root: {shown(root)} holds no category of its {SPLIT}")
            return present
        named = [self.categories] if isinstance(self.categories, str) else self.categories
        for category in named:
            if category not in listed:
                raise DataError(unknown(category, root, listed))
        return list(dict.fromkeys(named))

    def load(self, category: str) -> Split:
        """The images of one category, sorted by name, with a warning where some are missing.

        Raises:
            DataError: The split file is missing or damaged, names an image of the category twice,
                trains on an anomalous one, or has no training or no test images.
        """
        split = self._read(category)
        warn_of_counts(category, split, PUBLISHED)
        return split

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        return [
            survey(c, self._read, geometry, self._oddities, PUBLISHED.get(c)) for c in self.names()
        ]

    def _root(self) -> Path:
        return existing(self.root, ("split_csv", "candle"), SOURCE)

    def _read(self, category: str) -> Split:
        root = self._root()
        rows = [row for row in _rows(root) if row["object"] == category]
        counts = Counter(row["image"] for row in rows)
        if twice := next((name for name in counts if counts[name] > 1), None):
            uses = dict.fromkeys(row["split"] for row in rows if row["image"] == twice)
            raise DataError(
                f"{SPLIT}: names {shown(twice)} {counts[twice]} times, for {' and '.join(uses)}; "
                "leave one of these lines"
            )
        parts: dict[str, list[Sample]] = {"train": [], "test": []}
        for row in rows:
            parts[row["split"]].append(_sample(root, category, row))
        train, test = (sorted(part, key=lambda s: s.name) for part in parts.values())
        if odd := next((sample for sample in train if sample.anomalous), None):
            raise DataError(f"{SPLIT}: trains on {shown(odd.name)}, which is anomalous")
        for part, samples in parts.items():
            if not samples:
                raise DataError(f"{SPLIT}: has no {part} images of {category}")
        kept, skipped = without_broken(train, self.broken)
        return Split(kept, test, skipped)

    def _oddities(self, category: str) -> list[str]:
        """Images of the category that the split file does not name."""
        root = self._root()
        named = {root / row["image"] for row in _rows(root)}
        images = [p for p in files_below(root / category / "Data" / "Images") if is_image(p)]
        return [
            f"{shown(path.relative_to(root).as_posix())}: is not named by {SPLIT}"
            for path in images
            if path not in named
        ]


def _rows(root: Path) -> Rows:
    """The rows of the split file, checked."""
    path = root / SPLIT
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{shown(path)} is missing; VisA holds it beside its categories") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(path)}: cannot be read: {error}") from error
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise DataError(f"{shown(path)}, line {number}: needs the columns {', '.join(COLUMNS)}")
        if row["split"] not in ("train", "test") or row["label"] not in ("normal", "anomaly"):
            raise DataError(
                f"{shown(path)}, line {number}: is split {shown(row['split'])} and label "
                f"{shown(row['label'])}; a row is train or test, and normal or anomaly"
            )
        for name in (row["image"], row["mask"]):
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise DataError(f"{shown(path)}, line {number}: {shown(name)} leads out of {root}")
    return rows


def _sample(root: Path, category: str, row: dict[str, str]) -> Sample:
    name = row["image"].removeprefix(f"{category}/")
    if row["label"] == "normal":
        return Sample(root / row["image"], name, "good")
    if not row["mask"]:
        raise DataError(f"{SPLIT}: {shown(row['image'])} is anomalous and has no mask")
    return Sample(root / row["image"], name, "anomaly", (root / row["mask"],), fit_masks=True)
