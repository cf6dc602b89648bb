"""Archives of datasets: they become folders whole, or leave nothing behind."""

import gzip
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from commands import adbench

from adbench.data import prepare as preparing
from adbench.data import unpack as limits
from adbench.data.archive import Archive
from adbench.data.prepare import prepare
from adbench.data.unpack import unpack
from adbench.errors import AdbenchError, DataError
from adbench.system.files import scratch_folder

KNOWN = Archive("It is free.", "*/train/good")
CONTENT = {f"part/train/good/{n:03}.png": os.urandom(2000) for n in range(3)}


def of_tar(path: Path, content: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def of_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def made(path: Path, content: dict[str, bytes]) -> Path:
    """An archive of the kind that the name says."""
    if path.suffix == ".zip":
        return of_zip(path, content)
    return of_tar(path, content, {".tar": "w", ".gz": "w:gz", ".xz": "w:xz"}[path.suffix])


def run(tmp_path: Path, archive: Path, known: Archive = KNOWN, sha256: str | None = None):
    return prepare(known, archive, tmp_path / "data/parts", sha256, str(tmp_path / "cache"))


def held(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(tmp_path: Path, archive: Path, message: str) -> None:
    """That an archive is refused with this message, and nothing is left behind."""
    with pytest.raises(DataError, match=message):
        run(tmp_path, archive)
    assert not list((tmp_path / "data").glob("*"))
    assert not list((tmp_path / "data").glob(".*"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("wrapped", ["", "MPDD/", "download/MPDD/"])
def test_an_archive_becomes_the_folder_of_its_dataset(tmp_path, name, wrapped):
    archive = made(tmp_path / name, {wrapped + path: data for path, data in CONTENT.items()})
    first, second = run(tmp_path, archive)
    assert held(tmp_path / "data/parts") == CONTENT
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert first == (f"{archive} has sha256 {digest}; no published one is known to compare with")
    assert second == f"3 files were unpacked into {tmp_path}/data/parts"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["parts"]


def test_a_second_time_nothing_is_done(tmp_path):
    archive = made(tmp_path / "a.zip", CONTENT)
    run(tmp_path, archive)
    archive.unlink()
    assert run(tmp_path, archive) == [
        f"{tmp_path}/data/parts is there already; nothing was unpacked"
    ]
    assert held(tmp_path / "data/parts") == CONTENT


@pytest.mark.fault("archive", shows="kept")
def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "data").mkdir()
    script = (
        "import os, pathlib, sys; from adbench.system.files import scratch_folder\n"
        "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'content').mkdir(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "data/parts"], check=True)
    assert len(list((tmp_path / "data").glob(".parts.*/content"))) == 1
    run(tmp_path, made(tmp_path / "a.zip", CONTENT))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["parts"]


@pytest.mark.fault("archive", shows="kept")
def test_what_another_process_unpacks_to_the_same_place_at_the_same_time_stays(
    tmp_path, monkeypatch
):
    archive = made(tmp_path / "a.zip", CONTENT)

    def with_another(*words):
        monkeypatch.setattr(preparing, "unpack", unpack)
        # It has another cache, and so it does not wait for the lock.
        prepare(KNOWN, archive, tmp_path / "data/parts", None, str(tmp_path / "other cache"))
        return unpack(*words)

    monkeypatch.setattr(preparing, "unpack", with_another)
    (tmp_path / "data").mkdir()
    with scratch_folder(tmp_path / "data/parts") as unpacking:
        _, told = run(tmp_path, archive)
        assert unpacking.is_dir()
    assert told == f"{tmp_path}/data/parts was made by another process meanwhile and stays as it is"
    assert held(tmp_path / "data/parts") == CONTENT
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["parts"]


def test_the_sha256_is_compared_and_may_be_given(tmp_path):
    archive = made(tmp_path / "a.zip", CONTENT)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    known = Archive("", KNOWN.holds, "0" * 64)
    with pytest.raises(DataError, match=f"has sha256 {digest}, and 0+ is expected.*=take|sha256="):
        run(tmp_path, archive, known)
    assert not (tmp_path / "data").exists()
    told, _ = run(tmp_path, archive, known, digest.upper())
    assert told == f"{archive} has the expected sha256 {digest}"


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.fault("archive", shows="error")
def test_every_cut_of_an_archive_is_refused(tmp_path, name):
    whole = made(tmp_path / name, CONTENT).read_bytes()
    cut = tmp_path / f"cut_{name}"
    for length in (0, 1, 100, 512, 1024, len(whole) // 3, len(whole) // 2, len(whole) - 30):
        if name == "a.tar" and length == len(whole) - 30:
            continue  # what is left out is padding behind the end
        cut.write_bytes(whole[:length])
        refused(tmp_path, cut, "not an archive|cut off or damaged")


@pytest.mark.fault("archive", shows="error")
def test_a_tar_that_ends_between_two_members_is_cut_off(tmp_path):
    whole = made(tmp_path / "a.tar", CONTENT).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: 512 + 2048])  # a header, and 2000 bytes padded to blocks
    refused(tmp_path, cut, "cut off or damaged")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.fault("archive", shows="error")
def test_damage_is_refused(tmp_path, name):
    archive = made(tmp_path / name, CONTENT)
    data = bytearray(archive.read_bytes())
    middle = 512 + 2048 + 148 if name == "a.tar" else len(data) // 2  # a checksum of a header
    data[middle : middle + 8] = bytes(8)
    archive.write_bytes(bytes(data))
    refused(tmp_path, archive, "cut off or damaged")


@pytest.mark.fault("archive", shows="error")
def test_a_name_with_nul_is_refused(tmp_path):
    info = tarfile.TarInfo("part")
    info.pax_headers = {"path": "part\0odd"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    refused(tmp_path, tmp_path / "a.tar", r"a\.tar: is cut off or damaged \(embedded null")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(600)])
@pytest.mark.fault("archive", shows="error")
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    refused(tmp_path, path, r"is not an archive.*\(\.zip, \.tar, .* are read\)")


@pytest.mark.fault("archive", shows="error")
def test_a_missing_archive_and_a_file_in_the_place_are_named(tmp_path):
    refused(tmp_path, tmp_path / "none.zip", "the archive cannot be read: No such file")
    refused(tmp_path, tmp_path, "the archive cannot be read: Is a directory")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/parts").write_text("")
    with pytest.raises(AdbenchError, match="is a file; name a folder"):
        run(tmp_path, made(tmp_path / "a.zip", CONTENT))


@pytest.mark.fault("archive", shows="error")
def test_another_dataset_is_refused(tmp_path):
    archive = made(tmp_path / "a.zip", {"cats/1.png": b"x"})
    refused(tmp_path, archive, r"holds no folder with \*/train/good, but cats; is it another")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize(
    "name", ["/etc/evil", "../evil", "part/../../evil", "..\\evil", "C:\\evil", "\\evil"]
)
@pytest.mark.fault("archive", shows="inert")
def test_names_that_lead_out_are_refused(tmp_path, suffix, name):
    archive = made(tmp_path / f"a{suffix}", {**CONTENT, name: b"x"})
    refused(tmp_path, archive, "leads out of the folder")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["../../../etc/passwd", "part/train/good/000.png"])
@pytest.mark.fault("archive", shows="inert")
def test_links_and_devices_are_refused(tmp_path, kind, target):
    archive = made(tmp_path / "a.tar", CONTENT)
    with tarfile.open(archive, "a") as file:
        info = tarfile.TarInfo("part/odd")
        info.type, info.linkname = kind, target
        file.addfile(info)
    what = "device" if kind == tarfile.FIFOTYPE else "link"
    refused(tmp_path, archive, f"part/odd is a {what}; an archive of images holds files and")


@pytest.mark.fault("archive", shows="inert")
def test_links_in_a_zip_and_encrypted_ones_are_refused(tmp_path):
    info = zipfile.ZipInfo("part/odd")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path, tmp_path / "a.zip", "part/odd is a link")
    data = bytearray(of_zip(tmp_path / "b.zip", {"a": b"x"}).read_bytes())
    for place in (6, data.index(b"PK\1\2") + 8):
        data[place] |= 1  # the flag of encryption
    (tmp_path / "b.zip").write_bytes(bytes(data))
    refused(tmp_path, tmp_path / "b.zip", "cannot be unpacked: .*password")


