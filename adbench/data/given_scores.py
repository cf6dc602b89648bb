"""Maps and scores that another tool left in files, matched with the test images of a category.

A file or a row belongs to the test image whose name ends as its own does: ``broken_large/003.tiff``
belongs to ``test/broken_large/003.png``.
"""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath

from adbench.data.listing import files_below, shown, some
from adbench.data.map_files import SUFFIXES
from adbench.data.samples import Sample
from adbench.errors import DataError

MVTEC_FOLDER = "anomaly_maps"
"""Where MVTec's evaluation code looks for maps."""
LAYOUT = "CATEGORY/test/DEFECT/NAME.EXT, or test/DEFECT/NAME.EXT where there is one category"
NAME_COLUMNS = ("path", "name")
SCORE_COLUMN = "score"
_Parts = tuple[str, ...]
_Image = tuple[str, int]
"""A category and the place of a test image in it."""


def folder_of(folder: Path, category: str, alone: bool) -> Path:
    """The folder with the files of a category.

    Args:
        folder: What the user named.
        category: The category's name.
        alone: Whether no other category is chosen, so that its files may lie in
            ``folder`` itself.

    Raises:
        DataError: There is no such folder.
    """
    for place in (folder / MVTEC_FOLDER / category, folder / category):
        if place.is_dir():
            return place
    if alone:
        return folder / MVTEC_FOLDER if (folder / MVTEC_FOLDER).is_dir() else folder
    raise DataError(
        f"{shown(folder)}: holds no folder {category}; choose the categories that are there by "
        f"dataset.categories, or lay files out as {LAYOUT}"
    )


def find_maps(
    folder: Path, category: str, samples: Sequence[Sample], suffix: str | None = None
) -> list[Path] | None:
    """The map of every test image, in their order; None where the folder holds no map at all.

    Args:
        folder: Of ``folder_of``.
        category: The category's name.
        samples: Its test images.
        suffix: Of the files to take, where the folder holds several kinds.

    Raises:
        DataError: An image has no map or several, or a file belongs to no image, which are named
            and counted; or the suffix is none of a map, or no file has it.
    """
    if suffix is not None and suffix not in SUFFIXES:
        raise DataError(f"suffix={suffix}: maps end in {', '.join(SUFFIXES)}")
    wanted = SUFFIXES if suffix is None else (suffix,)
    files = [path for path in files_below(folder) if path.suffix.lower() in wanted]
    kinds = sorted({path.suffix.lower() for path in files})
    if len(kinds) > 1:
        raise DataError(
            f"{shown(folder)}: holds files that end in {' and in '.join(kinds)}; choose the maps "
            f"by suffix={kinds[0]}"
        )
    if not files and suffix is not None:
        raise DataError(f"{shown(folder)}: holds no file that ends in {shown(suffix)}")
    if not files:
        return None
    endings = _Endings({category: samples})
    below = [path.relative_to(folder) for path in files]
    claims = [(p.as_posix(), endings.of((*p.parent.parts, p.stem))) for p in below]
    try:
        order = _one_each(claims, {category: samples}, "map")
    except DataError as error:
        raise DataError(f"{shown(folder)}: {error}; maps lie in {LAYOUT}") from None
    return [files[place] for place in order[category]]


def read_scores(path: Path, categories: Mapping[str, Sequence[Sample]]) -> dict[str, list[float]]:
    """The scores of the test images of some categories, in their order, from one CSV file.

    Args:
        path: Has the columns path (or name) and score. A path is that of the image file, also as
            seen from the folder in which the program is, or it ends as the name of its image does.
        categories: Category -> its test images.

    Raises:
        DataError: The file cannot be read, a score is no finite number, an image has no row or
            several, or a row belongs to no image; names and counts them.
    """
    endings, rows = _Endings(categories), _rows(path)
    claims = [(name, endings.within(name.replace("\\", "/"))) for name, _ in rows]
    try:
        order = _one_each(claims, categories, "row")
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from None
    return {name: [rows[place][1] for place in places] for name, places in order.items()}


