"""Images as a program gives them: a folder, a pattern, paths, or decoded arrays."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from adbench.data.sources import find
from adbench.errors import AdbenchError, DataError

Image = str | os.PathLike[str] | np.ndarray
"""The path of an image file, or an (h, w, 3) uint8 RGB or (h, w) uint8 grey array."""
Given = str | os.PathLike[str] | Iterable[Image]
"""A folder or a pattern with all images below it, or images one by one."""


def one(image: Image) -> Path | np.ndarray:
    """An image as the path of its file, or as an (h, w, 3) uint8 array.

    Raises:
        AdbenchError: It is neither a path nor an array of an image.
    """
    return path_of(image) if isinstance(image, str | os.PathLike) else rgb(image)


def path_of(name: str | os.PathLike[str]) -> Path:
    """The path with that name; ``~/`` is the home folder, and a file may be called ``~1.png``.

    Raises:
        AdbenchError: The name is empty; ``Path`` takes that for the folder in which the program is.
    """
    if not os.fspath(name):
        raise AdbenchError("the name of an image or of a folder is empty; '.' is the folder here")
    return Path(name).expanduser() if os.fspath(name).startswith("~/") else Path(name)


def each(images: Given) -> Iterable[Image]:
    """Images one by one; those of a folder or of a pattern sorted by their paths.

    Raises:
        DataError: A folder or a pattern without images, or a folder that may not be read.
        AdbenchError: A single image in place of several, or what is no sequence of images.
    """
    if isinstance(images, str | os.PathLike):
        sources = find([os.fspath(path_of(images))])
        for source in sources:
            if source.error is not None:
                raise DataError(source.error)
        return [source.path for source in sources]
    if isinstance(images, np.ndarray) and images.ndim < 4:
        raise AdbenchError(
            f"several images are an (n, h, w, 3) array or a list of (h, w, 3) arrays; got an array "
            f"of {images.shape}"
        )
    if not isinstance(images, Iterable):
        raise AdbenchError(
            "images are a folder, a pattern, or a list of paths or arrays; got "
            f"a {type(images).__name__}"
        )
    return images


def all_of(images: Given) -> tuple[list[Path], list[np.ndarray]]:
    """The paths of images, or their arrays; one of the two lists is empty.

    Raises:
        AdbenchError: There is no image, or what ``each`` and ``one`` refuse, or there are both
            paths and arrays.
    """
    paths, arrays = list[Path](), list[np.ndarray]()
    for number, image in enumerate(_numbered(images)):
        (paths if isinstance(image, Path) else arrays).append(image)  # type: ignore[arg-type]
        if paths and arrays:
            raise AdbenchError(
                f"images are all paths or all arrays; image {number} differs from those before it"
            )
    if not paths and not arrays:
        raise DataError("no images were given: the list is empty")
    return paths, arrays


def _numbered(images: Given) -> Iterator[Path | np.ndarray]:
    for number, image in enumerate(each(images)):
        try:
            yield one(image)
        except AdbenchError as error:
            raise AdbenchError(f"image {number}: {error}") from None


def rgb(image: np.ndarray) -> np.ndarray:
    """An (h, w, 3) uint8 array as it was given, or grey (h, w) repeated over three channels.

    Raises:
        AdbenchError: Another type or shape.
    """
    if (mode := getattr(image, "mode", "RGB")) not in ("RGB", "L"):
        raise AdbenchError(f"a picture of Pillow in the mode {mode}; give image.convert('RGB')")
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise AdbenchError(
            f"an image is an (h, w, 3) uint8 RGB array or an (h, w) grey one; got {array.shape} "
            f"{array.dtype}"
        )
    if not array.size:
        raise AdbenchError(f"the image is empty: its shape is {array.shape}")
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
