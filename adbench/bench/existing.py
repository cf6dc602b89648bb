"""What a run would find: the records, the features and the selections that are there already."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adbench.bench.plan import Plan
from adbench.bench.rates import Place
from adbench.bench.shapes import Shapes
from adbench.bench.work import Work
from adbench.data.samples import Images
from adbench.detectors.feature_detector import FeatureDetector
from adbench.errors import AdbenchError, ImpossibleError
from adbench.features.extract import Extractor, array_names
from adbench.features.orders import Orders, order_key
from adbench.methods.method import Selects
from adbench.results.names import Names, id_of, json_names
from adbench.results.records import Record, RecordError, load
from adbench.system.files import cache_folder
from adbench.system.machine import describe, device_name
from adbench.system.parallel import threads as threads_of_torch
from adbench.system.processors import processors

log = logging.getLogger(__name__)

READ = 500
"""Records, the newest ones, that rates are read from: more would take long and tell no more."""


class Existing:
    """Looks for what is there. It changes nothing, and reads no folder of records twice."""

    def __init__(self) -> None:
        self._names: dict[Path, Names] = {}

    def work(self, place: int, plan: Plan, category: str, fingerprint: str) -> Work:
        """A job on a category, and what it lacks there.

        Where its weights are not here, there is no name under which it could have a record.
        """
        try:
            identity = plan.identity(category, fingerprint) if fingerprint else {}
        except AdbenchError as error:
            log.warning("%s", error)
            identity = {}
        path = self._of(plan.records).path(identity, plan.labels) if identity else None
        known = load(path) if path and plan.options.existing == "skip" else None
        return Work(place, plan, identity, known)

    def records(self, folder: Path) -> list[Record]:
        """The newest records of a folder that can be read; rates are taken from them."""
        paths = [folder / name for name in json_names(folder) if id_of(name)]
        found = []
        times = {}
        for path in paths:
            with suppress(OSError):  # another process may remove one meanwhile
                times[path] = path.stat().st_mtime
        for path in sorted(times, key=lambda p: -times[p])[:READ]:
            try:
                found.append(load(path))
            except RecordError as error:
                log.info("%s", error)
        return found

    def _of(self, folder: Path) -> Names:
        if folder not in self._names:
            self._names[folder] = Names(folder)
        return self._names[folder]


@dataclass(frozen=True)
class Kept:
    """The kept features and selections of some images through a network, in the cache of a plan."""

    plan: Plan
    detector: FeatureDetector

    @property
    def folder(self) -> Path:
        """The cache."""
        return cache_folder(self.plan.options.cache)

    def missing(self, images: Images, layers: Sequence[int], vectors: bool) -> list[str]:
        """The names of the arrays of the features that are to be made."""
        names = array_names(layers, vectors)
        if not images.digests or not (self.folder / "features").is_dir():
            return names
        try:
            return self._extractor.missing(images, layers, vectors)
        except AdbenchError:  # the weights, by which features are named, are not here
            return names

    def has_order(self, detector: FeatureDetector, images: Images) -> bool:
        """Whether all picks of a detector's fit are kept."""
        method = detector.method
        if not isinstance(method, Selects) or not images.digests:
            return False
        selection = method.selection()
        if selection is None or not (self.folder / "orders").is_dir():
            return False
        try:
            key = self._extractor.names(images, *detector.reads())[1]
        except AdbenchError:
            return False
        order = Orders(self.folder).read(order_key(key, self._device, selection))
        if order is None:
            return False
        layers, vectors = detector.reads()
        sizes = Shapes().features(detector.backbone, detector.geometry, images, layers, vectors)
        try:
            return len(order) >= method.picks(sizes)
        except ImpossibleError:  # which the run tells
            return False

    @property
    def _device(self) -> str:
        return device_name(self.plan.options.device)

    @property
    def _extractor(self) -> Extractor:
        detector = self.detector
        return Extractor(detector.backbone, detector.geometry, self.folder, device=self._device)


def here(plan: Plan) -> Place:
    """Where a plan would be run."""
    found = describe(plan.options.device)
    threads = plan.options.threads or min(threads_of_torch(), processors())
    return Place(str(found["processor"]), str(found["device"]), threads)
