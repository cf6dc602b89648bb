"""Datasets, one file each, and what all of them need: finding images, naming their content, looking them over."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from adbench.core import DataError, Sample, Split
from adbench.images import Size, inspect_image, read_mask
from adbench.memo import digest

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def is_image(path: Path) -> bool:
    """Whether the name of a file says that it is an image; upper case counts too."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden entries (a Mac's ``._003.png`` is no image); [] where there is none.

    Raises:
        DataError: The folder may not be read.
    """
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def digests(paths: Sequence[Path]) -> list[str]:
    """The sha256 of each file's bytes, in order. Raises DataError naming a file that cannot be read."""
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return list(pool.map(_sha256, paths))


def fingerprint(split: Split) -> str:
    """Names the content of a category: names, labels, images and masks, wherever they lie.

    Raises:
        DataError: A file that cannot be read.
    """
    samples = [*split.train, *split.test]
    masks = [s.mask for s in samples if s.mask is not None]
    images, truths = digests([s.path for s in samples]), iter(digests(masks))
    rows = [
        [s.name, s.defect, image, next(truths) if s.mask is not None else None]
        for s, image in zip(samples, images, strict=True)
    ]
    return digest({"train": rows[: len(split.train)], "test": rows[len(split.train) :]})


def survey(
    category: str,
    load: Callable[[str], Split],
    oddities: Sequence[str] = (),
    published: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """One row of ``adbench data check``: what a category holds, with every image and mask decoded to its end.

    Args:
        category: Its name.
        load: The dataset's own ``load``.
        oddities: What the dataset found besides.
        published: Training and test images that the category is known to have.
    """
    problems = list(oddities)
    try:
        split = load(category)
    except DataError as error:
        split = Split([], [])
        problems.append(str(error))
    samples = [*split.train, *split.test]
    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(_look, samples))
    problems += [look for look in looks if isinstance(look, str)]
    problems += _shared(split)
    seen = [look for look in looks if not isinstance(look, str)]
    counts = (len(split.train), len(split.test))
    return {
        "category": category,
        "train": counts[0],
        "test_normal": sum(not s.anomalous for s in split.test),
        "test_anomalous": sum(s.anomalous for s in split.test),
        "masks": sum(s.mask is not None for s in split.test),
        "size": ", ".join(f"{h}x{w}" for h, w in sorted({size for size, _ in seen})),
        "mode": ", ".join(sorted({mode for _, mode in seen})),
        "complete": "unknown" if published is None else "yes" if counts == published else "no",
        "problems": problems,
    }


def _sha256(path: Path) -> str:
    try:
        state = path.stat()
        return _content(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=2**16)
def _content(path: Path, size: int, changed: int) -> str:
    """Read once by all jobs of a sweep, for as long as size and time of change stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _look(sample: Sample) -> tuple[Size, str] | str:
    """Size and mode of an image whose mask fits, or what is wrong with either."""
    try:
        size, mode = inspect_image(sample.path)
        if sample.mask is not None and not read_mask(sample.mask, size).any():
            return f"{sample.mask}: the mask of an anomalous image marks no pixel"
    except DataError as error:
        return str(error)
    return size, mode


def _shared(split: Split) -> list[str]:
    """Test images that were trained on."""
    trained = dict(zip(digests([s.path for s in split.train]), split.train, strict=True))
    tested = zip(digests([s.path for s in split.test]), split.test, strict=True)
    return [f"{s.name} is the same file as {trained[d].name}: the test is not blind" for d, s in tested if d in trained]
