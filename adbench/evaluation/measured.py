"""The metrics of image scores, and the form in which the metrics of a test set are given."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from adbench.evaluation.checks import OneClassError, UndefinedError
from adbench.evaluation.metrics import of_level
from adbench.evaluation.pairs import PixelPairs
from adbench.evaluation.ranks import Ranks, image_ranks


@dataclass
class Measured:
    """What the scores of a test set came to."""

    values: dict[str, float | None] = field(default_factory=dict)
    """Every metric by name, as a fraction; None where it is undefined."""
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    """[low, high] of those that have an interval."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a metric is None."""
    problems: list[str] = field(default_factory=list)
    """Why all metrics of a level are None."""
    pairs: PixelPairs | None = None
    """What pixel intervals follow from; None where pixels were not compared."""

    def add(
        self,
        level: Literal["image", "pixel"],
        ranks: Ranks,
        *evidence: np.ndarray | PixelPairs,
    ) -> None:
        """Add the metrics of a level.

        Args:
            level: Which.
            ranks: What the metrics follow from.
            evidence: What their intervals follow from.
        """
        for metric in of_level(level):
            try:
                self.values[metric.name] = metric.value(ranks)
            except UndefinedError as error:
                self.values[metric.name] = None
                self.reasons[metric.name] = str(error)
                continue
            if metric.noise is not None:
                self.intervals[metric.name] = list(metric.noise.interval(*evidence))

    def undefined(self, level: Literal["image", "pixel"], why: str) -> None:
        """Say why the metrics of a level have no value."""
        self.problems.append(why)
        for metric in of_level(level):
            self.values[metric.name] = None
            self.reasons[metric.name] = why


def measure_images(labels: np.ndarray, scores: np.ndarray) -> Measured:
    """The metrics of image scores alone.

    Args:
        labels: (n,) true or 1 for anomalous images.
        scores: (n,) float, higher is more anomalous.

    Raises:
        AdbenchError: Shapes that differ, labels other than 0 and 1, NaN or infinity.
    """
    measured = Measured()
    try:
        ranks = image_ranks(labels, scores)
    except OneClassError as error:
        measured.undefined("image", str(error))
        return measured
    measured.add("image", ranks, labels, scores)
    return measured
