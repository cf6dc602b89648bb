"""MVTec AD (Bergmann et al., CVPR 2019) and whatever has its layout.

A category is a folder of ``train/good``, ``test/<defect>`` and
``ground_truth/<defect>/<stem>_mask.png``.
"""

import logging
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.listing import is_image, visible
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.settings import STRICT

log = logging.getLogger(__name__)

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

PARTS = ("train", "test", "ground_truth")


@dataclass(config=STRICT)
class MVTec:
    """The categories of MVTec AD that lie under one folder; a subset will do."""

    name: ClassVar[str] = "mvtec"

    root: str
    """The folder that holds the category folders."""
    categories: Annotated[list[str], Field(min_length=1)] | str = "all"
    """``all`` that are there in MVTec's order, one name, or a list. Other folders of the same
    layout may be named too."""

    def names(self) -> list[str]:
        """The chosen categories.

        Raises:
            DataError: The root is missing or has no folder of such a name.
        """
        root = self._root()
        present = [p.name for p in visible(root) if p.is_dir()]
        if self.categories != "all":
            named = [self.categories] if isinstance(self.categories, str) else self.categories
            chosen = list(dict.fromkeys(named))
            for category in chosen:
                if category not in present:
                    raise DataError(_unknown(category, root, present))
            return chosen
        chosen = [category for category in PUBLISHED if category in present]
        if not chosen:
            raise DataError(_nothing(root, present))
        if others := sorted(set(present) - set(chosen)):
            log.warning(
                "%s: ignored folders that are no category of MVTec AD: %s", root, ", ".join(others)
            )
        return chosen

    def load(self, category: str) -> Split:
        """The images of one category, sorted by name, with a warning where some are missing.

        Raises:
            DataError: As ``read`` does.
        """
        split = read(self._root(), category)
        counts = (len(split.train), len(split.test))
        if counts != PUBLISHED.get(category, counts):
            published = PUBLISHED[category]
            log.warning(
                "%s has %d training and %d test images of %d and %d; its numbers do not compare "
                "with published ones",
                *(category, *counts, *published),
            )
        return split

    def check(self) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        root = self._root()
        return [
            survey(c, lambda c: read(root, c), oddities(root, c), PUBLISHED.get(c))
            for c in self.names()
        ]

    def _root(self) -> Path:
        root = Path(self.root).expanduser().absolute()
        if not root.is_dir():
            raise DataError(
                f"dataset.root: the folder {root} does not exist; give the folder that holds "
                "bottle, cable ... as dataset.root=DIR. MVTec AD is free for non-commercial use "
                "(CC BY-NC-SA 4.0) from the web site of MVTec Software, under the name 'MVTec "
                "Anomaly Detection Dataset'"
            )
        return root


def read(root: Path, category: str) -> Split:
    """The images of a category in MVTec's layout, sorted by name.

    Raises:
        DataError: No training images, no test images, or masks that are missing; names them.
    """
    folder = root / category
    sound = folder / "train" / "good"
    train = [Sample(p, f"train/good/{p.name}", "good") for p in visible(sound) if is_image(p)]
    test = [
        _tested(folder, kind.name, path)
        for kind in visible(folder / "test")
        for path in visible(kind)
        if is_image(path)
    ]
    for samples, place in ((train, sound), (test, folder / "test")):
        if not samples:
            state = "holds no images" if place.is_dir() else "does not exist"
            raise DataError(
                f"{place} {state}; a category has train/good, test/<defect> and "
                "ground_truth/<defect>"
            )
    missing = [s.mask for s in test if s.mask is not None and not s.mask.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]} is missing ({len(missing)} of {sum(s.anomalous for s in test)} masks of "
            f"{category}); restore it, or use dataset=folder, which needs no masks"
        )
    return Split(train, sorted(test, key=lambda s: s.name))


def oddities(root: Path, category: str) -> list[str]:
    """What does not belong to the layout, by paths inside the category; ``read`` ignores it."""
    folder = root / category
    return [f"{path.relative_to(folder).as_posix()}: {what}" for path, what in _oddities(folder)]


def _oddities(folder: Path) -> Iterator[tuple[Path, str]]:
    kinds = [kind for kind in visible(folder / "test") if kind.name != "good"]
    masks = {_mask_of(folder, path) for kind in kinds for path in visible(kind) if is_image(path)}
    for part in visible(folder):
        if part.is_dir() and part.name not in PARTS:
            yield part, f"unknown folder; a category has {', '.join(PARTS)}"
    for leaf in (leaf for part in PARTS for leaf in visible(folder / part)):
        if not leaf.is_dir():
            yield leaf, "a file where only folders belong"
        elif leaf.parent.name == "train" and leaf.name != "good":
            yield leaf, "unknown folder; training images are in train/good"
        elif not visible(leaf):
            yield leaf, "empty folder"
        else:
            for path in visible(leaf):
                if not is_image(path):
                    yield path, "not an image"
                elif leaf.parent.name == "ground_truth" and path not in masks:
                    yield path, f"a mask without its image in test/{leaf.name}"


def _tested(folder: Path, kind: str, path: Path) -> Sample:
    mask = None if kind == "good" else _mask_of(folder, path)
    return Sample(path, f"test/{kind}/{path.name}", kind, mask)


def _mask_of(folder: Path, image: Path) -> Path:
    return folder / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"


def _unknown(category: str, root: Path, present: list[str]) -> str:
    near = get_close_matches(category, {*present, *PUBLISHED} - {category}, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return (
        f"dataset.categories: {root} has no folder {category!r}; "
        f"it has {', '.join(present) or 'none'}.{guess}"
    )


def _nothing(root: Path, present: list[str]) -> str:
    if "train" in present:
        return (
            f"dataset.root: {root} is one category, not the folder above it; give "
            f"dataset.root={root.parent} dataset.categories={root.name}"
        )
    return (
        f"dataset.root: {root} holds no category of MVTec AD ({', '.join(PUBLISHED)}); it holds "
        f"{', '.join(present) or 'no folders'}. Name folders of the same layout with "
        "dataset.categories=[NAME]"
    )
