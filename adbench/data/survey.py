"""What ``adbench data check`` says of a category, with every image and mask decoded to its end."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from adbench.data.content import digests
from adbench.data.images import Size, inspect_image, read_mask
from adbench.data.samples import Sample, Split
from adbench.errors import DataError
from adbench.system.parallel import threads


def survey(
    category: str,
    load: Callable[[str], Split],
    oddities: Sequence[str] = (),
    published: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """One row: the counts of a category and the problems found.

    Args:
        category: Its name.
        load: The dataset's own ``load``.
        oddities: Problems that the dataset itself found.
        published: Training and test images that the category is known to have.
    """
    problems = list(oddities)
    try:
        split = load(category)
    except DataError as error:
        split = Split([], [])
        problems.append(str(error))
    with ThreadPoolExecutor(threads()) as pool:
        looks = list(pool.map(_look, [*split.train, *split.test]))
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
    return [
        f"{s.name} is the same file as {trained[d].name}: the test is not blind"
        for d, s in tested
        if d in trained
    ]
