"""What folders hold: their visible entries, and which of them are images."""

from pathlib import Path

from adbench.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def is_image(path: Path) -> bool:
    """Whether the name of a file says that it is an image; upper case counts too."""
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
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from error
