"""BTAD, beanTech's three products (Mishra et al., ISIE 2021), in a layout like MVTec AD's."""

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken
from adbench.data.category_folders import Categories, CategoryFolders
from adbench.data.geometry import Geometry
from adbench.data.layout import Layout
from adbench.data.samples import Split
from adbench.system.settings import STRICT

PUBLISHED = {"01": (400, 70), "02": (399, 230), "03": (1000, 441)}
"""Training and test images of each category; 1,799 and 741 in all."""
SOURCE = "BTAD is free for research from the AViReS laboratory of the University of Udine"


@dataclass(config=STRICT)
class BTAD:
    """The products 01, 02 and 03; normal images lie in ``ok``, the others in ``ko``."""

    name: ClassVar[str] = "btad"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/train/ok", "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a"
    )

    root: str
    """The folder that holds 01, 02 and 03."""
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
            *("BTAD", self.root, self.categories, self.broken),
            *(Layout(train=("train/ok",), good="ok"), tuple(PUBLISHED), PUBLISHED, SOURCE),
        )
