"""Which images a user means: files, folders, patterns, and a list that comes line by line."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from adbench.data.listing import files_below, is_image, no_images, shown
from adbench.errors import AdbenchError, DataError


@dataclass(frozen=True)
class Source:
    """An image that is to be read, or a place that holds none."""

    path: Path
    error: str | None = None
    """Why there is no image; None where there is a file to read."""


def find(words: Iterable[str], outputs: Sequence[Path] = ()) -> list[Source]:
    """The images that words name, in the order of the words, and each file once.

    A file is taken whatever its name, and whether it exists is found out when it is read. Of a
    folder all images below it are taken, and of a pattern all images that match; both sorted.

    Args:
        words: Paths of files and folders, and patterns such as ``photos/**/*.png``.
        outputs: Folders that are to be written to. Images in them are left out of folders and
            patterns.

    Raises:
        AdbenchError: A word lies in one of ``outputs``.
    """
    found: dict[tuple[str, str | None], Source] = {}
    for word in words:
        _refuse_output(word, outputs)
        for source in _of_word(word, outputs):
            found.setdefault((os.path.abspath(source.path), source.error), source)
    return list(found.values())


def listed(lines: BinaryIO) -> Iterator[Path]:
    """The paths of a list, one a line and as they come; empty lines are passed over."""
    for line in lines:
        if name := line.rstrip(b"\r\n"):
            yield Path(os.fsdecode(name))


def base(word: str) -> Path:
    """The folder below which the images of a word lie, absolute."""
    path = _path(word)
    if not _is_pattern(word):
        return Path(os.path.abspath(path if os.path.isdir(path) else path.parent))
    fixed = takewhile(lambda part: not glob.has_magic(part), path.parts[:-1])
    return Path(os.path.abspath(Path(*fixed)))


def common_folder(words: Iterable[str]) -> Path:
    """The deepest folder that holds the images of all words; the root where nothing else does."""
    folders = [base(word) for word in words]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # they lie on several drives
        return Path(folders[0].anchor)


def name_below(path: Path, folder: Path) -> Path:
    """The path of a file below a folder; its whole path without the root where it lies elsewhere.

    Args:
        path: Of the file.
        folder: Absolute.
    """
    whole = Path(os.path.abspath(path))
    return whole.relative_to(folder if whole.is_relative_to(folder) else whole.anchor)


def lies_in(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a file or a folder lies in one of some folders, links resolved."""
    whole = path.resolve()
    return any(whole.is_relative_to(folder.resolve()) for folder in folders)


def _of_word(word: str, outputs: Sequence[Path]) -> list[Source]:
    path, failed = _path(word), list[DataError]()
    if _is_pattern(word):
        files = _matching(path)
        reason = f"{shown(word)}: no image matches this pattern"
    elif os.path.isdir(path):  # unlike Path.is_dir, False where a folder may not be searched
        files = files_below(path, failed)
        reason = f"{shown(word)}: {no_images(files)}"
    else:
        return [Source(path)]
    images = [file for file in files if is_image(file) and not lies_in(file, outputs)]
    errors = [str(error) for error in failed] or ([] if images else [reason])
    return [*map(Source, images), *(Source(path, error) for error in errors)]


def _matching(pattern: Path) -> list[Path]:
    """Visible files that match; ``**`` does not follow links, which may lead in a circle."""
    if pattern.name == "**":
        pattern /= "*"
    start = Path(pattern.anchor)
    try:
        found = start.glob(str(pattern.relative_to(start)))
        return sorted(
            path for path in found if os.path.isfile(path) and not _is_hidden(path, pattern)
        )
    except ValueError as error:
        raise AdbenchError(f"{shown(pattern)}: is no pattern of paths: {error}") from None


def _is_hidden(path: Path, pattern: Path) -> bool:
    """Whether a part of a path is hidden that the pattern does not name."""
    return any(part.startswith(".") and part not in pattern.parts for part in path.parts)


def _is_pattern(word: str) -> bool:
    """Whether a word names no file but files; a file may have a name with brackets."""
    return glob.has_magic(word) and not os.path.lexists(_path(word))


def _path(word: str) -> Path:
    return Path(word).expanduser() if word.startswith("~/") else Path(word)


def _refuse_output(word: str, outputs: Iterable[Path]) -> None:
    for folder in outputs:
        if lies_in(base(word), [folder]):
            raise AdbenchError(
                f"{shown(word)}: the folder {shown(folder)} is to be written to and holds these "
                "images; write to another one, so that none is overwritten"
            )
