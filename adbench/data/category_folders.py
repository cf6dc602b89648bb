"""Datasets of category folders, as MVTec AD set the example: which are there, read and checked."""

import logging
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.broken import Broken, without_broken
from adbench.data.geometry import Geometry
from adbench.data.layout import Layout
from adbench.data.listing import shown, some, visible
from adbench.data.samples import Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.files import expanded
from adbench.system.settings import STRICT

log = logging.getLogger(__name__)

Counts = tuple[int, int]
"""Training and test images."""
Categories = Annotated[list[str], Field(min_length=1)] | str
"""``all`` that are there in the dataset's order, one name, or a list."""


@dataclass(config=STRICT)
class CategoryFolders:
    """Settings that all of these datasets have, and what is read by them."""

    title: ClassVar[str]
    """The dataset's name in messages."""
    known: ClassVar[tuple[str, ...]]
    """Its categories, in order."""
    source: ClassVar[str]
    """Where the dataset comes from, and under which licence."""

    root: str
    """The folder that holds the category folders."""
    categories: Categories = "all"
    """``all`` that are there in the dataset's order, one name, or a list. Other folders of the same
    layout may be named too."""
    broken: Broken = "refuse"
    """What is done about training images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

    @property
    def layout(self) -> Layout:
        """Where images and masks lie below a category."""
        return Layout()

    @property
    def published(self) -> dict[str, Counts]:
        """The images of each category under ``layout``; empty where they are not published."""
        return {}

    def names(self) -> list[str]:
        """The chosen categories.

        Raises:
            DataError: The root or one of them is missing.
        """
        root = existing(self.root, self.known, self.source)
        present = [p.name for p in visible(root) if p.is_dir()]
        if self.categories != "all":
            named = [self.categories] if isinstance(self.categories, str) else self.categories
            chosen = list(dict.fromkeys(named))
            for category in chosen:
                if category not in present:
                    raise DataError(unknown(category, root, present))
            return chosen
        chosen = [category for category in self.known if category in present]
        if not chosen:
            raise DataError(self._nothing(root, present))
        if others := sorted(set(present) - set(chosen)):
            log.warning(
                "%s: ignored folders that are no category of %s: %s",
                *(shown(root), self.title, some(others, most=20)),
            )
        return chosen

    def load(self, category: str) -> Split:
        """The images of a category, sorted by name, with a warning where some are missing.

        Raises:
            DataError: As ``Layout.read`` does, or no training image can be read.
        """
        split = self._read(category)
        warn_of_counts(category, split, self.published)
        return split

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        names = self.names()  # refuses a missing root first
        root = existing(self.root, self.known, self.source)
        return [
            survey(
                category,
                self._read,
                geometry,
                lambda c: self.layout.oddities(root, c),
                self.published.get(category),
            )
            for category in names
        ]

    def _read(self, category: str) -> Split:
        root = existing(self.root, self.known, self.source)
        split = self.layout.read(root, category)
        train, skipped = without_broken(split.train, self.broken)
        return Split(train, split.test, skipped)

    def _nothing(self, root: Path, present: list[str]) -> str:
        if self.layout.train[0].split("/")[0] in present:
            return (
                f"dataset.root: {root} is one category, not the folder above it; give "
                f"dataset.root={root.parent} dataset.categories={root.name}"
            )
        return (
            f"dataset.root: {root} holds no category of {self.title} "
            f"({', '.join(self.known)}); it holds "
            f"{some(present, most=20) or 'no folders'}. Name folders of the same layout with "
            "dataset.categories=[NAME]"
        )


def existing(root: str, holds: tuple[str, ...], source: str) -> Path:
    """The folder of a dataset, absolute.

    Args:
        root: As the user gave it.
        holds: Folders in it, by which the message tells it.
        source: Where the dataset comes from.

    Raises:
        DataError: There is no such folder.
    """
    folder = expanded(root).absolute()
    if not folder.is_dir():
        raise DataError(
            f"dataset.root: the folder {folder} does not exist; give the folder that holds "
            f"{', '.join(holds[:2])} ... as dataset.root=DIR, or unpack its archive by "
            f"adbench data prepare. {source}"
        )
    return folder


def unknown(category: str, root: Path, present: list[str]) -> str:
    """That a folder has no such category, with the nearest name that it could be."""
    near = get_close_matches(category, present, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return (
        f"dataset.categories: {shown(root)} has no folder {category!r}; "
        f"it has {some(present, most=20) or 'none'}.{guess}"
    )


def warn_of_counts(category: str, split: Split, published: dict[str, Counts]) -> None:
    """Warn where a category has other numbers of images than the published ones."""
    counts = (len(split.train), len(split.test))
    if counts != published.get(category, counts):
        log.warning(
            "%s has %d training and %d test images of %d and %d; its numbers do not compare with "
            "published ones",
            *(category, *counts, *published[category]),
        )
