"""KolektorSDD2, surfaces of metal (Bozic et al., Computers in Industry 129, 2021).

An image ``NNN.png`` has a mask ``NNN_GT.png`` beside it. Where the mask marks nothing, the image is
normal.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from adbench.data.archive import Archive
from adbench.data.broken import Broken, without_broken
from adbench.data.category_folders import existing, warn_of_counts
from adbench.data.geometry import Geometry
from adbench.data.images import image_size, read_mask
from adbench.data.listing import is_image, no_images, shown, visible
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import DataError
from adbench.system.parallel import threads
from adbench.system.settings import STRICT

CATEGORY = "ksdd2"
PUBLISHED = {CATEGORY: (2085, 1004)}
"""Normal training images, and test images, of which 110 show a defect."""
SOURCE = (
    "KolektorSDD2 is free for non-commercial use (CC BY-NC-SA 4.0) from the ViCoS laboratory of "
    "the University of Ljubljana"
)
MASK = "_GT"


@dataclass(config=STRICT)
class KSDD2:
    """One category. Anomalous images of its training folder are not used."""

    name: ClassVar[str] = "ksdd2"
    archive: ClassVar[Archive] = Archive(SOURCE, f"train/*{MASK}.png")

    root: str
    """The folder that holds train and test."""
    broken: Broken = "refuse"
    """What is done about training images that cannot be read. refuse: the category fails; skip:
    they are left out, which the record notes."""

    def names(self) -> list[str]:
        """The one category. Raises DataError where the root is missing."""
        existing(self.root, ("train", "test"), SOURCE)
        return [CATEGORY]

    def load(self, category: str) -> Split:
        """Its images, sorted by name, with a warning where some are missing.

        Raises:
            DataError: A folder is missing or empty, an image has no mask, or a mask cannot be read.
        """
        split = self._read(category)
        warn_of_counts(category, split, PUBLISHED)
        return split

    def check(self, geometry: Geometry) -> list[dict[str, Any]]:
        """One row, see ``survey``."""
        return [
            survey(c, self._read, geometry, lambda _: self._oddities(), PUBLISHED[c])
            for c in self.names()
        ]

    def _read(self, category: str) -> Split:
        train, test = (self._samples(part) for part in ("train", "test"))
        normal = [sample for sample in train if not sample.anomalous]
        kept, skipped = without_broken(normal, self.broken)
        return Split(kept, test, skipped)

    def _samples(self, part: str) -> list[Sample]:
        """The images of a folder. A mask that marks something makes an image anomalous."""
        folder = existing(self.root, ("train", "test"), SOURCE) / part
        files = visible(folder)
        images = [path for path in files if is_image(path) and not path.stem.endswith(MASK)]
        if not images:
            raise DataError(f"{shown(folder)}: {no_images(files)}")
        masks = [path.with_name(f"{path.stem}{MASK}{path.suffix}") for path in images]
        held = set(files)
        if missing := [mask for mask in masks if mask not in held]:
            raise DataError(
                f"{shown(missing[0])} is missing ({len(missing)} of {len(masks)} masks); restore it"
            )
        with ThreadPoolExecutor(threads()) as pool:
            marked = list(pool.map(_marks, masks))
        return [
            Sample(path, f"{part}/{path.name}", *(("defect", (mask,)) if bad else ("good",)))
            for path, mask, bad in zip(images, masks, marked, strict=True)
        ]

    def _oddities(self) -> list[str]:
        root = existing(self.root, ("train", "test"), SOURCE)
        files = [path for part in ("train", "test") for path in visible(root / part)]
        images = {path.stem for path in files}
        found = [f"{shown(path)}: not an image" for path in files if not is_image(path)]
        alone = [p for p in files if p.stem.endswith(MASK) and p.stem[: -len(MASK)] not in images]
        return [*found, *(f"{shown(path)}: a mask without its image" for path in alone)]


def _marks(mask: Path) -> bool:
    return bool(read_mask(mask, image_size(mask)).any())
