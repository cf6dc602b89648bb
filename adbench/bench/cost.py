"""What a bundle of jobs will take: hours by stage, bytes on disk and in memory."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from adbench.bench.bundles import Bundle
from adbench.bench.category import Category
from adbench.bench.existing import Existing, Kept
from adbench.bench.growth import NOTHING, Estimate
from adbench.bench.passes import passes, room
from adbench.bench.plan import Plan
from adbench.bench.rates import Rates
from adbench.bench.samples import Kind, Stage, kind_of
from adbench.bench.shapes import Shape, Shapes, Sized, input_size
from adbench.bench.work import Work
from adbench.detectors.detector import Detector, EstimatesMemory, HasRivals, Shares
from adbench.detectors.family import Family, families
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import ImpossibleError
from adbench.results.records import RecordError
from adbench.system.settings import class_name, settings_of

Content = Category | Sized


@dataclass
class Cost:
    """What a bundle of jobs takes.

    Attributes:
        category: Of the images.
        network: The names of the backbone and of the geometry, whose size is told where the name
            does not tell it.
        settings: How many jobs the bundle has.
        present: How many of them have a complete record.
        absent: How many of them have no record and get none, as time alone is wanted.
        images: How many images are to go through the backbone; 0 where their features are kept.
        times: How many bundles take the same, each on a category of its own.
        features: Bytes of features that are to be written into the cache.
        results: Bytes that records, scores and pictures take.
        memory: Bytes at the peak of the process; None where a detector makes no estimate.
        stages: Seconds by stage.
        sources: By stage, what the seconds come from, in words.
        unknown: Methods or networks of which nothing was measured, so that their seconds lack.
        impossible: Why jobs cannot run on these images.
    """

    category: str
    network: str
    settings: int
    present: int = 0
    absent: int = 0
    images: int = 0
    times: int = 1
    features: int = 0
    results: Estimate = NOTHING
    memory: Estimate | None = NOTHING
    stages: dict[str, Estimate] = field(default_factory=dict)
    sources: dict[str, set[str]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    impossible: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> Estimate:
        """Of all stages."""
        return total(self.stages.values())

    @property
    def disk(self) -> Estimate:
        """Bytes in the cache and among the results."""
        return Estimate.exactly(self.features) + self.results


def total(estimates: Iterable[Estimate]) -> Estimate:
    """The sum."""
    return sum(estimates, NOTHING)


def makespan(jobs: Iterable[tuple[float, int]], nodes: int) -> float:
    """Seconds until the last of some nodes is done, where the longest jobs go first.

    That is at most 4/3 of the best that is possible (Graham, SIAM J. Appl. Math. 17(2), 1969).

    Args:
        jobs: Seconds of a job, and how many such jobs there are.
        nodes: That take one job after another.
    """
    found = sorted(((s, times) for s, times in jobs if s), reverse=True)
    free = [0.0] * min(nodes, max(1, sum(times for _, times in found)))
    for seconds, left in found:
        longest = max(free)
        while left:
            if free[0] + seconds >= longest and left >= len(free):
                # From here on each node takes one of these jobs in turn.
                rounds, left = divmod(left, len(free))
                free = [taken + rounds * seconds for taken in free]
            else:
                heapq.heapreplace(free, free[0] + seconds)
                left -= 1
    return max(free)


class Costs:
    """Finds what bundles will take.

    Args:
        plans: All jobs, such as those of a session, which have one network between them.
        rates: What was measured.
        existing: What is there.
    """

    def __init__(self, plans: Sequence[Plan], rates: Rates, existing: Existing) -> None:
        self.plans, self.rates, self.existing = plans, rates, existing
        self.shapes = Shapes()

    def of(self, bundle: Bundle, content: Content) -> Cost:
        """The cost of a bundle on the images of its category."""
        cost = Cost(content.name, _network(self.plans[bundle.jobs[0]]), len(bundle.jobs))
        works: list[Work] = []
        for job in bundle.jobs:
            try:
                plan = self.plans[job]
                works.append(self.existing.work(job, plan, content.name, content.fingerprint))
            except RecordError as error:  # it fails alone, as it would in a run
                cost.impossible.append(str(error))
        lacking = [work for work in works if work.lacks]
        cost.absent = sum(work.plan.only_time and work.known is None for work in works)
        cost.present = len(works) - len(lacking) - cost.absent
        if isinstance(content, Sized):
            cost.times = content.times
        needed: dict[int, int | None] = {}
        for work in lacking:
            try:
                needed[work.place] = self._needed(work.plan.detector, content)
            except ImpossibleError as error:
                cost.impossible.append(str(error))
        if needed:
            possible = [work for work in works if work.place in needed or not work.lacks]
            _Bundle(cost, possible, content, needed, self).fill()
        return cost

    def _needed(self, detector: Detector, content: Content) -> int | None:
        """Bytes of the CPU that a detector holds at its peak; None where it makes no estimate."""
        if not isinstance(detector, EstimatesMemory):
            return None
        shapes = replace(self.shapes, device=getattr(detector, "device", "cpu"))
        return detector.memory(content.train, len(content.test), shapes) or None


@dataclass
class _Bundle:
    """The jobs of a bundle that lack something, on the images of a category."""

    cost: Cost
    all_works: list[Work]
    """Those with a complete record too: features are made for all layers that any of them reads."""
    content: Content
    needed: dict[int, int | None]
    """Bytes by the number of the job."""
    of: Costs

    @cached_property
    def works(self) -> list[Work]:
        """The jobs that lack something."""
        return [work for work in self.all_works if work.lacks]

    def fill(self) -> None:
        """Add up everything."""
        images = len(self.content.train) + len(self.content.test)
        self._add("start", self._fixed("seconds.per_start"))
        self._add("jobs", self._fixed("seconds.per_job") * len(self.all_works))
        self._add("images", self._fixed("seconds.per_image") * images)
        self._features()
        memory: list[Estimate | None] = []
        for places in families([work.plan.detector for work in self.works]):
            members = [self.works[place] for place in places]
            self._family(members)
            memory.append(self._memory(members))
        known = [estimate for estimate in memory if estimate is not None]
        self.cost.memory = max(known, key=lambda e: e.about) if len(known) == len(memory) else None
        self._results()

    def _features(self) -> None:
        """The images that go through the backbone, and the bytes of their features."""
        detector, plan = self.works[0].plan.detector, self.works[0].plan
        if not isinstance(detector, FeatureDetector):
            return
        reads = [
            w.plan.detector.reads() for w in self.all_works if isinstance(w.plan.detector, Shares)
        ]
        layers, vectors = sorted({i for some, _ in reads for i in some}), any(v for _, v in reads)
        kept, arrays = Kept(plan, detector), self._arrays(detector, layers, vectors)
        wanted = [self.content.train]
        if any("metrics" in work.lacks for work in self.works):
            wanted.append(self.content.test)
        for images in wanted:
            if missing := kept.missing(images, layers, vectors):
                self.cost.images += len(images)
                self.cost.features += 4 * len(images) * sum(math.prod(arrays[n]) for n in missing)
        if self.cost.images:
            self._measured("extract", self._kind(detector, "extract"), self.cost.images)

    def _family(self, members: Sequence[Work]) -> None:
        """The stages of jobs that one fit serves."""
        detector = Family([work.plan.detector for work in members]).largest
        train, test = len(self.content.train), len(self.content.test)
        by_lack = {
            name: [work for work in members if name in work.lacks]
            for name in ("metrics", "train", "folds", "time")
        }
        fit, score = self._kind(detector, "fit"), self._kind(detector, "score")
        if any(work.lacks - {"folds"} for work in members) and not self._selected(detector):
            self._measured("fit", fit, train)
        if scored := len(by_lack["metrics"]):
            count = self._passes(detector, by_lack["metrics"], test)
            self._measured("score", score, train, test, settings=scored, count=count)
            self._metrics(scored)
        if thresholds := len(by_lack["train"]):
            count = self._passes(detector, by_lack["train"], train)
            self._measured("threshold", score, train, train, settings=thresholds, count=count)
        if jobs := by_lack["folds"]:
            folds = min(jobs[0].plan.options.folds, train)
            rest = max(1, train - train // folds)
            self._measured("threshold", fit, rest, folds)
            self._measured("threshold", score, rest, train, len(jobs))
        if jobs := by_lack["time"]:
            self._time(detector, [work.plan for work in jobs])

    def _passes(self, largest: Detector, works: Sequence[Work], images: int) -> int:
        """In how many passes over so many images the jobs are scored."""
        if isinstance(largest, Shares):
            largest = largest.sized(self.content.train, self.of.shapes)
        return len(passes(largest, [work.plan.detector for work in works], images))

    def _time(self, detector: Detector, plans: Sequence[Plan]) -> None:
        """Time per image, of the detectors that the records show beside it too."""
        train = len(self.content.train)
        protocol = plans[0].options.timing
        images = protocol.warmup + protocol.repeats + 3 * protocol.batch
        rivals = detector.rivals() if isinstance(detector, HasRivals) else {}
        for _ in plans:
            self._measured("time", self._kind(detector, "time"), train, images)
            for rival in rivals.values():
                self._measured("time", self._kind(rival, "time"), train, images)
        for rival in rivals.values():
            self._measured("time", self._kind(rival, "fit"), train)

    def _metrics(self, count: int) -> None:
        """The metrics of so many settings, their records and their pictures."""
        geometry, test = self.works[0].plan.detector.geometry, len(self.content.test)
        pixels = self._fixed("seconds.metrics_per_megapixel") * (
            self.content.pixels(geometry) / 1e6
        )
        self._add("metrics", (pixels + self._fixed("seconds.per_record")) * count)
        self._add("pictures", self._fixed("seconds.per_picture") * (self._pictures(test) * count))

    def _results(self) -> None:
        """Bytes of records, raw scores and pictures."""
        new, test = sum("metrics" in work.lacks for work in self.works), len(self.content.test)
        fixed = self.of.rates.cost
        record = fixed("bytes.per_record") + fixed("bytes.per_score") * test
        record = record + fixed("bytes.per_pair") * test**2
        pictures = fixed("bytes.per_picture") * self._pictures(test)
        self.cost.results = (record + pictures) * new

    def _pictures(self, test: int) -> int:
        wanted = self.works[0].plan.options.heatmaps
        return test if wanted < 0 else min(wanted, test)

    def _memory(self, members: Sequence[Work]) -> Estimate | None:
        """Bytes at the peak of a family, with those of the program; None without an estimate."""
        needed = [self.needed[work.place] for work in members]
        most = max(value or 0 for value in needed)
        if None in needed:
            return None
        detectors = [work.plan.detector for work in members]
        largest, normal, test = Family(detectors).largest, self.content.train, self.content.test
        pixels = self.content.pixels(largest.geometry)
        rest = room(largest, detectors, normal, len(test), pixels, self.of.shapes)
        return self._fixed("bytes.program") + Estimate.exactly(most + rest)

    def _selected(self, detector: Detector) -> bool:
        """Whether an earlier run kept the selection that the fit would make."""
        if not isinstance(detector, FeatureDetector):
            return False
        return Kept(self.works[0].plan, detector).has_order(detector, self.content.train)

    def _measured(
        self,
        stage: str,
        kind: Kind,
        images: int,
        times: int = 1,
        settings: int = 1,
        count: int = 1,
    ) -> None:
        """Add measured seconds to a stage.

        Args:
            stage: Of the cost.
            kind: What is looked up.
            images: At which the seconds are taken.
            times: How many times the seconds come.
            settings: How many settings share the work.
            count: In how many passes, of which each does the shared work again.
        """
        found = self.of.rates.seconds(kind, images)
        if found is None:
            self.cost.unknown.add(kind.method or kind.network)
            return
        more = self.of.rates.more.get(kind.method)
        share = Estimate(1, 0, 1) if more is None else Estimate.exactly(more)
        factor = Estimate.exactly(count) + share * (settings - count)
        self._add(stage, found.seconds.times(factor) * times)
        whose = "this machine" if found.own else "shipped"
        self.cost.sources.setdefault(stage, set()).add(f"{whose}, {found.how}")

    def _fixed(self, name: str) -> Estimate:
        return self.of.rates.cost(name)

    def _add(self, stage: str, seconds: Estimate) -> None:
        self.cost.stages[stage] = self.cost.stages.get(stage, NOTHING) + seconds

    def _kind(self, detector: Detector, stage: Stage) -> Kind:
        if not isinstance(detector, FeatureDetector):
            return kind_of(detector.identity(), 0, stage)
        layers, vectors = detector.reads()
        shapes = self._arrays(detector, layers, vectors)
        parts = {  # its identity without the weights, which need not be here
            "geometry": settings_of(detector.geometry),
            "backbone": settings_of(detector.backbone),
            "method": {
                "class": class_name(type(detector.method)),
                "settings": {**settings_of(detector.method), "layers": layers},
            },
        }
        channels = sum(shape[0] for name, shape in shapes.items() if name != "vectors")
        return kind_of(parts, channels, stage)

    def _arrays(
        self, detector: FeatureDetector, layers: Sequence[int], vectors: bool
    ) -> dict[str, Shape]:
        size = input_size(detector.geometry, self.content.train)
        return self.of.shapes.of(detector.backbone, size, layers, vectors)


def _network(plan: Plan) -> str:
    """The backbone and the geometry of a plan in words."""
    named = [plan.labels[part] for part in ("backbone", "geometry") if part in plan.labels]
    size = plan.detector.geometry.size
    if size is not None and not any(str(max(size)) in name for name in named):
        named.append(f"{size[0]} x {size[1]} pixels")
    return " ".join(named)
