"""The record of a fitted detector's scores on a category."""

import datetime
from dataclasses import dataclass, replace
from typing import Any

from adbench.bench.category import Category
from adbench.bench.origins import origins
from adbench.bench.plan import Plan
from adbench.data.listing import some
from adbench.detectors.detector import Detector
from adbench.detectors.opening import Opened
from adbench.evaluation.measure import measure
from adbench.evaluation.pairs import PixelPairs
from adbench.evaluation.segmentation import called_pixels
from adbench.methods.method import Scores
from adbench.results.records import ImageScore, Record
from adbench.system import machine

KEPT = {
    "extract": "features that an earlier run kept were taken over, or made for other settings too",
    "fit": "a selection of patches that an earlier run kept was taken over",
}
"""Why seconds that were measured are not those of the whole step."""


@dataclass(frozen=True)
class Clocks:
    """Seconds by stage, as ``adbench.system.stages`` collects them."""

    fitting: dict[str, float]
    scoring: dict[str, float]

    def seconds(self) -> dict[str, float | None]:
        """Of making all features, of the fit and of scoring; None where a part was taken over."""
        extract = [clock.get("extract") for clock in (self.fitting, self.scoring)]
        return {
            "extract": None if None in extract else sum(s for s in extract if s is not None),
            "fit": self.fitting.get("fit"),
            "score": self.scoring.get("score"),
        }


def new_record(
    plan: Plan,
    identity: dict[str, Any],
    detector: Detector,
    scores: Scores,
    category: Category,
    clocks: Clocks,
) -> tuple[Record, list[ImageScore], PixelPairs | None]:
    """Measure scores; gives the record, the raw score of every image and the pixel counts.

    Args:
        plan: What was run.
        identity: Names the experiment.
        detector: Fitted.
        scores: Of the category's test images.
        category: The images with their ground truth.
        clocks: Of the fit and of the scoring.
    """
    why = "the method gives no anomaly maps" if scores.maps is None else category.why_no_masks()
    masks = maps = None
    if scores.maps is not None and why is None:
        shape = (int(scores.maps.shape[1]), int(scores.maps.shape[2]))
        masks = category.masks(detector.geometry, shape)
        maps = category.maps(detector.geometry, scores.maps.numpy())
    measured = measure(category.labels, scores.images.numpy(), masks, maps, why)
    left_out = category.left_out(detector.geometry, with_masks=masks is not None)
    facts, seconds = detector.facts(), clocks.seconds()
    work = facts.get("multiply_adds")
    kept = KEPT | ({"fit": facts["fitted"]} if "fitted" in facts else {})
    no_time = "timing.enabled=false"
    if plan.timing_refused:  # other jobs take their part of the machine
        no_time = f"{plan.timing_refused}; timing=only without a launcher adds it"
        why_not = f"{plan.timing_refused}; existing=redo without a launcher measures all again"
        seconds, kept = dict.fromkeys(seconds), dict.fromkeys(seconds, why_not)
    record = Record(
        identity=identity,
        labels=plan.labels,
        weights=facts.get("weights", {}),
        channels=facts.get("channels", {}),
        counts=category.counts,
        left_out=left_out.facts(),
        metrics=measured.values,
        intervals=measured.intervals,
        reasons={
            **measured.reasons,
            **{f"seconds.{n}": why for n, why in kept.items() if seconds[n] is None},
            **({} if plan.wants_time else {"time": no_time}),
        },
        seconds=seconds,
        memory={"peak": machine.peak_memory(), "state": facts.get("state_bytes")},
        work={} if work is None else {"multiply_adds_per_patch": work},
        environment=environment_of(plan, identity),
        notes=[
            *facts.get("notes", []),
            *category.notes(left_out.unmarked),
            *_learned_from(detector, category),
        ],
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    rows = [
        ImageScore(sample.name, sample.defect, sample.anomalous, score)
        for sample, score in zip(category.split.test, scores.images.tolist(), strict=True)
    ]
    return record, rows, measured.pairs


def with_segmentation(
    record: Record, detector: Detector, scores: Scores, category: Category
) -> Record:
    """A record whose threshold has come, with the F1 of the pixels at it.

    Args:
        record: New, with its threshold.
        detector: Fitted.
        scores: Of the category's test images.
        category: The images with their ground truth.
    """
    threshold = record.threshold.get("pixel_value")
    if threshold is None or scores.maps is None or record.metrics.get("pixel_auroc") is None:
        return record
    shape = (int(scores.maps.shape[1]), int(scores.maps.shape[2]))
    masks = category.masks(detector.geometry, shape)
    maps = category.maps(detector.geometry, scores.maps.numpy())
    f1 = called_pixels(masks, maps, threshold).f1
    reasons = {name: why for name, why in record.reasons.items() if name != "seg_f1"}
    return replace(record, metrics={**record.metrics, "seg_f1": f1}, reasons=reasons)


def _learned_from(detector: Detector, category: Category) -> list[str]:
    """What a record says where a saved detector was fitted on some of the test images."""
    learned = set(detector.header.training.sha256) if isinstance(detector, Opened) else set()
    pairs = zip(category.split.test, category.test.digests, strict=True)
    names = [sample.name for sample, sha256 in pairs if sha256 in learned]
    if not names:
        return []
    return [
        f"the detector was fitted on {len(names)} of the {len(category.test)} test images, so that "
        f"its numbers are better here than on new images: {some(names)}"
    ]


def environment_of(plan: Plan, identity: dict[str, Any]) -> dict[str, Any]:
    """Machine and versions, those of the packages among them that the parts come from."""
    found = machine.describe(plan.options.device)
    return {**found, "versions": found["versions"] | origins(plan.dataset, identity)}


def not_alone(record: Record, members: int) -> Record:
    """The record without the numbers that other work in the process bears on, with the reasons."""
    seconds, reasons = dict(record.seconds), dict(record.reasons)
    if members > 1:
        for name in ("fit", "score"):
            seconds[name] = None
            reasons[f"seconds.{name}"] = (
                f"one fit and one pass over the images served {members} settings"
            )
    reasons["memory.peak"] = "measured after other work in the same process; run it alone"
    return replace(record, seconds=seconds, memory={**record.memory, "peak": None}, reasons=reasons)
