"""The format in which features are kept: a ``.npy`` array that is followed by its checksum."""

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from adbench.system.files import remove_left, whole_file

log = logging.getLogger(__name__)

_CHECKSUM = struct.Struct("<I")  # crc32 of all that stands before it
_READ = 4 << 20  # bytes at once


@dataclass
class Writer:
    """Appends batches to an array in a file.

    It writes plainly: a full disk under a memory map would kill the process, here it is an OSError.
    """

    file: BinaryIO
    shape: tuple[int, ...]
    """Of the whole array."""
    crc: int = 0
    """Of what was written so far."""

    def __post_init__(self) -> None:
        header = io.BytesIO()
        fields = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, fields)
        self._append(header.getvalue())

    def write(self, array: np.ndarray) -> None:
        """Append the next rows; they are stored as float32."""
        self._append(np.ascontiguousarray(array, np.float32).data)

    def finish(self) -> None:
        """Append the checksum."""
        self.file.write(_CHECKSUM.pack(self.crc))

    def _append(self, content: bytes | memoryview) -> None:
        self.file.write(content)
        self.crc = zlib.crc32(content, self.crc)


@contextmanager
def writer(path: Path, shape: tuple[int, ...]) -> Iterator[Writer]:
    """A ``Writer`` of a file that appears whole when the block ends well, and else not at all.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    with whole_file(path) as file:
        made = Writer(file, shape)
        yield made
        made.finish()


def remove_left_features(cache: Path) -> None:
    """Remove the parts of features that killed processes left in a cache folder; they are large."""
    for folder in (cache / "features").glob("*"):
        remove_left(folder)


@dataclass
class Store:
    """Opens kept arrays.

    A file whose checksum was right is not read through again until it changes.
    """

    _verified: set[tuple[Path, int, int]] = field(default_factory=set, init=False, repr=False)

    def open(self, path: Path, rows: int) -> np.ndarray | None:
        """A kept float32 array, memory-mapped and copied where it is written to.

        Args:
            path: The file.
            rows: How many the array must have.

        Returns:
            None where there is no such file, where it cannot be read, or where it is damaged. A
            damaged file is removed. Both give a warning.
        """
        try:
            self._verify(path)
            array: np.ndarray = np.load(path, mmap_mode="c")  # torch wants memory that is writable
            if len(array) != rows:
                raise ValueError(f"it holds {len(array)} images, not {rows}")
            return array
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s) and is made again", path, error)
            return None
        except (ValueError, struct.error) as error:
            log.warning("%s is damaged (%s) and is made again", path, error)
            with suppress(OSError):
                path.unlink()
            return None

    def _verify(self, path: Path) -> None:
        """Raise ValueError or struct.error where a bit of the file is not what was written."""
        state = path.stat()
        seen = (path, state.st_size, state.st_mtime_ns)
        if seen in self._verified:
            return
        crc, left = 0, state.st_size - _CHECKSUM.size
        with path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(left, _READ))):
                crc = zlib.crc32(chunk, crc)
                left -= len(chunk)
            (stored,) = _CHECKSUM.unpack(file.read())
        if stored != crc:
            raise ValueError("its checksum does not match")
        self._verified.add(seen)
