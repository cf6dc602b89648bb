"""A user's own images: folders of normal ones, of test images and of masks."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.broken import Broken, without_broken
from adbench.data.geometry import Geometry
from adbench.data.holdout import hold_out
from adbench.data.listing import files_below, is_image, no_images, shown, some
from adbench.data.masks import match_masks, unused_masks
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.files import expanded
from adbench.system.settings import STRICT, When

Folders = Annotated[list[str], Field(min_length=1)] | str
SETTINGS = ("normal", "normal_test", "abnormal", "masks")


@dataclass(config=STRICT)
class Folder:
    """One category made of folders, each searched with its subfolders.

    An image's defect type is the name of the folder that holds it. Its own name is its path below
    the deepest folder that all images share, so that a copy of the whole in another place is the
    same category.
    """

    name: ClassVar[str] = "folder"

    normal: Folders
    """Folder or folders of normal images, to train on."""
    root: str = "."
    """What the other folders are relative to."""
    category: Annotated[str, Field(pattern=r"^[^/\\]+$")] = "parts"
    """The name in tables."""
    normal_test: Folders | None = None
    """Folder or folders of normal images to test on; null: a part of ``normal`` is held out."""
    abnormal: Folders | None = None
    """Folder or folders of images with defects; null: none, so that there are scores but no
    metrics."""
    masks: str | None = None
    """Folder of the ground truth of every abnormal image: ``<stem>`` or ``<stem>_mask`` with any
    suffix that is read, in the same subfolders as the images or directly in it; null: no pixel
    metrics."""
    subfolders: bool = False
    """Whether normal images may lie in several folders below ``normal`` and ``normal_test``. They
    are refused otherwise, because a folder above may hold images with defects too."""
    broken: Broken = "refuse"
    """What is done about images of ``normal`` that cannot be read. refuse: the run fails; skip:
    they are left out, which the record notes."""
    holdout: Annotated[float, Field(gt=0, lt=1), When("holds_out")] = 0.2
    """Part of ``normal`` that is tested instead of trained on; at least one image."""
    seed: Annotated[int, Field(ge=0), When("holds_out")] = 0
    """Chooses the images that are held out."""

    @property
    def holds_out(self) -> bool:
        """There is no normal_test, so that a part of the normal images is held out."""
        return self.normal_test is None

    def names(self) -> list[str]:
        """The one category. Raises DataError where a folder is missing."""
        for setting in SETTINGS:
            self._folders(setting)
        return [self.category]

    def load(self, category: str) -> Split:
        """Its images, sorted by name.

        Raises:
            DataError: A folder is missing or has no images, normal images lie in several folders,
                an image has two roles, or it has not exactly one mask.
        """
        return self._split(self.holds_out)

    def _split(self, hold_out: bool) -> Split:
        roles = {setting: self._images(setting) for setting in SETTINGS[:3]}
        everything = [path for images in roles.values() for path, _ in images]
        if twice := [path for path, times in Counter(everything).items() if times > 1]:
            raise DataError(
                f"{shown(twice[0])} would be used twice; dataset.normal, normal_test and abnormal "
                "must not overlap"
            )
        base = os.path.commonpath([path.parent for path in everything])
        samples = {
            path: Sample(path, path.relative_to(base).as_posix(), "good") for path in everything
        }
        normal = [samples[path] for path, _ in roles["normal"]]
        kept, skipped = without_broken(normal, self.broken)
        places = {samples[path]: place for path, place in roles["normal"]}
        train, test = (kept, [samples[path] for path, _ in roles["normal_test"]])
        if hold_out:
            train, test = self._hold_out({sample: places[sample] for sample in kept})
        abnormal = [path for path, _ in roles["abnormal"]]
        masks = match_masks(self._folders("masks")[0], abnormal) if self.masks else {}
        test += [
            Sample(
                path, samples[path].name, path.parent.name, (masks[path],) if path in masks else ()
            )
            for path in abnormal
        ]
        train, test = (sorted(part, key=lambda sample: sample.name) for part in (train, test))
        return Split(train, test, skipped)

    def all_normal(self, category: str) -> list[Sample]:
        """The images of ``normal``, those included that ``load`` holds out for the test."""
        return self._split(hold_out=False).train

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row, see ``survey``."""
        return [
            survey(category, self.load, geometry, lambda _: self._oddities())
            for category in self.names()
        ]

    def _folders(self, setting: str) -> list[Path]:
        chosen = getattr(self, setting)
        given = [chosen] if isinstance(chosen, str) else chosen or []
        root = expanded(self.root)
        folders = [Path(os.path.abspath(root / expanded(folder))) for folder in given]
        for folder in folders:
            if not folder.is_dir():
                raise DataError(
                    f"dataset.{setting}: the folder {shown(folder)} does not exist; "
                    "relative ones start at dataset.root"
                )
        return folders

    def _images(self, setting: str) -> list[tuple[Path, Path]]:
        """All images below the folders of a setting, each with the folder that was given.

        Those below the folder of masks are left out.
        """
        masks = self._folders("masks")
        images: list[tuple[Path, Path]] = []
        for folder in self._folders(setting):
            files = [p for p in files_below(folder) if not any(p.is_relative_to(m) for m in masks)]
            found = [path for path in files if is_image(path)]
            if not found:
                raise DataError(f"dataset.{setting}: {shown(folder)} {no_images(files)}")
            if setting != "abnormal" and not self.subfolders:
                _require_one_folder(setting, folder, found)
            images += [(path, folder) for path in found]
        if setting == "abnormal" and (
            odd := next((p for p, _ in images if p.parent.name == "good"), None)
        ):
            raise DataError(
                f"dataset.abnormal: {shown(odd)} lies in a folder called good; "
                "give that as dataset.normal_test"
            )
        return images

    def _hold_out(self, normal: dict[Sample, Path]) -> tuple[list[Sample], list[Sample]]:
        """Images to train on and to test on."""
        if len(normal) < 2:
            [folder] = normal.values()
            raise DataError(
                f"dataset.normal: {shown(folder)} holds 1 image; 2 are needed to hold one out"
            )
        # An image that several given folders hold under one name may show one part several times.
        groups = {s: s.path.relative_to(place).as_posix() for s, place in normal.items()}
        if len(names := set(groups.values())) < 2:
            raise DataError(
                f"dataset.normal: all {len(normal)} images are called {some(names)} in their "
                "folders, and images of one name are held out together; 2 names are needed to hold "
                "one out, or give test images by dataset.normal_test"
            )
        return hold_out(groups, self.holdout, self.seed)

    def _oddities(self) -> list[str]:
        """What is not used: files that are no images, and masks without an image."""
        folders = [folder for setting in SETTINGS for folder in self._folders(setting)]
        files = {path for folder in folders for path in files_below(folder)}
        found = [f"{shown(path)}: not an image" for path in sorted(files) if not is_image(path)]
        images = [path for path, _ in self._images("abnormal")]
        for folder in self._folders("masks"):
            found += [
                f"{shown(path)}: a mask without its image" for path in unused_masks(folder, images)
            ]
        return found


def _require_one_folder(setting: str, folder: Path, images: list[Path]) -> None:
    """Refuse normal images of several folders, unless the user says that all of them are meant."""
    counts = Counter(path.parent for path in images)
    if len(counts) == 1:
        return
    held = some(
        f"{place.relative_to(folder).as_posix()} ({count})" for place, count in counts.items()
    )
    example = next(place for place in counts if place != folder)
    raise DataError(
        f"dataset.{setting}: {shown(folder)} has images in {len(counts)} folders: {held}; name "
        f"those that are normal, such as dataset.{setting}=[{shown(example)}], or take all of them "
        "by dataset.subfolders=true"
    )
