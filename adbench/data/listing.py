"""What folders hold: their visible entries, which of them are images, and how files are opened."""

import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

from adbench.errors import DataError
from adbench.system.printable import in_line

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""The suffixes of files that are read as images. Upper case counts too."""


LEAVE_OUT = "a broken training image can be left out by dataset.broken=skip"
"""What messages about broken files add."""


def is_image(path: Path) -> bool:
    """Whether the name of a file says that it is an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted; [] where there is no such folder.

    Hidden entries are left out: a Mac's ``._003.png`` is no image.

    Raises:
        DataError: The folder may not be read.
    """
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be listed: {error.strerror or error}") from error


def files_below(folder: Path, failed: list[DataError] | None = None) -> list[Path]:
    """All visible files below a folder, sorted.

    A folder is visited once, under its own path where links lead to it too, so that a link to a
    folder above ends.

    Args:
        folder: Where to look.
        failed: Takes the errors of folders that may not be read, in place of their files.

    Raises:
        DataError: A folder may not be read, and ``failed`` is None.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        place = folders.pop() if folders else links.pop(0)
        state = place.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        try:
            held = visible(place)
        except DataError as error:
            if failed is None:
                raise
            failed.append(error)
            continue
        for path in held:
            if not os.path.isdir(path):  # unlike Path.is_dir, False where it may not be looked at
                found.append(path)
            else:
                (links if path.is_symlink() else folders).append(path)
    return sorted(found)


def open_file(path: Path) -> BufferedReader:
    """Open a file that has content.

    Only regular files are opened, because a pipe may never answer and a device may never end.

    Raises:
        DataError: There is no such file, it is none, it is empty, or it may not be read.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            kind = "folder" if stat.S_ISDIR(state.st_mode) else "pipe, a socket or a device"
            raise DataError(f"{shown(path)}: is a {kind}, not an image file")
        if state.st_size == 0:
            raise DataError(f"{shown(path)}: the image file is empty (0 bytes); {LEAVE_OUT}")
        return path.open("rb")
    except FileNotFoundError:
        what = "the image file does not exist"
        if path.is_symlink():
            what = f"is a link to {shown(os.readlink(path))}, which does not exist"
        raise DataError(f"{shown(path)}: {what}") from None
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def shown(name: str | Path) -> str:
    """A name as messages print it: in one line, with an escape for what cannot be printed."""
    return in_line(str(name))


def some(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, and how many others there are."""
    named = [shown(name) for name in names]
    rest = len(named) - most
    return ", ".join(named[:most]) + (f" and {rest} more" if rest > 0 else "")


def no_images(files: Iterable[Path]) -> str:
    """What is wrong with a folder of such files: what it holds, and which suffixes are read."""
    names = [file.name for file in files]
    held = f"holds no images but {some(names)}" if names else "holds no images"
    return f"{held} (images end in {', '.join(IMAGE_SUFFIXES)})"
