"""The threshold of a record: the largest training score, or the quantile of scores from folds."""

import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from adbench.bench.category import Category
from adbench.bench.folds import OutOfFold, out_of_fold
from adbench.bench.plan import Plan
from adbench.detectors.detector import Decides, Provider
from adbench.evaluation.ranks import NO_THRESHOLD
from adbench.evaluation.threshold import largest, promise, rates
from adbench.results import records
from adbench.results.records import FoldScore, Record, RecordError
from adbench.system.stages import stages

NO_MAPS = "the pixel threshold came after the anomaly maps were gone; existing=redo measures it"
"""Why a record that was completed by a threshold has no F1 at it."""


@dataclass(frozen=True)
class _Made:
    """What the folds gave for a job."""

    scores: OutOfFold
    seconds: float
    """Of all fits and scores."""
    members: int
    """How many jobs these served."""


class Folds:
    """The scores of training images by detectors that have not seen them, made on first need.

    Args:
        plans: Jobs that want a threshold from folds; their detectors are a family.
        category: The images.
        provider: Gives features.
    """

    def __init__(self, plans: Sequence[Plan], category: Category, provider: Provider) -> None:
        self._plans, self._category, self._provider = list(plans), category, provider
        self._made: dict[int, _Made] = {}
        self._failed: dict[int, Exception] = {}

    def complete(self, plan: Plan, record: Record) -> tuple[Record, list[FoldScore] | None]:
        """A record with the threshold from folds, and the scores behind it where they are new.

        Args:
            plan: One of the jobs.
            record: Its record on the category, as it lies in the folder of records.

        Raises:
            AdbenchError: The detector cannot be fitted on the images outside of a fold.
        """
        known = _known(plan, record)
        if known is None:
            record, scores = self._with_folds(plan, record)
        else:
            scores = known
        return _with_quantile(plan, record, scores), scores if known is None else None

    def _with_folds(self, plan: Plan, record: Record) -> tuple[Record, list[FoldScore]]:
        place = next(i for i, other in enumerate(self._plans) if other is plan)
        if place not in (*self._made, *self._failed):
            self._make([i for i, other in enumerate(self._plans) if _draw(other) == _draw(plan)])
        if place in self._failed:
            # Forgotten here: it will hold the frames that it is raised through, and their maps.
            raise self._failed.pop(place)
        made = self._made[place]
        found, reasons = made.scores, dict(record.reasons)
        reasons.pop("folds.seconds", None)
        if made.members > 1:
            reasons["folds.seconds"] = f"the fits of the folds served {made.members} settings"
        facts = {
            "wanted": plan.options.folds,
            "number": int(found.fold.max()) + 1,
            "seed": plan.options.seed,
            "seconds": made.seconds if made.members == 1 else None,
        }
        names = [self._category.split.train[place].name for place in found.places]
        highest = [None] * len(names) if found.highest is None else found.highest.tolist()
        columns = zip(names, found.fold.tolist(), found.images.tolist(), highest, strict=True)
        return replace(record, folds=facts, reasons=reasons), [FoldScore(*row) for row in columns]

    def _make(self, places: list[int]) -> None:
        """Score for jobs that want the same folds; what fails together is tried one by one."""
        detectors = [self._plans[place].detector for place in places]
        found: list[OutOfFold] = []
        try:
            with stages(detectors[0].wait) as clock:
                found = out_of_fold(
                    detectors, self._category.train, self._provider, *_draw(self._plans[places[0]])
                )
        except Exception as error:
            if len(places) == 1:
                _empty(error)
                self._failed[places[0]] = error
                return
        if not found:  # out here the error is gone, with the features that it held
            for place in places:
                self._make([place])
            return
        seconds = clock.get("fit", 0.0) + clock.get("score", 0.0)
        for place, scores in zip(places, found, strict=True):
            self._made[place] = _Made(scores, seconds, len(places))


