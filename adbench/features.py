"""Features of images, made once per content and streamed to memory-mapped files.

One file per layer, so that methods which read different layers share what they have in common. A file is an ordinary
``.npy`` array followed by its checksum and the seconds that making it took.
"""

import errno
import functools
import io
import logging
import mmap
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from adbench import machine
from adbench.build import settings_of
from adbench.core import AdbenchError, Backbone, DataError, Features, Sample, require_finite
from adbench.files import whole_file
from adbench.images import Geometry, read_image
from adbench.memo import Memo, digest

log = logging.getLogger(__name__)

_TRAILER = struct.Struct("<Id")  # crc32 of all before it, seconds
VECTORS = "vectors"
Batch = dict[str, np.ndarray]


@dataclass
class Extractor:
    """Turns samples into features through one backbone and one geometry, with a cache folder behind it."""

    backbone: Backbone
    geometry: Geometry
    cache: Path | None = None
    batch: int = 16
    progress: bool = False
    device: str = "cpu"
    """Of ``Features.device``."""
    seconds: float = field(default=0.0, init=False)
    """What making the features of the last call cost, now or when they were made."""

    def source(self, layers: Sequence[int], vectors: bool) -> dict[str, Any]:
        """All that the features depend on besides the images."""
        geometry = {k: v for k, v in settings_of(self.geometry).items() if k in ("resize", "crop", "interpolation")}
        return {"backbone": self.backbone.identity(), "geometry": geometry, "layers": list(layers), "vectors": vectors}

    def __call__(self, samples: Sequence[Sample], digests: Sequence[str], method: Any) -> Features:
        """The features that ``method`` reads of these samples.

        Args:
            samples: The images.
            digests: sha256 of each image file.
            method: Says which ``layers`` it reads and whether it ``needs_vectors``.

        Raises:
            DataError: An image that cannot be read, or images that end up with different sizes.
            AdbenchError: A layer that the backbone lacks, or features that are not finite.
        """
        layers, vectors = sorted(method.layers), bool(method.needs_vectors)
        source = self.source(layers, vectors)
        content = {"images": list(digests), "geometry": source["geometry"], "backbone": source["backbone"]}
        key = digest(content)
        names = [f"layer{i}" for i in layers] + [VECTORS] * vectors
        folder = self.cache / "features" / key if self.cache else None
        arrays = self._recall(folder, names, len(samples)) if folder else None
        if arrays is None:
            arrays = self._make(samples, layers, vectors, folder)
        size = self.geometry.size or _size_of(samples[0], self.geometry)
        bases: list[object] = [array.base for array in arrays.values()]
        return Features(
            maps=[torch.from_numpy(arrays[f"layer{i}"]) for i in layers],
            vectors=torch.from_numpy(arrays[VECTORS]) if vectors else None,
            size=size,
            key=digest({"content": key, "layers": names}),
            source=digest(source),
            memo=Memo(self.cache / "derived" if self.cache else None),
            progress=self.progress,
            device=self.device,
            files=[base for base in bases if isinstance(base, mmap.mmap)],
        )

    def _recall(self, folder: Path, names: list[str], n: int) -> Batch | None:
        found = {name: _open(folder / f"{name}.npy", n) for name in names}
        if any(entry is None for entry in found.values()):
            return None
        entries = {name: entry for name, entry in found.items() if entry is not None}
        self.seconds = max(seconds for _, seconds in entries.values())
        return {name: array for name, (array, _) in entries.items()}

    def _make(self, samples: Sequence[Sample], layers: list[int], vectors: bool, folder: Path | None) -> Batch:
        names = [f"layer{i}" for i in layers] + [VECTORS] * vectors
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / "lock"):  # another job may be making the same features: wait and take them
                    if (arrays := self._recall(folder, names, len(samples))) is not None:
                        return arrays
                    self._stream_to(folder, samples, layers, vectors)
                    if (arrays := self._recall(folder, names, len(samples))) is not None:
                        return arrays
            except OSError as error:
                log.warning("cannot keep features in %s (%s); they stay in memory for this run", folder, error)
        start = time.perf_counter()
        made: Batch = {}
        done = 0
        for batch in self._batches(samples, layers, vectors):
            if not made:
                needed, there = _size_of_all(batch, len(samples)), machine.free_memory()
                if needed > there:
                    raise AdbenchError(
                        f"features of {len(samples)} images take {needed / 1e9:.1f} GB, no cache folder holds them and "
                        f"{there / 1e9:.1f} GB of memory are free; set cache=DIR to a folder with room"
                    )
                made = {name: np.empty((len(samples), *a.shape[1:]), np.float32) for name, a in batch.items()}
            size = len(batch[names[0]])
            for name, array in batch.items():
                made[name][done : done + size] = array
            done += size
        self.seconds = time.perf_counter() - start
        return made

    def _stream_to(self, folder: Path, samples: Sequence[Sample], layers: list[int], vectors: bool) -> None:
        start = time.perf_counter()
        with ExitStack() as stack:
            writers: dict[str, _Writer] = {}
            for batch in self._batches(samples, layers, vectors):
                needed, there = _size_of_all(batch, len(samples)), shutil.disk_usage(folder).free
                if not writers and needed > there:
                    raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB are needed and {there / 1e9:.1f} GB free")
                for name, array in batch.items():
                    if name not in writers:
                        file = stack.enter_context(whole_file(folder / f"{name}.npy"))
                        writers[name] = _Writer(file, (len(samples), *array.shape[1:]))
                    writers[name].write(array)
            for writer in writers.values():
                writer.finish(time.perf_counter() - start)

    def _batches(self, samples: Sequence[Sample], layers: list[int], vectors: bool) -> Iterator[Batch]:
        for images in self._images(samples):
            maps, pooled = self.backbone.extract(images, layers, vectors)
            batch = {f"layer{i}": m.numpy() for i, m in zip(layers, maps, strict=True)}
            if vectors and pooled is not None:
                batch[VECTORS] = pooled.numpy()
            for name, array in batch.items():
                require_finite(array, f"features {name} of {samples[0].path.parent}")
            yield batch

    def _images(self, samples: Sequence[Sample]) -> Iterator[Tensor]:
        """(b, 3, H, W) uint8 batches; the next ones are decoded while the backbone works on the last."""
        starts = range(0, len(samples), self.batch)
        bar = tqdm(
            total=len(samples), desc="features", unit="img", leave=False, disable=None if self.progress else True
        )
        with ThreadPoolExecutor() as pool, bar:
            queue: list[list[Future[np.ndarray]]] = []
            sizes: set[tuple[int, ...]] = set()
            for ahead in range(len(starts) + 2):
                if ahead < len(starts):
                    chunk = samples[starts[ahead] : starts[ahead] + self.batch]
                    queue.append([pool.submit(_prepare, s, self.geometry) for s in chunk])
                if ahead < 2:
                    continue
                arrays = [future.result() for future in queue.pop(0)]
                sizes.update(a.shape[:2] for a in arrays)
                if len(sizes) > 1:
                    raise DataError(
                        f"images of {samples[0].path.parent} end up with sizes {sorted(sizes)} under {self.geometry}; "
                        "set geometry.crop, or geometry.resize=[height,width]"
                    )
                yield torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
                bar.update(len(arrays))


