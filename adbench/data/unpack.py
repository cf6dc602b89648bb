"""Archives of datasets, unpacked so that nothing is written outside of a folder.

Only regular files and folders are taken; datasets of images need no links. The limits are stated
below, so that an archive that was made to fill a disk is refused.
"""

import bz2
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from adbench.data.listing import shown
from adbench.errors import DataError
from adbench.system.progress import bar

MEMBERS = 200_000
"""Files and folders that an archive may have; the largest dataset that is read has some 22,000."""
GROWTH = 20
"""How many times larger than the archive its content may be. Images hardly shrink."""
SLACK = 100 * 2**20
"""Bytes that the content may have beside that."""
BLOCK = 512
"""Bytes. A tar ends in blocks of zeros of this size."""
KINDS = ".zip, .tar, .tar.gz, .tar.xz, .tar.bz2"

_ZIP = b"PK\3\4"
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
    *(gzip.BadGzipFile, EOFError, NotImplementedError),
    ValueError,  # a name with NUL or of no encoding, or a number that is none
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str
    """file, folder, or in words what else it is."""
    open: Callable[[], IO[bytes] | None]
    position: int
    """Bytes of the archive before its content."""


def unpack(archive: Path, folder: Path) -> int:
    """Write the files of an archive into a folder; how many they were.

    Args:
        archive: One of ``KINDS``, by its content and not by its name.
        folder: Empty.

    Raises:
        DataError: The archive is missing, none, cut off, damaged or encrypted; a member is a link
            or a device, has a name that leads out of the folder or that another has too; the
            content exceeds ``MEMBERS``, ``GROWTH`` or the free space. Files that were written
            before that stay in the folder.
    """
    try:
        size = archive.stat().st_size
        most = GROWTH * size + SLACK
        with ExitStack() as stack:
            shown_bar = stack.enter_context(bar(size, "unpack", "B"))
            files = 0
            for member in _members(archive, folder, most, stack):
                files += _write(archive, member, folder)
                shown_bar.update(max(0, member.position - shown_bar.n))
            return files
    except _DAMAGE as error:
        raise DataError(
            f"{shown(archive)}: is cut off or damaged ({str(error) or type(error).__name__}); "
            "download it again"
        ) from error
    except RuntimeError as error:  # what zipfile raises where a password is needed
        raise DataError(f"{shown(archive)}: cannot be unpacked: {error}") from error
    except OSError as error:
        place = f" {shown(error.filename)}:" if error.filename else ""
        why = error.strerror or error
        raise DataError(f"{shown(archive)}: cannot be unpacked:{place} {why}") from error


def _write(archive: Path, member: _Member, folder: Path) -> int:
    """Write a member; 1 where it is a file."""
    target = folder.joinpath(*_parts(archive, member.name))
    if member.kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
        return 0
    if member.kind != "file":
        raise DataError(
            f"{shown(archive)}: {shown(member.name)} is a {member.kind}; an archive of images "
            "holds files and folders alone. Unpack it by hand, if you trust it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        out = target.open("xb")
    except FileExistsError:
        raise DataError(f"{shown(archive)}: holds {shown(member.name)} twice") from None
    with out:
        content = member.open()
        if content is not None:
            shutil.copyfileobj(content, out, 2**20)
    return 1


def _parts(archive: Path, name: str) -> list[str]:
    """The parts of the path of a member below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise DataError(
            f"{shown(archive)}: {shown(name)} leads out of the folder; an archive that names such "
            "a path is not to be trusted"
        )
    return list(path.parts)


def _members(archive: Path, folder: Path, most: int, stack: ExitStack) -> Iterator[_Member]:
    """The members of an archive, with their number and total size bounded."""
    file = stack.enter_context(archive.open("rb"))
    head = file.read(BLOCK)
    file.seek(0)
    if head.startswith(_ZIP):
        members = _of_zip(stack.enter_context(zipfile.ZipFile(file)))
    else:
        opener = next((o for magic, o in _OPENERS.items() if head.startswith(magic)), None)
        if opener is None and not tarfile.is_tarfile(file):
            raise DataError(f"{shown(archive)}: is not an archive ({KINDS} are read)")
        file.seek(0)
        content = stack.enter_context(opener(file)) if opener else file
        members = _of_tar(_Bounded(archive, content, most), file)
    total = 0
    free = shutil.disk_usage(folder).free
    for count, member in enumerate(members, start=1):
        total += member.size
        if count > MEMBERS:
            raise DataError(
                f"{shown(archive)}: holds more than {MEMBERS:,} files; it is no dataset"
            )
        if total > most:
            raise _too_large(archive, most)
        if total > free:
            raise DataError(
                f"{shown(archive)}: needs more than the {free / 2**20:,.0f} MiB that are free; "
                "name another place by out=DIR"
            )
        yield member


def _of_zip(content: zipfile.ZipFile) -> Iterator[_Member]:
    for info in content.infolist():
        mode = info.external_attr >> 28  # the type of file in the mode of Unix
        kinds = {0: "file", 0o4: "folder", 0o10: "file", 0o12: "link"}
        kind = "folder" if info.is_dir() else kinds.get(mode, "device")
        yield _Member(
            *(info.filename, info.file_size, kind),
            *(lambda info=info: content.open(info), info.header_offset),
        )


def _of_tar(content: "_Bounded", file: IO[bytes]) -> Iterator[_Member]:
    with tarfile.open(fileobj=cast(IO[bytes], content), mode="r|") as tar:
        for info in tar:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "device"
            if info.issym() or info.islnk():
                kind = "link"
            yield _Member(
                *(info.name, info.size, kind),
                *(lambda info=info: tar.extractfile(info), file.tell()),
            )
        # A header that cannot be read ends the loop as the end does, without an error.
        while rest := tar.fileobj.read(2**20):
            if rest.strip(b"\0"):
                raise tarfile.ReadError("a header in the middle is damaged")
    if content.last != bytes(BLOCK):
        raise tarfile.ReadError("its end is missing")


class _Bounded:
    """A stream that may give so many bytes."""

    def __init__(self, archive: Path, stream: IO[bytes], most: int) -> None:
        self.archive, self.stream, self.most, self.given = archive, stream, most, 0
        self.last = b""
        """The last block that was read."""

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        self.given += len(found)
        self.last = (self.last + found)[-BLOCK:]
        if self.given > self.most:
            raise _too_large(self.archive, self.most)
        return found


def _too_large(archive: Path, most: int) -> DataError:
    return DataError(
        f"{shown(archive)}: unpacks to more than {most / 2**20:,.0f} MiB, which is {GROWTH} times "
        "its own size; archives of images do not. Unpack it by hand, if you trust it"
    )
