"""Magnetic tiles with five types of defects (Huang et al., The Visual Computer 36, 2020).

Images lie in ``MT_<type>/Imgs`` as JPEG files, each with its mask as a PNG file beside it. The
photographs of a tile under several exposures share the number behind ``num_``.
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken, without_broken
from adbench.data.category_folders import existing
from adbench.data.geometry import Geometry
from adbench.data.holdout import hold_out
from adbench.data.listing import is_image, no_images, shown, visible
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.settings import STRICT

CATEGORY = "magnetic_tile"
IMAGES = 1344
"""All of them; 952 are free of defects."""
FREE, KINDS = "Free", ("Blowhole", "Break", "Crack", "Fray", "Uneven")
SOURCE = "The magnetic tile defect dataset lies in a repository of its first author, abin24"
_TILE = re.compile(r"num_?(\d+)")


@dataclass(config=STRICT)
class MagneticTile:
    """One category. A part of the tiles without defects is held out for the test."""

    name: ClassVar[str] = "magnetic_tile"
    archive: ClassVar[Archive] = Archive(SOURCE, f"MT_{FREE}/Imgs")

    root: str
    """The folder that holds MT_Free, MT_Crack ..."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Part of the images of MT_Free that is tested instead of trained on. All images of a tile stay
    together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Chooses the tiles that are held out."""
    broken: Broken = "refuse"
    """What is done about normal images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

    def names(self) -> list[str]:
        """The one category. Raises DataError where the root is missing."""
        self._root()
        return [CATEGORY]

    def load(self, category: str) -> Split:
        """Its images, sorted by name.

        Raises:
            DataError: A folder is missing or empty, or an image with a defect has no mask.
        """
        normal, skipped = without_broken(self._samples(FREE), self.broken)
        tiles = {sample: _tile(sample.path) for sample in normal}
        if len(set(tiles.values())) < 2:
            raise DataError(f"{shown(self._folder(FREE))}: shows 1 tile; 2 are needed")
        train, held = hold_out(tiles, self.holdout, self.seed)
        tested = [sample for kind in KINDS for sample in self._samples(kind)]
        train, test = (sorted(p, key=lambda s: s.name) for p in (train, [*held, *tested]))
        return Split(train, test, skipped)

    def all_normal(self, category: str) -> list[Sample]:
        """The images of MT_Free, those included that ``load`` holds out for the test."""
        normal, _ = without_broken(self._samples(FREE), self.broken)
        return sorted(normal, key=lambda sample: sample.name)

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row, see ``survey``."""
        return [
            survey(c, self.load, geometry, lambda _: self._oddities(), IMAGES) for c in self.names()
        ]

    def _root(self) -> Path:
        return existing(self.root, (f"MT_{FREE}", "MT_Crack"), SOURCE)

    def _folder(self, kind: str) -> Path:
        return self._root() / f"MT_{kind}" / "Imgs"

    def _samples(self, kind: str) -> list[Sample]:
        folder = self._folder(kind)
        files = visible(folder)
        images = [path for path in files if is_image(path) and path.suffix.lower() != ".png"]
        if not images:
            raise DataError(f"{shown(folder)}: {no_images(files)}")
        name = f"MT_{kind}/Imgs"
        if kind == FREE:
            return [Sample(path, f"{name}/{path.name}", "good") for path in images]
        masks = [path.with_suffix(".png") for path in images]
        held = set(files)
        if missing := [mask for mask in masks if mask not in held]:
            raise DataError(
                f"{shown(missing[0])} is missing ({len(missing)} of {len(masks)} masks); restore it"
            )
        return [
            Sample(path, f"{name}/{path.name}", kind.lower(), (mask,))
            for path, mask in zip(images, masks, strict=True)
        ]

    def _oddities(self) -> list[str]:
        """Files that are no images, and masks without an image."""
        found = []
        for path in (path for kind in (FREE, *KINDS) for path in visible(self._folder(kind))):
            if not is_image(path):
                found.append(f"{shown(path)}: not an image")
            elif path.suffix.lower() == ".png" and not path.with_suffix(".jpg").is_file():
                found.append(f"{shown(path)}: a mask without its image")
        return found


def _tile(image: Path) -> str:
    """What names the tile of an image: its number, or the file where it has none."""
    found = _TILE.search(image.stem)
    return found[1] if found else image.stem
