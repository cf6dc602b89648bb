"""MVTec AD 2 (Heckler-Kram et al., arXiv 2503.21622): the part of it with public ground truth.

Its test sets ``test_private`` and ``test_private_mixed`` are scored by a server alone;
``adbench predict submission=DIR`` writes what the server takes.
"""

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.category_folders import CategoryFolders
from adbench.data.layout import Layout
from adbench.system.settings import STRICT

CATEGORIES = ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")
SOURCE = (
    "MVTec AD 2 is free for non-commercial use (CC BY-NC-SA 4.0) from the web site of MVTec "
    "Software, under the name 'MVTec Anomaly Detection 2 Dataset'"
)
NOT_READ = ("validation", "test_private", "test_private_mixed")


@dataclass(config=STRICT)
class MVTecAD2(CategoryFolders):
    """Eight scenes, with the test images of ``test_public``."""

    title: ClassVar[str] = "MVTec AD 2"
    known: ClassVar[tuple[str, ...]] = CATEGORIES
    source: ClassVar[str] = SOURCE
    name: ClassVar[str] = "mvtec_ad2"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/test_public", "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4"
    )

    validation: Literal["leave", "train"] = "leave"
    """What is done with the normal images of ``validation/good``. leave: they are not used; train:
    they are learned from as those of ``train/good`` are, and so serve the threshold too."""

    @property
    def layout(self) -> Layout:
        """The public part."""
        learned = ("validation/good",) if self.validation == "train" else ()
        return Layout(
            train=("train/good", *learned),
            test="test_public",
            truth="test_public/ground_truth",
            others=NOT_READ,
        )
