"""The list of metrics: exact, on raw scores, over every threshold, ties merged.

Columns, tables, comparisons and claims follow from this list: a new metric is one entry here and
its test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adbench.evaluation.intervals import Difference, Interval, auroc_interval, paired_auroc
from adbench.evaluation.jackknife import paired_pixel_auroc, pixel_auroc_interval
from adbench.evaluation.ranks import Ranks


@dataclass(frozen=True)
class Noise:
    """How far a metric can be trusted on the images that were drawn.

    The functions of an image metric take (n,) labels and (n,) scores, those of a pixel metric
    ``PixelPairs``; ``paired`` takes the scores or pairs of two settings on the same images.
    """

    method: str
    """Its name, as it stands in tables."""
    interval: Callable[..., Interval]
    """The 95% interval of the metric."""
    paired: Callable[..., Difference]
    """The test of no difference between two settings."""


@dataclass(frozen=True)
class Metric:
    """One number that scores and ground truth give; higher is better."""

    name: str
    """As it stands in records and in the CSV."""
    title: str
    """As it stands in tables."""
    unit: Literal["fraction"]
    """Of the number in a record; tables show percents."""
    level: Literal["image", "pixel"]
    value: Callable[[Ranks], float]
    """May raise UndefinedError, with the reason for the record."""
    about: str
    """One line of explanation."""
    noise: Noise | None = None
    """Its interval and test, where it has them."""


METRICS = (
    Metric(
        "image_auroc",
        "image AUROC",
        "fraction",
        "image",
        Ranks.auroc,
        "area under the ROC curve of the image scores, a fraction like all metrics here",
        Noise("Newcombe, with the variance of DeLong", auroc_interval, paired_auroc),
    ),
    Metric(
        "image_ap",
        "image AP",
        "fraction",
        "image",
        Ranks.average_precision,
        "average precision of the image scores",
    ),
    Metric(
        "image_f1_max",
        "image F1-max",
        "fraction",
        "image",
        lambda ranks: ranks.f1_max()[0],
        "largest F1 of the image scores over all thresholds",
    ),
    Metric(
        "pixel_auroc",
        "pixel AUROC",
        "fraction",
        "pixel",
        Ranks.auroc,
        "area under the ROC curve of all test pixels",
        Noise("jackknife over images", pixel_auroc_interval, paired_pixel_auroc),
    ),
    Metric(
        "pixel_ap",
        "pixel AP",
        "fraction",
        "pixel",
        Ranks.average_precision,
        "average precision of all test pixels",
    ),
    Metric(
        "pixel_f1_max",
        "pixel F1-max",
        "fraction",
        "pixel",
        lambda ranks: ranks.f1_max()[0],
        "largest F1 of all test pixels",
    ),
    Metric(
        "aupro",
        "AUPRO",
        "fraction",
        "pixel",
        Ranks.region_overlap,
        "per-region overlap, averaged to a false positive rate of 0.3",
    ),
    Metric(
        "aupro_05",
        "AUPRO 0.05",
        "fraction",
        "pixel",
        lambda ranks: ranks.region_overlap(0.05),
        "per-region overlap, averaged to a false positive rate of 0.05, as for MVTec AD 2",
    ),
    Metric(
        "aupimo",
        "AUPIMO",
        "fraction",
        "pixel",
        Ranks.image_overlap,
        "per-image overlap, averaged over the logarithm of the false positive rate of normal "
        "images from 1e-5 to 1e-4",
    ),
    Metric(
        "seg_f1",
        "SegF1",
        "fraction",
        "pixel",
        Ranks.f1_at_threshold,
        "F1 of all test pixels at the record's pixel threshold, which normal images alone gave",
    ),
)
"""Every metric that a run measures, in the order of the columns."""


def of_level(level: Literal["image", "pixel"]) -> tuple[Metric, ...]:
    """The metrics of image scores, or those of pixels."""
    return tuple(metric for metric in METRICS if metric.level == level)
