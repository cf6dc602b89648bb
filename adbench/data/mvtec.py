"""MVTec AD (Bergmann et al., CVPR 2019) and whatever has its layout."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.category_folders import CategoryFolders, Counts
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
class MVTec(CategoryFolders):
    """The categories of MVTec AD that lie under one folder; a subset will do."""

    title: ClassVar[str] = "MVTec AD"
    known: ClassVar[tuple[str, ...]] = tuple(PUBLISHED)
    source: ClassVar[str] = SOURCE
    name: ClassVar[str] = "mvtec"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/train/good", "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
    )

    @property
    def published(self) -> dict[str, Counts]:
        """Of the paper."""
        return PUBLISHED