def _rows(path: Path) -> list[tuple[str, float]]:
    """Name and score of every row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: is no UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    heads = reader.fieldnames or []
    column = next((name for name in NAME_COLUMNS if name in heads), None)
    if column is None or SCORE_COLUMN not in heads:
        raise DataError(
            f"{shown(path)}: the first line is {','.join(map(shown, heads)) or 'empty'}; it must "
            f"name the columns {SCORE_COLUMN} and {' or '.join(NAME_COLUMNS)}"
        )
    found = []
    for row in reader:
        where = f"{shown(path)}, line {reader.line_num}"
        try:
            score = float(row[SCORE_COLUMN])
        except (TypeError, ValueError):
            raise DataError(f"{where}: the score {row[SCORE_COLUMN]!r} is no number") from None
        if not math.isfinite(score):
            raise DataError(f"{where}: the score is {score}; it must be finite")
        if not row[column]:
            raise DataError(f"{where}: the {column} is missing")
        found.append((row[column], score))
    return found


class _Endings:
    """How the names of images end, with the suffix and without."""

    def __init__(self, categories: Mapping[str, Sequence[Sample]]) -> None:
        self._files: dict[str, _Image] = {}
        self._whole: dict[_Parts, set[_Image]] = {}
        self._any: dict[_Parts, set[_Image]] = {}
        for category, samples in categories.items():
            for place, sample in enumerate(samples):
                image, name = (category, place), PurePosixPath(sample.name)
                self._files[_absolute(sample.path)] = image
                # The folder above the name is that of the category, but not for own images. It is
                # needed all the same: other images elsewhere may have the same names.
                above = sample.path.parts[: -len(name.parts)][-1:]
                for start in {(category,), above}:
                    for last in (name.name, name.stem):
                        self._add((*start, *name.parent.parts, last), image)

    def _add(self, parts: _Parts, image: _Image) -> None:
        self._whole.setdefault(parts, set()).add(image)
        for start in range(len(parts)):
            self._any.setdefault(parts[start:], set()).add(image)

    def of(self, parts: _Parts) -> set[_Image]:
        """The images whose names end in all of these parts."""
        return self._any.get(parts, set())

    def within(self, text: str) -> set[_Image]:
        """The images that a path may mean, which may begin with folders of another machine."""
        if image := self._files.get(_absolute(text)):
            return {image}
        path = PurePosixPath(text)
        for parts in (path.parts, (*path.parent.parts, path.stem)):
            if found := self.of(parts):
                return found
            for start in range(1, len(parts)):
                if found := self._whole.get(parts[start:], set()):
                    return found
        return set()


def _absolute(path: str | Path) -> str:
    """One spelling of the path of a file, which may be relative."""
    return PurePath(os.path.abspath(path)).as_posix()


def _one_each(
    claims: Sequence[tuple[str, set[_Image]]],
    categories: Mapping[str, Sequence[Sample]],
    what: str,
) -> dict[str, list[int]]:
    """Which file or row belongs to each image.

    Args:
        claims: The name of each file or row, and the images that it may belong to.
        categories: The images.
        what: A claim is called in messages.

    Raises:
        DataError: It is not one of each.
    """
    found: dict[_Image, list[int]] = {}
    for place, (_, images) in enumerate(claims):
        for image in images if len(images) == 1 else ():
            found.setdefault(image, []).append(place)
    every = {(c, i): s.name for c, samples in categories.items() for i, s in enumerate(samples)}
    alone = len(categories) == 1
    titles = {image: name if alone else f"{image[0]}/{name}" for image, name in every.items()}
    wrong = {
        f"test images without a {what}": [t for i, t in titles.items() if i not in found],
        f"test images with several {what}s": [
            f"{titles[i]} ({some(claims[p][0] for p in places)})"
            for i, places in found.items()
            if len(places) > 1
        ],
        f"{what}s of no test image": [name for name, images in claims if not images],
        f"{what}s that fit several test images": [name for name, i in claims if len(i) > 1],
    }
    lines = [f"{said} ({len(names)}): {some(names)}" for said, names in wrong.items() if names]
    if lines:
        raise DataError("; ".join(lines))
    return {c: [found[c, i][0] for i in range(len(s))] for c, s in categories.items()}
