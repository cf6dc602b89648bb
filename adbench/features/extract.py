"""Features of images, made once per content and streamed to memory-mapped files.

There is one file per layer, so that methods which read different layers share those they have in
common.
"""

import errno
import logging
import mmap
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from adbench.backbones.backbone import Backbone, OnDevice
from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.features.inputs import batches_of, place_of, size_of_first
from adbench.features.store import Store, Writer, writer
from adbench.kernels.finite import require_finite
from adbench.system import machine
from adbench.system.settings import digest
from adbench.system.stages import stage
from adbench.system.waiting import turn

log = logging.getLogger(__name__)

VERSION = 1
"""Of the code from a file to its features. A change of any number needs a new one."""
VECTORS = "vectors"
"""The name under which pooled vectors are kept."""

Batch = dict[str, Tensor]
"""Features of the same images by name, ``layer1``, ``layer2``, ..., ``vectors``, on any device."""
Arrays = dict[str, np.ndarray | Tensor]
"""The same for all images: mapped from files, or in memory."""


@dataclass
class Extractor:
    """Turns images into features through one backbone and one geometry."""

    backbone: Backbone
    geometry: Geometry
    folder: Path | None = None
    """The cache folder; without one, features stay in memory."""
    batch: int = 16
    """Images that the backbone is given at once."""
    device: str = "cpu"
    """Of ``Features.device``."""
    store: Store = field(default_factory=Store)
    """Opens kept features; extractors may share one."""

    def names(self, images: Images, layers: Sequence[int], vectors: bool) -> tuple[str, str]:
        """``Features.source`` and ``Features.key`` of these layers; no key without digests."""
        return self._names(self._content(images), array_names(layers, vectors))

    def missing(self, images: Images, layers: Sequence[int], vectors: bool) -> list[str]:
        """The names of the arrays of these features that no file of the cache folder holds."""
        names, content = array_names(layers, vectors), self._content(images)
        if self.folder is None or not content:
            return names
        folder = self.folder / "features" / content
        return [name for name in names if not (folder / f"{name}.npy").is_file()]

    def __call__(
        self, images: Images, layers: Sequence[int], vectors: bool
    ) -> tuple[Features, float | None]:
        """The features of images, kept on disk where the images are files with digests.

        Decoded arrays without digests are scored once. If they are one batch, their features stay
        on the device where the backbone computed them; all other features are on the CPU.

        Where a clock collects stages, ``preprocess`` and ``backbone`` are clocked.

        Args:
            images: Files or decoded arrays, at least one.
            layers: Pyramid levels, in any order.
            vectors: Whether the pooled last stage is wanted too.

        Returns:
            The features, and the seconds that making them took now: None where any of them were
            kept.

        Raises:
            DataError: An image that cannot be read, or images that end up with different sizes.
            AdbenchError: A layer that the backbone lacks, features that are not finite, or features
                that neither the disk nor the memory can hold.
        """
        names = array_names(layers, vectors)
        content = self._content(images)
        folder = self.folder / "features" / content if self.folder and content else None
        arrays, seconds = self._read_or_make(images, names, folder)
        bases: list[object] = [a.base for a in arrays.values() if isinstance(a, np.ndarray)]
        source, key = self._names(content, names)
        features = Features(
            maps=[torch.as_tensor(arrays[name]) for name in names if name != VECTORS],
            vectors=torch.as_tensor(arrays[VECTORS]) if vectors else None,
            size=self.geometry.size or size_of_first(images, self.geometry),
            source=source,
            key=key,
            device=self.device,
            files=[base for base in bases if isinstance(base, mmap.mmap)],
        )
        return features, seconds

    def _names(self, content: str, arrays: list[str]) -> tuple[str, str]:
        parts = {"backbone": self.backbone.identity(), "geometry": self.geometry.of_images()}
        key = digest({"content": content, "arrays": arrays}) if content else ""
        return digest({**parts, "arrays": arrays}), key

    def _content(self, images: Images) -> str:
        """Names all on which the features of every layer depend; empty for images without names."""
        if not images.digests:
            return ""
        network = self.backbone
        device = network.computes_on() if isinstance(network, OnDevice) else self.device
        parts = {
            "version": VERSION,
            "libraries": {"pillow": machine.version("pillow"), **self.backbone.versions()},
            "images": list(images.digests),
            "geometry": self.geometry.of_images(),
            "backbone": self.backbone.identity(),
            "device": device.split(":")[0],
        }
        return digest(parts)

    def _read_or_make(
        self, images: Images, names: list[str], folder: Path | None
    ) -> tuple[Arrays, float | None]:
        """The arrays ``names``, and the seconds of making them where all are made now."""
        kept = self._kept(folder, names, len(images))
        if folder is not None and len(kept) < len(names):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                # Another job may be making the same features: wait for it and take them.
                with turn(FileLock(folder / "lock"), "makes features"):
                    kept |= self._kept(folder, _without(names, kept), len(images))
                    missing = _without(names, kept)
                    seconds = self._stream(images, missing, folder) if missing else None
                made = self._kept(folder, missing, len(images))
                if len(made) == len(missing):
                    return {**kept, **made}, None if kept else seconds
            except OSError as error:
                log.warning(
                    "cannot keep features in %s (%s); they stay in memory for this run",
                    folder,
                    error,
                )
        if missing := _without(names, kept):
            whole, seconds = self._in_memory(images, missing)
            return {**kept, **whole}, None if kept else seconds
        return kept, None

    def _kept(self, folder: Path | None, names: list[str], n: int) -> Arrays:
        if folder is None:
            return {}
        found = {name: self.store.open(folder / f"{name}.npy", n) for name in names}
        return {name: array for name, array in found.items() if array is not None}

    def _stream(self, images: Images, names: list[str], folder: Path) -> float:
        """Write the arrays ``names`` batch by batch and return the seconds."""
        start = time.perf_counter()
        with ExitStack() as stack:
            writers: dict[str, Writer] = {}
            for batch in self._batches(images, names):
                if not writers:
                    needed, free = _bytes(batch, len(images)), shutil.disk_usage(folder).free
                    if needed > free:
                        raise OSError(
                            errno.ENOSPC,
                            f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free",
                        )
                    for name, array in batch.items():
                        shape = (len(images), *array.shape[1:])
                        file = folder / f"{name}.npy"
                        writers[name] = stack.enter_context(writer(file, shape))
                for name, array in batch.items():
                    writers[name].write(array.cpu().numpy())
        return time.perf_counter() - start

    def _in_memory(self, images: Images, names: list[str]) -> tuple[Batch, float]:
        """Make the arrays ``names``, with the seconds."""
        start, made, done = time.perf_counter(), Batch(), 0
        for batch in self._batches(images, names):
            if len(batch[names[0]]) == len(images):  # nothing to put together
                stay = not images.digests
                whole = {n: a if stay and self._there(a) else a.cpu() for n, a in batch.items()}
                return whole, time.perf_counter() - start
            if not made:
                needed, free = _bytes(batch, len(images)), machine.free_memory()
                if needed > free:
                    raise AdbenchError(
                        f"features of {len(images)} images take {needed / 1e9:.1f} GB, no cache "
                        f"folder holds them and {free / 1e9:.1f} GB of memory are free; set "
                        "cache=DIR to a folder with room"
                    )
                for name, array in batch.items():
                    made[name] = torch.empty(len(images), *array.shape[1:])
            size = len(batch[names[0]])
            for name, array in batch.items():
                made[name][done : done + size] = array
            done += size
        return made, time.perf_counter() - start

    def _there(self, array: Tensor) -> bool:
        """Whether an array is on a device such as methods may compute on."""
        return array.device.type == torch.device(self.device).type

    def _batches(self, images: Images, names: list[str]) -> Iterator[Batch]:
        """The arrays ``names`` of the images, ``batch`` images at a time."""
        layers = [int(name.removeprefix("layer")) for name in names if name != VECTORS]
        for inputs in batches_of(images, self.geometry, self.batch):
            with stage("backbone"):
                maps, pooled = self.backbone.extract(inputs, layers, VECTORS in names)
            batch = {f"layer{i}": m for i, m in zip(layers, maps, strict=True)}
            if pooled is not None:
                batch[VECTORS] = pooled
            for name, array in batch.items():
                require_finite(array, f"features {name} of {place_of(images)}")
            yield batch


def array_names(layers: Sequence[int], vectors: bool) -> list[str]:
    """The names of the arrays of some layers, finest first, and of the vectors."""
    return [f"layer{i}" for i in sorted(layers)] + [VECTORS] * vectors


def _without(names: list[str], kept: Arrays) -> list[str]:
    return [name for name in names if name not in kept]


def _bytes(batch: Batch, n: int) -> int:
    """Bytes of n images, given some of them."""
    return sum(array[0].nbytes * n for array in batch.values())