def _prepare(sample: Sample, geometry: Geometry) -> np.ndarray:
    try:
        return geometry.image(read_image(sample.path))
    except DataError:
        raise
    except AdbenchError as error:
        raise DataError(f"{sample.path}: {error}") from error


def _size_of(sample: Sample, geometry: Geometry) -> tuple[int, int]:
    height, width = _prepare(sample, geometry).shape[:2]
    return height, width


def _size_of_all(batch: Batch, n: int) -> int:
    """Bytes of n images, given some of them."""
    return sum(array[0].nbytes * n for array in batch.values())


@dataclass
class _Writer:
    """Appends batches to a ``.npy`` file; plain writes, because a full disk under a memory map kills the process."""

    file: BinaryIO
    shape: tuple[int, ...]
    crc: int = 0

    def __post_init__(self) -> None:
        self._append(_header(self.shape))

    def write(self, array: np.ndarray) -> None:
        self._append(np.ascontiguousarray(array, np.float32).data)

    def finish(self, seconds: float) -> None:
        self.file.write(_TRAILER.pack(self.crc, seconds))

    def _append(self, content: bytes | memoryview) -> None:
        self.file.write(content)
        self.crc = zlib.crc32(content, self.crc)


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _open(path: Path, n: int) -> tuple[np.ndarray, float] | None:
    """The memory-mapped array and its seconds; None where there is none or it is damaged."""
    try:
        state = path.stat()
        seconds = _checked(path, state.st_size, state.st_mtime_ns)
        array = np.load(path, mmap_mode="c")  # copy on write: torch wants writable memory, the file stays as it is
        if len(array) != n:
            raise ValueError(f"holds {len(array)} images, not {n}")
        return array, seconds
    except FileNotFoundError:
        return None
    except (OSError, ValueError, struct.error) as error:
        log.warning("%s is damaged (%s) and is made again", path, error)
        return None


@functools.lru_cache(maxsize=256)
def _checked(path: Path, size: int, changed: int) -> float:
    """The seconds that making a file took, once its checksum was found right; the jobs of a sweep read it once."""
    crc, trailer = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            chunk = trailer + chunk
            chunk, trailer = chunk[: -_TRAILER.size], chunk[-_TRAILER.size :]
            crc = zlib.crc32(chunk, crc)
    stored, seconds = _TRAILER.unpack(trailer)
    if stored != crc:
        raise ValueError("its checksum does not match")
    return float(seconds)
