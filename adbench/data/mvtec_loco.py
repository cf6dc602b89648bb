"""MVTec LOCO AD (Bergmann et al., IJCV 2022): defects of structure, and of logic.

An image has several masks, of which the union is its ground truth. The dataset's own metric, sPRO,
in which a part of a logical defect is enough, is not computed.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.category_folders import CategoryFolders, Counts
from adbench.data.layout import Layout
from adbench.system.settings import STRICT

PUBLISHED = {
    "breakfast_box": (351, 62, 102, 83, 90),
    "juice_bottle": (335, 54, 94, 142, 94),
    "pushpins": (372, 69, 138, 91, 81),
    "screw_bag": (360, 60, 122, 137, 82),
    "splicing_connectors": (360, 60, 119, 108, 85),
}
"""Images of each category in the archive: training, validation, normal test, logical, structural;
1,778, 305, 575, 561 and 432 in all. The paper prints 354 training and 59 validation images of
splicing_connectors."""
SOURCE = (
    "MVTec LOCO AD is free for non-commercial use (CC BY-NC-SA 4.0) from the web site of MVTec "
    "Software, under the name 'MVTec Logical Constraints Anomaly Detection Dataset'"
)

Kind = Literal["logical", "structural"]


@dataclass(config=STRICT)
class MVTecLOCO(CategoryFolders):
    """Five scenes of several objects; the kinds of defects can be measured apart."""

    title: ClassVar[str] = "MVTec LOCO AD"
    known: ClassVar[tuple[str, ...]] = tuple(PUBLISHED)
    source: ClassVar[str] = SOURCE
    name: ClassVar[str] = "mvtec_loco"
    archive: ClassVar[Archive] = Archive(
        SOURCE,
        "*/test/logical_anomalies",
        "9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
    )

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("logical", "structural")
    """The kinds of defects that are tested, beside all normal test images."""
    validation: Literal["leave", "train"] = "leave"
    """What is done with the normal images of ``validation/good``. leave: they are not used; train:
    they are learned from as those of ``train/good`` are, and so serve the threshold too."""

    @property
    def layout(self) -> Layout:
        """The chosen kinds of defects; a folder of masks for each image."""
        learned = ("validation/good",) if self.validation == "train" else ()
        return Layout(
            train=("train/good", *learned),
            kinds=tuple(f"{kind}_anomalies" for kind in self.kinds),
            folder_of_masks=True,
            others=("validation",),
        )

    @property
    def published(self) -> dict[str, Counts]:
        """Of the archive, under these settings."""
        return {category: self._counts(*counts) for category, counts in PUBLISHED.items()}

    def _counts(
        self, train: int, validation: int, good: int, logical: int, structural: int
    ) -> Counts:
        """Training and test images under these settings."""
        learned = train + validation * (self.validation == "train")
        of_kind = {"logical": logical, "structural": structural}
        return learned, good + sum(of_kind[kind] for kind in set(self.kinds))
