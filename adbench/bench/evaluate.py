"""From detectors that one fit serves to their records on a category."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adbench.bench import memory, thresholds
from adbench.bench.category import Category
from adbench.bench.latency import Times, time_per_image
from adbench.bench.passes import passes, room
from adbench.bench.plan import Plan
from adbench.bench.recording import Clocks, environment_of, new_record, not_alone, with_segmentation
from adbench.bench.session import Session
from adbench.bench.thresholds import Folds
from adbench.bench.work import Work
from adbench.detectors.detector import Detector, HasRivals
from adbench.detectors.family import Family
from adbench.errors import AdbenchError
from adbench.methods.method import Scores
from adbench.results import records
from adbench.results.heatmaps import save_heatmaps
from adbench.results.records import FoldScore, Record
from adbench.system.load import load
from adbench.system.progress import doing, progress
from adbench.system.stages import stages


def evaluate(
    works: Sequence[Work],
    category: Category,
    session: Session,
    done: Callable[[int, Record], None],
    fail: Callable[[int, Exception], None],
) -> None:
    """Fit detectors that share a fit, and save the record of each.

    What fails together is tried one by one, so that no setting fails another.

    Args:
        works: Jobs whose detectors are a family.
        category: The images.
        session: Gives features.
        done: Is told the place of a job and its record, once that is saved.
        fail: Is told the place of a job and why it has no record.
    """
    wanted = [work.plan for work in works if "folds" in work.lacks]
    folds, first = Folds(wanted, category, session), session.starts()
    if fitted := [work for work in works if work.lacks - {"folds"}]:
        _measure(fitted, category, session, folds, first, done, fail)
    for work in works:
        if work.known and work.lacks == {"folds"}:  # which needs no fit on all images
            try:
                record = _save(work, work.known, *folds.complete(work.plan, work.known))
            except Exception as error:
                fail(work.place, error)
            else:
                done(work.place, record)


def _measure(
    works: Sequence[Work],
    category: Category,
    session: Session,
    folds: Folds,
    first: bool,
    done: Callable[[int, Record], None],
    fail: Callable[[int, Exception], None],
) -> None:
    """``evaluate`` for detectors that must be fitted on all training images."""
    family = Family([work.plan.detector for work in works])
    evaluation = None
    try:
        with doing("fit"), stages(family.largest.wait) as fitting:
            # It reads features: they are made.
            _require_memory(family.largest, family.members, category, session)
            family.fit(category.train, session)
        evaluation = _Evaluation(works, category, session, family)
    except Exception as error:
        if len(works) == 1:
            fail(works[0].place, error)
            return
    if evaluation is None:  # out here the error is gone, with the tensors that it held
        del family
        for work in works:
            _measure([work], category, session, folds, False, done, fail)
        return
    for place, scored in evaluation.scores():
        work, record = works[place], None
        if isinstance(scored, Exception):
            fail(work.place, scored)
            del scored  # with the tensors of what failed
            continue
        try:
            for saved in _records(evaluation, place, scored, fitting, folds, first):
                record = saved  # what fails after this leaves it as it is now
        except Exception as error:
            fail(work.place, error)
        else:
            assert record is not None
            done(work.place, record)  # what fails here, such as a closed pipe, fails no job
        if record is not None and work.known is None:  # no later run would draw these pictures
            try:
                _draw(work.plan, category, family.members[place], scored[0], record)
            except Exception as error:
                fail(work.place, error)
        del scored  # with its maps, before the next ones are made


def _records(
    evaluation: "_Evaluation",
    place: int,
    scored: Any,
    fitting: dict[str, float],
    folds: Folds,
    first: bool,
) -> Iterator[Record]:
    """The saved record of a member, and again after each thing that its job wants beside metrics.

    Args:
        evaluation: Of the family.
        place: Of the member.
        scored: Its scores and their stages; None where it has a record.
        fitting: Seconds of the fit by stage.
        folds: Gives thresholds that need fits of their own.
        first: Whether the process has done nothing before.
    """
    work, category = evaluation.works[place], evaluation.category
    detector = evaluation.family.members[place]
    record = work.known
    if record is None:
        scores, scoring = scored
        clocks = Clocks(fitting, scoring)
        with doing("metrics"):
            record, rows, pairs = new_record(
                work.plan, work.identity, detector, scores, category, clocks
            )
        if not first or len(evaluation.works) > 1:
            record = not_alone(record, len(evaluation.works))
        folder = work.plan.records
        names = evaluation.session.names(folder)
        record = records.load(records.save(folder, record, rows, pairs, names))
    yield record
    if work.lacks & {"train", "file", "time"}:  # what fails here loses no metric
        record = _save(work, record, evaluation.completed(record, place))
        yield record
    if "folds" in work.lacks:
        record = _save(work, record, *folds.complete(work.plan, record))
        yield record
    if work.known is None and record.threshold.get("pixel_value") is not None:
        yield _save(work, record, with_segmentation(record, detector, scores, category))


def _save(
    work: Work, before: Record, record: Record, folds: Sequence[FoldScore] | None = None
) -> Record:
    """Write what a record was completed with, and give it back as it reads."""
    return records.load(records.update(work.plan.records, before, record, folds))


class _Evaluation:
    """A fitted family at work on a category; what several members need is computed for all."""

    def __init__(
        self, works: Sequence[Work], category: Category, session: Session, family: Family
    ) -> None:
        self.works, self.category, self.session, self.family = works, category, session, family
        self._normal: dict[int, np.ndarray] = {}
        self._rivals: dict[str, Detector] = {}

    def scores(self) -> Iterator[tuple[int, Any]]:
        """Place of each member, with its scores and their stages, or with what was raised.

        A pass over the images serves as many as ``passes`` tells, and a map is made when it is
        about to be measured. A member that has a record is not scored.
        """
        yield from self.family.errors.items()
        fitted = [i for i in range(len(self.works)) if i not in self.family.errors]
        wanted = [i for i in fitted if "metrics" in self.works[i].lacks]
        yield from ((i, None) for i in fitted if i not in wanted)
        for places in self._in_passes(wanted, len(self.category.test)):
            yield from self._scored(places)

    def completed(self, record: Record, place: int) -> Record:
        """A saved record with a threshold that needs no folds, and with the time per image."""
        work, detector = self.works[place], self.family.members[place]
        if "train" in work.lacks:
            with doing("threshold"):
                record = thresholds.of_training(work.plan, record, self._training_scores(place))
        if "file" in work.lacks:
            record = thresholds.of_file(work.plan, record)
        if "time" in work.lacks:
            paths, protocol = self.category.test.paths, work.plan.options.timing
            with doing("time"), progress("nothing"), load() as busy:  # drawing a bar takes time
                times = time_per_image(protocol, paths, detector)
                timed_rivals = self._timed_rivals(place)
            environment = environment_of(work.plan, work.identity)  # where time was taken
            record = replace(
                record,
                time=times,
                work={**record.work, **timed_rivals},
                environment={**environment, "load": busy},
            )
        reasons = {name: why for name, why in record.reasons.items() if name != "time"}
        return replace(record, reasons=reasons if record.time else record.reasons)

    def _scored(self, places: Sequence[int]) -> Iterator[tuple[int, Any]]:
        found, of_pass, made = self.family.score(self.category.test, places), None, 0
        left: Sequence[int] = ()
        try:
            for place in places:
                with doing("score"), stages(self.family.largest.wait) as clock:
                    scores = next(found)
                of_pass = clock if of_pass is None else of_pass  # the first one makes the pass
                yield place, (scores, of_pass)
                del scores  # with its maps, before the next ones are made
                made += 1
        except Exception as error:
            left = places[made:]
            if len(left) == 1:
                yield left[0], error
                return
        if left:  # out here the error is gone, with the tensors that it held
            half = len(left) // 2  # few passes part a member that fails from all others
            yield from self._scored(left[:half])
            yield from self._scored(left[half:])

    def _training_scores(self, place: int) -> np.ndarray:
        """(n,) scores of the training images by a detector that was fitted on them."""
        if place not in self._normal:
            lacking = [i for i, work in enumerate(self.works) if "train" in work.lacks]
            left = [i for i in lacking if i not in (*self.family.errors, *self._normal)]
            together = self._in_passes(left, len(self.category.train))
            places = next(places for places in together if place in places)
            found = None
            try:
                found = self.family.image_scores(self.category.train, places)
            except Exception:  # one of the others cannot be scored
                if len(places) == 1:
                    raise
            if found is None:  # out here the error is gone, with the tensors that it held
                places = [place]
                found = self.family.image_scores(self.category.train, places)
            self._normal |= {i: s.numpy() for i, s in zip(places, found, strict=True)}
        return self._normal[place]

    def _in_passes(self, places: Sequence[int], images: int) -> Iterator[Sequence[int]]:
        """The places, as one pass over so many images after the other serves them."""
        members, start = [self.family.members[place] for place in places], 0
        for size in passes(self.family.largest, members, images):
            yield places[start : start + size]
            start += size

    def _timed_rivals(self, place: int) -> dict[str, Any]:
        """Work and time of the detectors that the member at ``place`` names."""
        detector, plan = self.family.members[place], self.works[place].plan
        rivals = detector.rivals() if isinstance(detector, HasRivals) else {}
        timed: dict[str, Any] = {}
        for name, rival in rivals.items():
            try:
                key = str(rival.identity())
                if key not in self._rivals:
                    _require_memory(rival, [rival], self.category, self.session)
                    self._rivals[key] = rival.fit(self.category.train, self.session)
                fitted = self._rivals[key]
                times: Times = time_per_image(plan.options.timing, self.category.test.paths, fitted)
            except AdbenchError as error:  # such as a coreset that keeps no patch
                timed[name] = {"reason": str(error)}
                continue
            facts = fitted.facts()
            timed[name] = {
                "multiply_adds_per_patch": facts.get("multiply_adds"),
                "state_bytes": facts.get("state_bytes"),
                "time": times,
            }
        return {"rivals": timed} if timed else {}


def _draw(
    plan: Plan, category: Category, detector: Detector, scores: Scores, record: Record
) -> None:
    """Write the pictures of a record; they come after it, so that none of them loses a number."""
    if scores.maps is None or not plan.options.heatmaps:
        return
    folder = plan.results / "heatmaps" / plan.name / category.name
    save_heatmaps(
        folder,
        category.split.test,
        scores.images.numpy(),
        scores.maps.numpy(),
        detector.geometry,
        plan.options.heatmaps,
        record.threshold,
        plan.options.heatmaps_size,
    )


def _require_memory(
    detector: Detector, members: Sequence[Detector], category: Category, session: Session
) -> None:
    """Raise unless fitting, scoring and measuring a family fit into what is free."""
    test, pixels = len(category.test), category.pixels(detector.geometry)
    rest = room(detector, members, category.train, test, pixels, session)
    memory.require(detector, category.train, test, session, rest)
