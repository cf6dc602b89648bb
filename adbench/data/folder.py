"""A user's own images: folders of normal ones, of test images and of masks."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.listing import is_image, visible
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.settings import STRICT, When, digest

SETTINGS = ("normal", "normal_test", "abnormal", "masks")


@dataclass(config=STRICT)
class Folder:
    """One category made of folders, each searched with its subfolders.

    An image's defect type is the name of the folder that holds it. Its own name is its path below
    the deepest folder that all images share, so that a copy of the whole in another place is the
    same category.
    """

    name: ClassVar[str] = "folder"

    normal: str
    """Folder of normal images, to train on."""
    root: str = "."
    """What the other folders are relative to."""
    category: Annotated[str, Field(pattern=r"^[^/\\]+$")] = "parts"
    """The name in tables."""
    normal_test: str | None = None
    """Folder of normal images to test on; null: a part of ``normal`` is held out for it."""
    abnormal: Annotated[list[str], Field(min_length=1)] | str | None = None
    """Folder or folders of images with defects; null: none, so that there are scores but no
    metrics."""
    masks: str | None = None
    """Folder of the ground truth of every abnormal image: ``<stem>`` or ``<stem>_mask`` in any
    image format, directly in it or in subfolders named like the defect types; null: no pixel
    metrics."""
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
            DataError: A folder is missing or has no images, an image has two roles, or it has not
                exactly one mask.
        """
        normal, normal_test, abnormal = (
            self._images(s) for s in ("normal", "normal_test", "abnormal")
        )
        everything = [*normal, *normal_test, *abnormal]
        if twice := [path for path, times in Counter(everything).items() if times > 1]:
            raise DataError(
                f"{twice[0]} would be used twice; dataset.normal, normal_test and abnormal must "
                "not overlap"
            )
        base = os.path.commonpath([path.parent for path in everything])
        names = {path: path.relative_to(base).as_posix() for path in everything}
        if not normal_test:
            normal, normal_test = self._hold_out(normal)
        masks = self._match_masks(abnormal) if self.masks else {}
        test = [Sample(path, names[path], "good") for path in normal_test]
        test += [Sample(path, names[path], path.parent.name, masks.get(path)) for path in abnormal]
        train = [Sample(path, names[path], "good") for path in normal]
        return Split(sorted(train, key=lambda s: s.name), sorted(test, key=lambda s: s.name))

    def check(self) -> list[dict[str, Any]]:
        """One row, see ``survey``."""
        return [survey(category, self.load, self._oddities()) for category in self.names()]

    def _folders(self, setting: str) -> list[Path]:
        chosen = getattr(self, setting)
        given = [chosen] if isinstance(chosen, str) else chosen or []
        root = Path(self.root).expanduser()
        folders = [Path(os.path.abspath(root / Path(folder).expanduser())) for folder in given]
        for folder in folders:
            if not folder.is_dir():
                raise DataError(
                    f"dataset.{setting}: the folder {folder} does not exist; "
                    "relative ones start at dataset.root"
                )
        return folders

    def _images(self, setting: str) -> list[Path]:
        """All images below the folders of a setting but those below the folder of masks."""
        masks = self._folders("masks")
        images = []
        for folder in self._folders(setting):
            found = [
                p
                for p in _files(folder)
                if is_image(p) and not any(p.is_relative_to(m) for m in masks)
            ]
            if not found:
                raise DataError(f"dataset.{setting}: {folder} holds no images")
            images += found
        if setting == "abnormal" and (
            odd := next((p for p in images if p.parent.name == "good"), None)
        ):
            raise DataError(
                f"dataset.abnormal: {odd} lies in a folder called good; "
                "give that as dataset.normal_test"
            )
        return images

    def _hold_out(self, normal: list[Path]) -> tuple[list[Path], list[Path]]:
        """Images to train on and to test on.

        They are ordered by a hash of their names, so that a new image moves few others.
        """
        [folder] = self._folders("normal")
        if len(normal) < 2:
            raise DataError(f"dataset.normal: {folder} holds 1 image; 2 are needed to hold one out")
        shuffled = sorted(
            normal, key=lambda path: digest([self.seed, path.relative_to(folder).as_posix()])
        )
        held = min(max(1, round(self.holdout * len(normal))), len(normal) - 1)
        return shuffled[held:], shuffled[:held]

    def _match_masks(self, abnormal: Sequence[Path]) -> dict[Path, Path]:
        found = self._mask_files()
        owners: dict[Path, Path] = {}
        for image in abnormal:
            kind, stems = image.parent.name, (image.stem, f"{image.stem}_mask")
            candidates = [m for stem in stems for m in found[kind, stem]]
            candidates = candidates or [m for stem in stems for m in found["", stem]]
            if len(candidates) != 1:
                state = "has no mask"
                if candidates:
                    first, second = candidates[:2]
                    state = f"has {len(candidates)} masks, {first} and {second.name}"
                raise DataError(
                    f"dataset.masks: {image} {state}; one is needed, as {kind}/{image.stem}.png or "
                    f"{image.stem}_mask.png in {self._folders('masks')[0]}"
                )
            [mask] = candidates
            if mask in owners:
                raise DataError(
                    f"dataset.masks: {mask} fits {owners[mask]} and {image}; put masks into "
                    "subfolders named like the defect types"
                )
            owners[mask] = image
        return {image: mask for mask, image in owners.items()}

    def _mask_files(self) -> defaultdict[tuple[str, str], list[Path]]:
        """Masks by subfolder ("" for none) and stem."""
        found = defaultdict(list)
        for folder in self._folders("masks"):
            for path in filter(is_image, _files(folder)):
                found["" if path.parent == folder else path.parent.name, path.stem].append(path)
        return found

    def _oddities(self) -> list[str]:
        files = {
            p for setting in SETTINGS for folder in self._folders(setting) for p in _files(folder)
        }
        stems = {path.stem for folder in self._folders("abnormal") for path in _files(folder)}
        masks = [path for found in self._mask_files().values() for path in found]
        unused = [m for m in masks if not {m.stem, m.stem.removesuffix("_mask")} & stems]
        return [
            *(f"{path}: not an image" for path in sorted(files) if not is_image(path)),
            *(f"{path}: a mask without its image" for path in sorted(unused)),
        ]


def _files(folder: Path) -> list[Path]:
    """All files below a folder, without hidden ones."""
    return [
        file for path in visible(folder) for file in (_files(path) if path.is_dir() else [path])
    ]
