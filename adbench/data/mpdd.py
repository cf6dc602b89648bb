"""MPDD, painted metal parts (Jezek et al., ICUMT 2021), in the layout of MVTec AD."""

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken
from adbench.data.category_folders import Categories, CategoryFolders
from adbench.data.geometry import Geometry
from adbench.data.layout import Layout
from adbench.data.samples import Split
from adbench.system.settings import STRICT

PUBLISHED = {
    "bracket_black": (289, 79),
    "bracket_brown": (185, 77),
    "bracket_white": (110, 60),
    "connector": (128, 44),
    "metal_plate": (54, 97),
    "tubes": (122, 101),
}
"""Training and test images of each category; 888 and 458 in all."""
SOURCE = (
    "MPDD is free for non-commercial use (CC BY-NC-SA 4.0) from its authors at Brno University of "
    "Technology"
)


@dataclass(config=STRICT)
class MPDD:
    """Six metal parts under several lights and poses."""

    name: ClassVar[str] = "mpdd"
    archive: ClassVar[Archive] = Archive(SOURCE, "*/train/good")

    root: str
    """The folder that holds the category folders."""
    categories: Categories = "all"
    """``all`` that are there, one name, or a list."""
    broken: Broken = "refuse"
    """What is done about training images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

    def names(self) -> list[str]:
        """The chosen categories. Raises DataError where the root or one of them is missing."""
        return self._folders().names()

    def load(self, category: str) -> Split:
        """The images of one category, see ``CategoryFolders.load``."""
        return self._folders().load(category)

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        return self._folders().check(geometry)

    def _folders(self) -> CategoryFolders:
        return CategoryFolders(
            *("MPDD", self.root, self.categories, self.broken),
            *(Layout(), tuple(PUBLISHED), PUBLISHED, SOURCE),
        )
