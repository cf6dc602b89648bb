"""BTAD, beanTech's three products (Mishra et al., ISIE 2021), in a layout like MVTec AD's."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.category_folders import CategoryFolders, Counts
from adbench.data.layout import Layout
from adbench.system.settings import STRICT

PUBLISHED = {"01": (400, 70), "02": (399, 230), "03": (1000, 441)}
"""Training and test images of each category; 1,799 and 741 in all."""
SOURCE = "BTAD is free for research from the AViReS laboratory of the University of Udine"


@dataclass(config=STRICT)
class BTAD(CategoryFolders):
    """The products 01, 02 and 03; normal images lie in ``ok``, the others in ``ko``."""

    title: ClassVar[str] = "BTAD"
    known: ClassVar[tuple[str, ...]] = tuple(PUBLISHED)
    source: ClassVar[str] = SOURCE
    name: ClassVar[str] = "btad"
    archive: ClassVar[Archive] = Archive(
        SOURCE, "*/train/ok", "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a"
    )

    @property
    def layout(self) -> Layout:
        """Normal images lie in ``ok``."""
        return Layout(train=("train/ok",), good="ok")

    @property
    def published(self) -> dict[str, Counts]:
        """Of the paper."""
        return PUBLISHED
