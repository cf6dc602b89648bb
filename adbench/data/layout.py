"""The layout of MVTec AD (Bergmann et al., CVPR 2019) and of the datasets that took it over.

A category is a folder with a folder of normal training images, a folder of test images with a
folder per defect type, and a folder of masks with the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adbench.data.listing import is_image, no_images, shown, some, visible
from adbench.data.samples import Sample, Split
from adbench.errors import DataError

Masks = dict[Path, list[Path]]
"""The masks of each anomalous image."""


@dataclass(frozen=True)
class Layout:
    """The names of the folders of a category."""

    train: tuple[str, ...] = ("train/good",)
    """Of normal images to train on."""
    test: str = "test"
    """Of test images; it has a folder for each defect type."""
    good: str = "good"
    """The folder of normal test images in it."""
    truth: str = "ground_truth"
    """Of masks; it has the same folders as ``test``."""
    kinds: tuple[str, ...] | None = None
    """The defect types that are read; None for all of them."""
    folder_of_masks: bool = False
    """Whether an image has a folder of masks, with its own stem, and not one mask."""
    others: tuple[str, ...] = ()
    """Folders and files of a category that belong to the dataset and are not read."""

    def read(self, root: Path, category: str) -> Split:
        """The images of a category, sorted by name.

        Raises:
            DataError: No training images, no test images, an anomalous image without a mask or
                with several where it has one, or a mask of several images; names them.
        """
        folder = root / category
        train = [
            Sample(path, f"{place}/{path.name}", "good")
            for place in self.train
            for path in visible(folder / place)
            if is_image(path)
        ]
        kinds = self._kinds(folder)
        found = [(kind, path) for kind in kinds for path in visible(kind) if is_image(path)]
        if not train:
            self._refuse_empty(folder / self.train[0], visible(folder / self.train[0]))
        if not found:
            files = [path for kind in kinds for path in visible(kind)]
            self._refuse_empty(folder / self.test, files)
        masks = self._masks(folder)
        self._require_masks(category, folder, masks)
        test = [
            Sample(
                path,
                f"{self.test}/{kind.name}/{path.name}",
                "good" if kind.name == self.good else kind.name,
                tuple(masks.get(path, ())),
            )
            for kind, path in found
        ]
        train, test = (sorted(part, key=lambda s: s.name) for part in (train, test))
        return Split(train, test)

    def oddities(self, root: Path, category: str) -> list[str]:
        """What does not belong to the layout, by paths inside the category; it is not read."""
        folder = root / category
        return [
            f"{shown(path.relative_to(folder).as_posix())}: {what}"
            for path, what in self._oddities(folder)
        ]

    def _kinds(self, folder: Path) -> list[Path]:
        """The folders of the test images that are read."""
        wanted = None if self.kinds is None else {*self.kinds, self.good}
        kinds = [kind for kind in visible(folder / self.test) if kind.is_dir()]
        kinds = [kind for kind in kinds if kind != folder / self.truth]
        return [kind for kind in kinds if wanted is None or kind.name in wanted]

    def _refuse_empty(self, place: Path, files: list[Path]) -> None:
        state = no_images(files) if place.is_dir() else "does not exist"
        raise DataError(
            f"{shown(place)} {state}; a category has {self.train[0]}, {self.test}/<defect> and "
            f"{self.truth}/<defect>"
        )

    def _require_masks(self, category: str, folder: Path, masks: Masks) -> None:
        """Refuse images without a mask, with several where one is meant, and with a shared one."""
        if missing := [path for path in masks if not masks[path]]:
            place = self._place(folder, missing[0])
            wanted = place if self.folder_of_masks else place / f"{missing[0].stem}_mask.png"
            holder = wanted if self.folder_of_masks else place
            raise DataError(
                f"{shown(wanted)} is missing ({len(missing)} of {len(masks)} masks of {category}); "
                f"its folder holds {some(p.name for p in visible(holder)) or 'nothing'}. "
                "Restore it, or use dataset=folder, which needs no masks"
            )
        several = [] if self.folder_of_masks else [p for p, found in masks.items() if found[1:]]
        if several:
            held = masks[several[0]]
            raise DataError(
                f"{shown(several[0])} has {len(held)} masks, {some(str(mask) for mask in held)}; "
                "leave one of them"
            )
        owners: dict[Path, Path] = {}
        for image, mask in ((image, mask) for image, found in masks.items() for mask in found):
            if (owner := owners.setdefault(mask, image)) != image:
                raise DataError(
                    f"{shown(mask)} fits {shown(owner)} and {shown(image)}; give every image a "
                    "stem of its own, and its masks the same one"
                )

    def _masks(self, folder: Path) -> Masks:
        """The masks of each anomalous image.

        One mask is ``<stem>_mask.png``, else ``<stem>_mask`` or ``<stem>`` with any suffix that is
        read.
        """
        kinds = [kind for kind in self._kinds(folder) if kind.name != self.good]
        anomalous = [path for kind in kinds for path in visible(kind) if is_image(path)]
        if self.folder_of_masks:
            return {p: [*filter(is_image, visible(self._place(folder, p)))] for p in anomalous}
        held: dict[tuple[Path, str], list[Path]] = {}
        for place in {self._place(folder, path) for path in anomalous}:
            for mask in filter(is_image, visible(place)):
                held.setdefault((place, mask.stem), []).append(mask)
        found = {}
        for path in anomalous:
            place = self._place(folder, path)
            named = held.get((place, f"{path.stem}_mask"), held.get((place, path.stem), []))
            usual = [mask for mask in named if mask.name == f"{path.stem}_mask.png"]
            found[path] = usual or named
        return found

    def _place(self, folder: Path, image: Path) -> Path:
        """Where the mask of an image lies, or its masks."""
        place = folder / self.truth / image.parent.name
        return place / image.stem if self.folder_of_masks else place

    def _oddities(self, folder: Path) -> Iterator[tuple[Path, str]]:
        masks = {mask for found in self._masks(folder).values() for mask in found}
        parts = list(dict.fromkeys([*(p.split("/")[0] for p in self.train), self.test, self.truth]))
        known = {*(part.split("/")[0] for part in parts), *self.others}
        for part in visible(folder):
            if part.is_dir() and part.name not in known:
                yield part, f"unknown folder; a category has {', '.join(parts)}"
        trains = {folder / place for place in self.train}
        for leaf in (leaf for part in parts for leaf in visible(folder / part)):
            of_truth = leaf.parent == folder / self.truth
            if leaf == folder / self.truth:
                continue
            if not leaf.is_dir():
                yield leaf, "a file where only folders belong"
            elif leaf.parent in {place.parent for place in trains} and leaf not in trains:
                yield leaf, f"unknown folder; training images are in {self.train[0]}"
            elif not visible(leaf):
                yield leaf, "empty folder"
            elif not self.folder_of_masks or not of_truth:
                for path in visible(leaf):
                    if not is_image(path):
                        yield path, "not an image"
                    elif of_truth and path not in masks:
                        yield path, f"a mask without its image in {self.test}/{leaf.name}"
