"""MPDD, painted metal parts (Jezek et al., ICUMT 2021), in the layout of MVTec AD."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.category_folders import CategoryFolders, Counts
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
class MPDD(CategoryFolders):
    """Six metal parts under several lights and poses."""

    title: ClassVar[str] = "MPDD"
    known: ClassVar[tuple[str, ...]] = tuple(PUBLISHED)
    source: ClassVar[str] = SOURCE
    name: ClassVar[str] = "mpdd"
    archive: ClassVar[Archive] = Archive(SOURCE, "*/train/good")

    @property
    def published(self) -> dict[str, Counts]:
        """Of the paper."""
        return PUBLISHED
