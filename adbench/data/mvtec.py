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

from adbench.data.broken import Broken, without_broken
from adbench.data.geometry import Geometry
from adbench.data.listing import is_image, no_images, shown, some, visible
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
    broken: Broken = "refuse"
    """What is done about training images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

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
                "%s: ignored folders that are no category of MVTec AD: %s",
                shown(root),
                some(others, most=20),
            )
        return chosen

    def load(self, category: str) -> Split:
        """The images of one category, sorted by name, with a warning where some are missing.

        Raises:
            DataError: As ``read`` does, or no training image can be read.
        """
        split = self._read(category)
        counts = (len(split.train), len(split.test))
        if counts != PUBLISHED.get(category, counts):
            published = PUBLISHED[category]
            log.warning(
                "%s has %d training and %d test images of %d and %d; its numbers do not compare "
                "with published ones",
                *(category, *counts, *published),
            )
        return split

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row per category, see ``survey``."""
        root = self._root()
        return [
            survey(c, self._read, geometry, lambda c: oddities(root, c), PUBLISHED.get(c))
            for c in self.names()
        ]

    def _read(self, category: str) -> Split:
        split = read(self._root(), category)
        train, skipped = without_broken(split.train, self.broken)
        return Split(train, split.test, skipped)

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
        DataError: No training images, no test images, or an anomalous image that has not exactly
            one mask; names them.
    """
    folder = root / category
    sound = folder / "train" / "good"
    train = [Sample(p, f"train/good/{p.name}", "good") for p in visible(sound) if is_image(p)]
    kinds = [kind for kind in visible(folder / "test") if kind.is_dir()]
    found = [(kind, path) for kind in kinds for path in visible(kind) if is_image(path)]
    if not train:
        _refuse_empty(sound, visible(sound))
    if not found:
        _refuse_empty(folder / "test", [path for kind in kinds for path in visible(kind)])
    anomalous = [path for kind, path in found if kind.name != "good"]
    masks = _masks(folder, anomalous)
    if missing := [path for path in anomalous if not masks[path]]:
        wanted = _place(folder, missing[0]) / f"{missing[0].stem}_mask.png"
        raise DataError(
            f"{shown(wanted)} is missing ({len(missing)} of {len(anomalous)} masks of {category}); "
            f"its folder holds {some(p.name for p in visible(wanted.parent)) or 'nothing'}. "
            "Restore it, or use dataset=folder, which needs no masks"
        )
    if several := [path for path in anomalous if len(masks[path]) > 1]:
        raise DataError(
            f"{shown(several[0])} has {len(masks[several[0]])} masks, "
            f"{some(str(mask) for mask in masks[several[0]])}; leave one of them"
        )
    test = [
        Sample(path, f"test/{kind.name}/{path.name}", kind.name, *masks.get(path, ()))
        for kind, path in found
    ]
    return Split(train, sorted(test, key=lambda s: s.name))


def _refuse_empty(place: Path, files: list[Path]) -> None:
    state = no_images(files) if place.is_dir() else "does not exist"
    raise DataError(
        f"{shown(place)} {state}; a category has train/good, test/<defect> and "
        "ground_truth/<defect>"
    )


def _masks(folder: Path, anomalous: list[Path]) -> dict[Path, list[Path]]:
    """The masks of each image: ``<stem>_mask.png``, else ``<stem>_mask`` or ``<stem>``.

    These others have any suffix that is read.
    """
    held: dict[tuple[Path, str], list[Path]] = {}
    for place in {_place(folder, path) for path in anomalous}:
        for mask in filter(is_image, visible(place)):
            held.setdefault((place, mask.stem), []).append(mask)
    found = {}
    for path in anomalous:
        place = _place(folder, path)
        named = held.get((place, f"{path.stem}_mask"), held.get((place, path.stem), []))
        usual = [mask for mask in named if mask.name == f"{path.stem}_mask.png"]
        found[path] = usual or named
    return found


def _place(folder: Path, image: Path) -> Path:
    """Where the mask of an image lies."""
    return folder / "ground_truth" / image.parent.name


def oddities(root: Path, category: str) -> list[str]:
    """What does not belong to the layout, by paths inside the category; ``read`` ignores it."""
    folder = root / category
    found = _oddities(folder)
    return [f"{shown(path.relative_to(folder).as_posix())}: {what}" for path, what in found]


def _oddities(folder: Path) -> Iterator[tuple[Path, str]]:
    kinds = [kind for kind in visible(folder / "test") if kind.name != "good"]
    images = [path for kind in kinds for path in visible(kind) if is_image(path)]
    masks = {mask for found in _masks(folder, images).values() for mask in found}
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


def _unknown(category: str, root: Path, present: list[str]) -> str:
    near = get_close_matches(category, {*present, *PUBLISHED} - {category}, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return (
        f"dataset.categories: {shown(root)} has no folder {category!r}; "
        f"it has {some(present, most=20) or 'none'}.{guess}"
    )


def _nothing(root: Path, present: list[str]) -> str:
    if "train" in present:
        return (
            f"dataset.root: {root} is one category, not the folder above it; give "
            f"dataset.root={root.parent} dataset.categories={root.name}"
        )
    return (
        f"dataset.root: {root} holds no category of MVTec AD ({', '.join(PUBLISHED)}); it holds "
        f"{some(present, most=20) or 'no folders'}. Name folders of the same layout with "
        "dataset.categories=[NAME]"
    )
