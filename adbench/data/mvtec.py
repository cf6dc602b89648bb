"""MVTec AD (Bergmann et al., CVPR 2019) and whatever has its layout."""

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
    "bottle": (209, 83),
    "cable": (224, 150),
    "capsule": (219, 132),
    "carpet": (280, 117),
    "grid": (264, 78),
    "hazelnut": (391, 110),
    "leather": (245, 124),
    "metal_nut": (220, 115),
    "pill": (267, 167),
    "screw": (320, 160),
    "tile": (230, 117),
    "toothbrush": (60, 42),
    "transistor": (213, 100),
    "wood": (247, 79),
    "zipper": (240, 151),
}
"""Training and test images of each category (table 1 of the paper); 3,629 and 1,725 in all."""

SOURCE = (
    "MVTec AD is free for non-commercial use (CC BY-NC-SA 4.0) from the web site of MVTec "
    "Software, under the name 'MVTec Anomaly Detection Dataset'"
)


@dataclass(config=STRICT)
class MVTec:
    """The categories of MVTec AD that lie under one folder; a subset will do."""

    name: ClassVar[str] = "mvtec"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/train/good", "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
    )

    root: str
    """The folder that holds the category folders."""
    categories: Categories = "all"
    """``all`` that are there in MVTec's order, one name, or a list. Other folders of the same
    layout may be named too."""
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
            *("MVTec AD", self.root, self.categories, self.broken),
            *(Layout(), tuple(PUBLISHED), PUBLISHED, SOURCE),
        )
