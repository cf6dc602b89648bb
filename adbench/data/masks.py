"""The ground truth of a user's own images: which mask belongs to which image."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from adbench.data.listing import files_below, is_image, shown, some
from adbench.errors import DataError

Masks = defaultdict[tuple[str, ...], list[Path]]
"""Masks by folders that they lie in, below the folder of masks, and their stem."""


def match_masks(folder: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """The mask of every image.

    A mask is called ``<stem>`` or ``<stem>_mask``, with any suffix that is read. It lies at the
    place of the image: in the same folders as far as the paths of both agree, else in a folder of
    the same name, else directly in the folder of masks.

    Args:
        folder: Holds the masks.
        images: Which need one.

    Raises:
        DataError: An image has no mask or several, or a mask fits several images.
    """
    files = files_below(folder)
    masks = Masks(list)
    nested = Masks(list)
    for path in filter(is_image, files):
        place = (*path.relative_to(folder).parts[:-1], path.stem)
        masks[place].append(path)
        nested[place[-2:]].append(path)
    owners: dict[Path, Path] = {}
    for image in images:
        candidates = _candidates(image, masks, nested)
        if len(candidates) != 1:
            raise DataError(_not_one(image, candidates, folder, files))
        [mask] = candidates
        if mask in owners:
            raise DataError(
                f"dataset.masks: {shown(mask)} fits {shown(owners[mask])} and {shown(image)}; put "
                "masks into subfolders named like those of the images"
            )
        owners[mask] = image
    return {image: mask for mask, image in owners.items()}


def unused_masks(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Masks whose name is that of no image."""
    stems = {image.stem for image in images}
    masks = filter(is_image, files_below(folder))
    return [m for m in masks if not {m.stem, m.stem.removesuffix("_mask")} & stems]


def _candidates(image: Path, masks: Masks, nested: Masks) -> list[Path]:
    folders, stems = image.parts[:-1], (image.stem, f"{image.stem}_mask")
    for start in range(len(folders)):  # the longest path in common first
        if found := [m for stem in stems for m in masks.get((*folders[start:], stem), ())]:
            return found
    in_kind = [m for stem in stems for m in nested.get((folders[-1], stem), ())]
    return in_kind or [m for stem in stems for m in masks.get((stem,), ())]


def _not_one(image: Path, candidates: list[Path], folder: Path, files: list[Path]) -> str:
    """What is wrong with the masks of an image."""
    state = "has no mask"
    if candidates:
        state = f"has {len(candidates)} masks, {some(str(mask) for mask in candidates)}"
    near = [file for file in files if file.name.startswith(image.stem)] or files
    held = some(file.relative_to(folder).as_posix() for file in near)
    return (
        f"dataset.masks: {shown(image)} {state}; one is needed, as "
        f"{shown(image.parent.name)}/{shown(image.stem)}.png or {shown(image.stem)}_mask.png in "
        f"{shown(folder)}, which holds {held or 'nothing'}"
    )