def _empty(error: BaseException | None) -> None:
    """Let go of what an error and its causes hold, such as features; their tracebacks stay."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def of_training(plan: Plan, record: Record, normal: np.ndarray) -> Record:
    """A record with the largest score of its training images as threshold.

    Args:
        plan: The job.
        record: Its record, as it lies in the folder of records.
        normal: (n,) scores of the training images by the detector that was fitted on them.
    """
    value = largest(normal)
    found = {"kind": "train", "value": value, **_rates(plan, record, value)}
    return _with_threshold(record, found, None)


def of_file(plan: Plan, record: Record) -> Record:
    """A record with the threshold that a saved detector holds.

    Args:
        plan: The job, whose detector has one.
        record: Its record, as it lies in the folder of records.
    """
    found = _of_file(plan)
    return _with_threshold(record, found | _rates(plan, record, found["value"]), None)


def has(record: Record, plan: Plan) -> bool:
    """Whether a record holds the threshold that a job wants."""
    options, found = plan.options, record.threshold
    if plan.threshold == "file":
        own = _of_file(plan)
        return {name: found.get(name) for name in own} == own
    if options.threshold != "folds":
        return options.threshold in ("none", found.get("kind"))
    same = found.get("kind") == "folds" and found.get("alpha") == options.alpha
    return same and _of_draw(record) == _draw(plan)


def _of_file(plan: Plan) -> dict[str, Any]:
    assert isinstance(plan.detector, Decides)
    decision = plan.detector.decision()
    assert decision is not None
    return {"kind": "file", **asdict(decision)}


def _draw(plan: Plan) -> tuple[int, int]:
    """What the folds of a job follow from beside the images."""
    return plan.options.folds, plan.options.seed


def _of_draw(record: Record) -> tuple[int | None, int | None]:
    """The same of a record."""
    return record.folds.get("wanted"), record.folds.get("seed")


def _known(plan: Plan, record: Record) -> list[FoldScore] | None:
    """The scores that lie beside a record, where they are those of the wanted folds."""
    if _of_draw(record) == _draw(plan):
        with suppress(RecordError):  # a damaged file is made again
            return records.load_folds(plan.records, record)
    return None


def _with_quantile(plan: Plan, record: Record, scores: Sequence[FoldScore]) -> Record:
    """A record with the threshold for the false alarm rate that its plan asks for."""
    alpha = plan.options.alpha
    promised = promise(len(scores), alpha)
    found: dict[str, Any] = {
        "kind": "folds",
        "alpha": alpha,
        "value": promised.threshold(np.array([s.score for s in scores])),
        "pixel_value": None,
        "promised": promised.facts(),
    }
    highest = [s.highest for s in scores if s.highest is not None]
    if len(highest) == len(scores):
        found["pixel_value"] = promised.threshold(np.array(highest))
    if found["value"] is not None:
        found |= _rates(plan, record, found["value"])
    return _with_threshold(record, found, promised.reason)


def _with_threshold(record: Record, found: dict[str, Any], reason: str | None) -> Record:
    reasons = {name: why for name, why in record.reasons.items() if name != "threshold"}
    if reason is not None:
        reasons["threshold"] = reason
    metrics = record.metrics
    if found.get("pixel_value") != record.threshold.get("pixel_value"):
        metrics = {**metrics, "seg_f1": None}  # of another threshold
        if metrics.get("pixel_auroc") is not None:
            reasons["seg_f1"] = NO_THRESHOLD if found.get("pixel_value") is None else NO_MAPS
    return replace(record, threshold=found, reasons=reasons, metrics=metrics)


def _rates(plan: Plan, record: Record, value: float) -> dict[str, Any]:
    """The rates that a threshold gives on the test images, with their exact intervals."""
    rows = records.load_scores(plan.records, record)
    labels = np.array([row.anomalous for row in rows])
    both = rates(value, labels, np.array([row.score for row in rows]))
    found: dict[str, Any] = {}
    for name, rate in zip(("false_positive", "true_positive"), both, strict=True):
        found[f"{name}_rate"] = None if rate is None else rate.value
        found[f"{name}_interval"] = None if rate is None else [rate.low, rate.high]
    return found
