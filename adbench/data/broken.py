"""Training images that are broken, and a set without them."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from adbench.data.images import read_image
from adbench.data.listing import LEAVE_OUT
from adbench.data.samples import Sample
from adbench.errors import DataError
from adbench.system.parallel import threads

log = logging.getLogger(__name__)

Broken = Literal["refuse", "skip"]
"""What is done about a broken training image."""


def without_broken(
    samples: Sequence[Sample], broken: Broken
) -> tuple[list[Sample], tuple[str, ...]]:
    """Training images, and the names of those that were left out, with a warning for each.

    Args:
        samples: The images.
        broken: refuse leaves none out and decodes none; skip leaves out what cannot be read.

    Raises:
        DataError: No image can be read.
    """
    if broken == "refuse":
        return list(samples), ()
    with ThreadPoolExecutor(threads()) as pool:
        causes = list(pool.map(_cause, samples))
    pairs = list(zip(samples, causes, strict=True))
    kept = [sample for sample, cause in pairs if not cause]
    if samples and not kept:
        raise DataError(f"none of {len(samples)} training images can be read: {causes[0]}")
    for cause in filter(None, causes):
        log.warning("left out of the training images: %s", cause)
    return kept, tuple(sample.name for sample, cause in pairs if cause)


def _cause(sample: Sample) -> str:
    """Why an image cannot be read; empty where it can."""
    try:
        read_image(sample.path)
    except DataError as error:
        return str(error).removesuffix(f"; {LEAVE_OUT}")
    return ""
