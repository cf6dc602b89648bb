"""MVTec AD 2 (Heckler-Kram et al., arXiv 2503.21622): the part of it with public ground truth.

Its test sets ``test_private`` and ``test_private_mixed`` are scored by a server alone;
``adbench predict submission=DIR`` writes what the server takes.
"""

from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken
from adbench.data.category_folders import Categories, CategoryFolders
from adbench.data.geometry import Geometry
from adbench.data.layout import Layout
from adbench.data.samples import Split
from adbench.system.settings import STRICT

CATEGORIES = ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")
SOURCE = (
    "MVTec AD 2 is free for non-commercial use (CC BY-NC-SA 4.0) from the web site of MVTec "
    "Software, under the name 'MVTec Anomaly Detection 2 Dataset'"
)
NOT_READ = ("validation", "test_private", "test_private_mixed")


@dataclass(config=STRICT)
class MVTecAD2:
    """Eight scenes, with the test images of ``test_public``."""

    name: ClassVar[str] = "mvtec_ad2"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/test_public", "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4"
    )

    root: str
    """The folder that holds the category folders."""
    categories: Categories = "all"
    """``all`` that are there, one name, or a list."""
    validation: Literal["leave", "train"] = "leave"
    """What is done with the normal images of ``validation/good``. leave: they are not used; train:
    they are learned from as those of ``train/good`` are, and so serve the threshold too."""
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
        """One row per category, see ``survey``; the numbers of images are not compared."""
        return self._folders().check(geometry)

    def _folders(self) -> CategoryFolders:
        learned = ("validation/good",) if self.validation == "train" else ()
        layout = Layout(
            train=("train/good", *learned),
            test="test_public",
            truth="test_public/ground_truth",
            others=NOT_READ,
        )
        return CategoryFolders(
            *("MVTec AD 2", self.root, self.categories, self.broken),
            *(layout, CATEGORIES, {}, SOURCE),
        )
