"""What a threshold decides on the test images of a record, and which defects are missed most."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from adbench.evaluation.checks import OneClassError
from adbench.evaluation.ranks import image_ranks
from adbench.reports.page.model import DefectLine
from adbench.reports.page.scores import Scores
from adbench.reports.page.subjects import Subject
from adbench.results import raw
from adbench.results.judged import MISSED, Judged
from adbench.results.notes import random_weights
from adbench.results.raw import ImageScore
from adbench.results.record import Record

BEST = "the threshold with the largest F1 on these test images"

_KINDS = {
    "folds": "the run found it from folds of the normal training images",
    "file": "it is that of the saved detector",
    "train": "it is the largest score of the training images",
}


@dataclass(frozen=True)
class Decided:
    """The scores of a record with a threshold."""

    scores: list[ImageScore]
    judged: Judged
    words: str
    """What the threshold is."""


def decided(record: Record, scores: list[ImageScore]) -> Decided:
    """The decisions by the record's threshold, or by the one with the largest F1 where it has none.

    Args:
        record: The record.
        scores: Its raw scores.
    """
    value, kind = record.threshold.get("value"), record.threshold.get("kind", "train")
    if value is None and len({score.anomalous for score in scores}) < 2:
        return Decided(scores, by_best(scores), "normal or anomalous images are missing")
    if value is None:
        return Decided(
            scores,
            by_best(scores),
            f"{BEST}, because the run set none (threshold=folds chooses one from normal images)",
        )
    return Decided(scores, _judged(scores, float(value)), _KINDS.get(kind, kind))


def by_best(scores: Sequence[ImageScore]) -> Judged:
    """The decisions by the threshold with the largest F1; without any where a class is missing."""
    labels, values = raw.arrays(scores)
    try:
        _, least = image_ranks(labels, values).f1_max()
    except OneClassError:
        return _judged(scores, None)
    return _judged(scores, float(np.nextafter(least, -np.inf)))  # an image is called above it


def _judged(scores: Sequence[ImageScore], threshold: float | None) -> Judged:
    labels, values = raw.arrays(scores)
    return Judged(values, labels, threshold)


def defect_lines(settings: Sequence[Subject], scores: Scores) -> list[DefectLine]:
    """How many images of each defect type are missed, the type that is missed most first.

    Every setting decides by the threshold with its largest F1, so that settings without a threshold
    are compared too. Of several seeds the first counts, and random weights count not at all.

    Args:
        settings: Of ``subjects``.
        scores: Of ``scores_of``; a record without them does not count.
    """
    shares: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    images: dict[tuple[str, str, str], int] = {}
    for subject in settings:
        for category, records in subject.found.items():
            if random_weights(records[0]) or records[0].id not in scores:
                continue
            for defect, (missed, count) in _missed(scores[records[0].id]).items():
                key = subject.dataset, category, defect
                shares.setdefault(key, []).append((missed / count, subject.name))
                images[key] = count
    lines = [_line(*key, images[key], own) for key, own in shares.items()]
    return sorted(lines, key=lambda one: (-one.missed, one.dataset, one.category, one.defect))


def _missed(scores: Sequence[ImageScore]) -> dict[str, tuple[int, int]]:
    """Defect type -> images that are missed, and all of its images."""
    judged = by_best(scores)
    if judged.threshold is None:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for place, score in enumerate(scores):
        if score.anomalous:
            missed, count = found.get(score.defect, (0, 0))
            found[score.defect] = missed + (judged.verdict(place) == MISSED), count + 1
    return found


def _line(
    dataset: str, category: str, defect: str, images: int, shares: Sequence[tuple[float, str]]
) -> DefectLine:
    least = min(shares)
    equal = sum(share == least[0] for share, _ in shares)
    return DefectLine(
        dataset=dataset,
        category=category,
        defect=defect,
        images=images,
        settings=len(shares),
        missed=fmean(share for share, _ in shares),
        least=least[0],
        least_by=least[1] if equal == 1 else f"{equal} settings",
    )
