"""What ``adbench data check`` says of a category, with every image and mask read as a run does."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from adbench.data.content import digests
from adbench.data.geometry import Geometry
from adbench.data.images import Size, inspect_image
from adbench.data.listing import shown, some
from adbench.data.samples import Sample, Split
from adbench.data.sizes import in_words, unequal
from adbench.data.truth import Look, left_out, look
from adbench.errors import AdbenchError, DataError
from adbench.system.parallel import threads


@dataclass(frozen=True)
class _Seen:
    sample: Sample
    size: Size
    mode: str
    look: Look


def survey(
    category: str,
    load: Callable[[str], Split],
    geometry: Geometry,
    oddities: Callable[[str], Sequence[str]] = lambda category: (),
    published: tuple[int, int] | int | None = None,
) -> dict[str, Any]:
    """One row: the counts of a category, the problems found, and notes about the geometry.

    Args:
        category: Its name.
        load: The dataset's own ``load``.
        geometry: Under which the images would be run.
        oddities: Finds problems that only the dataset can see.
        published: Training and test images that the category is known to have, or the number of
            both together where the user's settings divide them.
    """
    problems: list[str] = []
    split = Split([], [])
    try:
        problems += oddities(category)
        split = load(category)
    except DataError as error:
        problems.append(str(error))
    problems += [f"{name}: broken, and left out of training" for name in map(shown, split.skipped)]
    with ThreadPoolExecutor(threads()) as pool:
        looked = list(pool.map(lambda s: _inspect(s, geometry), [*split.train, *split.test]))
    problems += [found for found in looked if isinstance(found, str)]
    train, test = (
        [found for found in part if isinstance(found, _Seen)]
        for part in (looked[: len(split.train)], looked[len(split.train) :])
    )
    sizes = {seen.size for seen in (*train, *test)}
    lost = left_out([seen.look for seen in test])
    problems += [*filter(None, [unequal(sizes, geometry)]), *lost.blank()]
    problems += _shared([seen.sample for seen in train], [seen.sample for seen in test])
    counts = (len(split.train), len(split.test))
    same = (sum(counts) if isinstance(published, int) else counts) == published
    return {
        "category": category,
        "train": counts[0],
        "test_normal": sum(not s.anomalous for s in split.test),
        "test_anomalous": sum(s.anomalous for s in split.test),
        "masks": sum(len(s.masks) for s in split.test),
        "size": in_words(sizes),
        "mode": ", ".join(sorted({seen.mode for seen in (*train, *test)})),
        "area_left_out": f"{100 * lost.area:.0f}%",
        "marks_left_out": None if lost.marked is None else f"{100 * lost.marked:.0f}%",
        "complete": "unknown" if published is None else "yes" if same else "no",
        "problems": problems,
        "notes": [*lost.hidden(), *_fitted([*train, *test])],
    }


def _inspect(sample: Sample, geometry: Geometry) -> _Seen | str:
    """An image that a run can use with its mask, or what is wrong with either."""
    try:
        size, mode = inspect_image(sample.path)
        return _Seen(sample, size, mode, look(sample, geometry, size))
    except DataError as error:
        return str(error)
    except AdbenchError as error:  # of the geometry, which knows no names
        return f"{shown(sample.path)}: {error}"


def _fitted(seen: Sequence[_Seen]) -> list[str]:
    """That masks are brought to the size of their images, where any are."""
    names = [found.sample.name for found in seen if found.look.fitted]
    if not names:
        return []
    return [f"the mask has another size and is brought to that of its image: {some(names)}"]


def _shared(train: Sequence[Sample], test: Sequence[Sample]) -> list[str]:
    """Test images that were trained on."""
    trained = dict(zip(digests([s.path for s in train]), train, strict=True))
    tested = zip(digests([s.path for s in test]), test, strict=True)
    return [
        f"{shown(s.name)} is the same file as {shown(trained[d].name)}: the test is not blind"
        for d, s in tested
        if d in trained
    ]