@pytest.mark.fault("archive", shows="error")
def test_a_name_that_two_members_have_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in (b"a", b"b"):
            info = tarfile.TarInfo("part/train/good/000.png")
            info.size = 1
            archive.addfile(info, io.BytesIO(data))
    refused(tmp_path, tmp_path / "a.tar", r"holds part/train/good/000\.png twice")


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
@pytest.mark.fault("archive", shows="error")
def test_bombs_are_refused(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(limits, "SLACK", 2**20)
    zeros = {"part/train/good/000.png": bytes(8 * 2**20)}
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(*zeros.popitem())
    else:
        of_tar(archive, zeros, f"w:{kind}")
    refused(tmp_path, archive, "unpacks to more than 1 MiB, which is 20 times its own size")


@pytest.mark.fault("archive", shows="error")
def test_a_header_that_is_a_bomb_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SLACK", 2**20)
    info = tarfile.TarInfo("comment")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    header = info.tobuf() + bytes(8 * 2**20)
    for name, packed in (("a.gz", gzip.compress(header)), ("a.xz", lzma.compress(header))):
        (tmp_path / name).write_bytes(packed)
        refused(tmp_path, tmp_path / name, "unpacks to more than 1 MiB")


@pytest.mark.fault("archive", shows="error")
def test_too_many_files_and_too_little_space_are_refused(tmp_path, monkeypatch):
    archive = made(tmp_path / "a.zip", CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MEMBERS", 2)
        refused(tmp_path, archive, "holds more than 2 files")
    usage = shutil.disk_usage(tmp_path)
    small = archive.stat().st_size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=small))
    refused(tmp_path, archive, r"has 0 MiB free, and the archive alone has 0; name another place")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=3000))
    with pytest.raises(DataError, match=r"needs more than the 0 MiB that are free"):
        unpack(archive, tmp_path / "other")


def test_the_command_prepares_checks_and_repeats(tmp_path, make_category):
    make_category(tmp_path / "source", "tubes")
    shutil.make_archive(str(tmp_path / "MPDD"), "zip", tmp_path / "source")
    words = ["data", "prepare", "mpdd", "MPDD.zip", "out=it"]
    done = adbench(tmp_path, *words)
    assert f"13 files were unpacked into {tmp_path}/it" in done.stdout
    assert "no problems found" in done.stdout
    assert (tmp_path / "it/tubes/train/good/000.png").is_file()
    again = adbench(tmp_path, *words)
    assert f"{tmp_path}/it is there already; nothing was unpacked" in again.stdout
    assert "no problems found" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mpdd"], "give a dataset and its archive"),
        (["demo", "a.zip"], "demo has no archive; nothing needs to be prepared"),
        (["mpdd", "a.zip", "b.zip"], "b.zip: is no key=value; one archive is unpacked"),
        (["mpdd", "a.zip", "out="], "out= must be followed by a value"),
        (["mpd", "a.zip"], "mpdd"),
    ],
)
def test_wrong_words_of_prepare_are_refused(tmp_path, words, message):
    done = adbench(tmp_path, "data", "prepare", *words, check=False)
    assert done.returncode == 2
    assert message in done.stderr
