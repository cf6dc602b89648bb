"""What the jobs of a process share: the network, the features, and the orders of patches.

A session is made by the command that runs the jobs, and it knows all of them before the first one
starts. So features are made once for all layers that any job reads, whatever the order of the jobs.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adbench.backbones.backbone import Backbone
from adbench.bench.plan import Plan
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.detector import Detector, Shares
from adbench.detectors.direct import at_once
from adbench.errors import AdbenchError, DataError
from adbench.features.extract import Extractor
from adbench.features.features import Features
from adbench.features.orders import Orders, order_key
from adbench.features.store import Store, remove_left_features
from adbench.results.names import Names
from adbench.system import machine
from adbench.system.files import cache_folder
from adbench.system.parallel import threads
from adbench.system.processors import processors
from adbench.system.progress import Kind, doing
from adbench.system.settings import digest, settings_of
from adbench.system.stages import count

Reads = tuple[list[int], bool]
"""Layers, and whether the pooled vectors are read too."""


class Session:
    """The work that jobs do for one another, in one process and one after the other.

    Args:
        plans: All jobs of this process.
        shown: How progress is shown on standard error.
        fresh: Whether nothing was measured in this process before, so that its memory can be told.
        numbers: Of the jobs in their sweep; None: they are counted, where there are several.
        reads: What jobs of other processes read of the same features, which are made for them too.

    Attributes:
        plans: The jobs; detectors of a group have one network between them.
        shown: The same.
        numbers: By which messages name the jobs; empty for one job that is in no sweep.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        shown: Kind = "nothing",
        fresh: bool = True,
        numbers: Sequence[int] | None = None,
        reads: Reads | None = None,
    ) -> None:
        self.shown = shown
        several = range(len(plans)) if len(plans) > 1 else ()
        self.numbers = list(several if numbers is None else numbers)
        self.plans: list[Plan] = []
        self._reads: dict[str, Reads] = {}
        self._held: dict[tuple[str, ...], tuple[Features, list[int]]] = {}
        self._fresh = fresh
        self._threads = min(threads(), processors())
        self._store = Store()
        self._names: dict[Path, Names] = {}
        self._tidy: set[Path] = set()
        first: dict[str, Any] = {}
        for plan in plans:
            detector = plan.detector
            if isinstance(detector, Shares):
                group = detector.group()
                detector = detector.with_network_of(first.setdefault(group, detector))
                layers, vectors = detector.reads()
                known, pooled = self._reads.get(group, reads or ([], False))
                self._reads[group] = sorted({*known, *layers}), vectors or pooled
            self.plans.append(replace(plan, detector=detector))
        machine.reset_peak_memory()

    def groups(self) -> list[list[int]]:
        """Places of the jobs that follow one another: same images, network, threads and device."""
        found: dict[str, list[int]] = {}
        for place, plan in enumerate(self.plans):
            options = plan.options
            alike = [options.threads, options.device, options.batch, options.cache]
            images = [plan.dataset.name, settings_of(plan.dataset)]
            group = _group(plan.detector) or f"alone {place}"
            found.setdefault(digest([alike, images, group]), []).append(place)
        return list(found.values())

    def begin(self, places: Sequence[int]) -> None:
        """Set threads, device and folders as the jobs of a group want them."""
        plan = self.plans[places[0]]
        options = plan.options
        machine.set_threads(options.threads or self._threads)
        self._held.clear()
        self._folder = cache_folder(options.cache)
        self._orders = Orders(self._folder)
        self._batch, self._device = options.batch, machine.device_name(options.device)
        self._union = self._reads.get(_group(plan.detector), ([], False))

    def forget(self) -> None:
        """Let go of the features of the category that was at work."""
        self._held.clear()

    def names(self, folder: Path) -> Names:
        """The names of the records in a folder of results, read once for all jobs."""
        if folder not in self._names:
            self._names[folder] = Names(folder)
        return self._names[folder]

    def starts(self) -> bool:
        """Whether the work that starts now is the first in this process."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def features(
        self,
        backbone: Backbone,
        geometry: Geometry,
        images: Images,
        layers: Sequence[int],
        vectors: bool,
    ) -> Features:
        """Features of images; those of files are made once for all jobs that read them.

        The seconds count as the stage ``extract`` where files were read for this call alone.
        """
        batch = at_once(images, self._batch)
        extractor = Extractor(backbone, geometry, self._folder, batch, self._device, self._store)
        wanted = sorted(layers), vectors
        if not images.digests:
            return extractor(images, *wanted)[0]
        made, of = self._held.get(images.digests, (None, []))
        if made is None or not set(layers) <= set(of) or (vectors and made.vectors is None):
            with doing("features"):
                made, of = self._make(extractor, images, *wanted)
            self._held[images.digests] = made, of
        source, key = extractor.names(images, *wanted)
        return replace(
            made,
            maps=[made.maps[of.index(layer)] for layer in wanted[0]],
            vectors=made.vectors if vectors else None,
            source=source,
            key=key,
        )

    def _make(
        self, extractor: Extractor, images: Images, layers: list[int], vectors: bool
    ) -> tuple[Features, list[int]]:
        """Features of all layers that any job reads, and these layers."""
        if self._folder not in self._tidy:
            self._tidy.add(self._folder)
            remove_left_features(self._folder)
            self._orders.tidy()
        union = sorted({*self._union[0], *layers}), self._union[1] or vectors
        try:
            made, seconds = extractor(images, *union)
        except DataError:
            raise
        except AdbenchError:  # another job may want a layer that the network lacks
            if union == (layers, vectors):
                raise
            union = layers, vectors
            made, seconds = extractor(images, *union)
        if seconds is not None and union == (layers, vectors):
            count("extract", seconds)
        return made, union[0]

    def selecting(
        self, normal: Features, selection: dict[str, Any]
    ) -> AbstractContextManager[None]:
        """A block in which this process alone works on a selection; others wait for its picks."""
        return self._orders.turn(_key(normal, selection)) if normal.key else nullcontext()

    def read_order(self, normal: Features, selection: dict[str, Any]) -> np.ndarray | None:
        """The picks that were kept of this selection on these features, or None."""
        return self._orders.read(_key(normal, selection)) if normal.key else None

    def keep_order(self, normal: Features, selection: dict[str, Any], order: np.ndarray) -> None:
        """Keep picks on disk for the next fit."""
        if normal.key:
            self._orders.keep(_key(normal, selection), order)


def _group(detector: Detector) -> str:
    return detector.group() if isinstance(detector, Shares) else ""


def _key(normal: Features, selection: dict[str, Any]) -> dict[str, Any]:
    return order_key(normal.key, normal.device, selection)
