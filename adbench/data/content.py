"""Names for content: the sha256 of files, and the fingerprint of a category."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from adbench.data.listing import open_file, shown
from adbench.data.samples import Sample, Split
from adbench.errors import DataError
from adbench.system.parallel import threads
from adbench.system.settings import digest


def digests(paths: Sequence[Path]) -> list[str]:
    """The sha256 of each file's bytes, in order.

    Raises:
        DataError: A file that cannot be read.
    """
    with ThreadPoolExecutor(threads()) as pool:  # hashing lets other threads run
        return list(pool.map(_sha256, paths))


def digests_of_arrays(arrays: Sequence[np.ndarray]) -> list[str]:
    """The sha256 of each array's shape and values, in order."""
    shapes = (str((array.shape, str(array.dtype))).encode() for array in arrays)
    return [
        hashlib.sha256(shape + np.ascontiguousarray(array).tobytes()).hexdigest()
        for shape, array in zip(shapes, arrays, strict=True)
    ]


def fingerprint(
    split: Split, train: Sequence[str] | None = None, test: Sequence[str] | None = None
) -> str:
    """Names the content of a category: names, labels, images and masks, wherever they lie.

    Args:
        split: The category.
        train: The ``digests`` of its training images, where they are known.
        test: Those of its test images.

    Raises:
        DataError: A file that cannot be read.
    """
    return digest(
        {
            "train": _rows(split.train, train),
            "test": _rows(split.test, test),
        }
    )


def _rows(samples: Sequence[Sample], known: Sequence[str] | None) -> list[list[Any]]:
    images = digests([s.path for s in samples]) if known is None else known
    masks = iter(digests([mask for s in samples for mask in s.masks]))
    return [
        [s.name, s.defect, image, _together([next(masks) for _ in s.masks])]
        for s, image in zip(samples, images, strict=True)
    ]


def _together(masks: list[str]) -> Any:
    """The digests of the masks of an image; records hold the fingerprints of single ones."""
    return masks if len(masks) > 1 else next(iter(masks), None)


def _sha256(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
