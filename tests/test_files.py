import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adbench.system.files import (
    cache_folder,
    expanded,
    private_folder,
    scratch_folder,
    try_file,
    whole_file,
    write_whole,
)


@pytest.mark.fault("results folder", shows="kept")
def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_whole(path, "first")

    def fail_halfway():
        with whole_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["file.txt"]


def test_text_is_written_as_utf_8_and_bytes_as_they_are(tmp_path):
    write_whole(tmp_path / "a", "µm")
    write_whole(tmp_path / "b", b"\xff")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"\xc2\xb5m", b"\xff")


def left_by(program, folder):
    """The temporary file that a process leaves which is killed, or goes on, while it writes."""
    code = (
        "import pathlib, sys; from adbench.system.files import whole_file\n"
        f"with whole_file(pathlib.Path({str(folder)!r}) / 'other.json') as file:\n"
        f"    print('now', flush=True); {program}"
    )
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


@pytest.mark.fault("results folder", shows="kept")
def test_what_a_killed_process_left_is_removed_by_who_comes_next(tmp_path):
    killed = left_by("import time; time.sleep(100)", tmp_path)
    killed.kill()
    killed.communicate()
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".tmp")
    write_whole(tmp_path / "a.json", "whole")
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.fault("results folder", shows="error")
def test_a_place_is_tried_and_nothing_is_made(tmp_path):
    try_file(tmp_path / "new" / "inner" / "x.csv")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to("nowhere")
    for place in ("file/x.csv", "file/inner/x.csv", "link/x.csv"):
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            try_file(tmp_path / place)


def test_a_scratch_folder_of_a_folder_that_is_not_there_makes_none(tmp_path):
    with scratch_folder(tmp_path / "new" / "x.csv") as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("results folder", shows="kept")
def test_a_scratch_folder_goes_and_so_does_one_that_a_killed_process_left(tmp_path):
    code = (
        "import pathlib, time; from adbench.system.files import scratch_folder\n"
        f"with scratch_folder(pathlib.Path({str(tmp_path)!r}) / 'part.onnx') as folder:\n"
        "    (folder / 'part.onnx').touch(); print('now', flush=True); time.sleep(100)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert len(os.listdir(tmp_path)) == 1
    with scratch_folder(tmp_path / "part.onnx") as folder:
        assert os.listdir(tmp_path) == [folder.name]
    assert not os.listdir(tmp_path)


def test_a_home_folder_is_found_and_a_user_who_is_not_there_is_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a.csv") == tmp_path / "a.csv"
    assert expanded("~no such user/a.csv") == Path("~no such user/a.csv")


@pytest.mark.fault("results folder", shows="kept")
def test_what_a_process_still_writes_stays(tmp_path):
    writing = left_by("sys.stdin.read()", tmp_path)
    write_whole(tmp_path / "a.json", "whole")
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    writing.communicate()
    assert sorted(os.listdir(tmp_path)) == ["a.json", "other.json"]


@pytest.mark.fault("results folder", shows="kept")
def test_what_another_machine_writes_stays_until_it_is_old(tmp_path):
    young, old = (tmp_path / f".x.json.00000000-{n}-00000000.tmp" for n in (1, 2))
    foreign = tmp_path / ".editor.tmp"
    for file in (young, old, foreign):
        file.write_text("part")
        os.utime(file, (time.time() - 3600,) * 2)
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    write_whole(tmp_path / "a.json", "whole")
    assert sorted(os.listdir(tmp_path)) == [foreign.name, young.name, "a.json"]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    name = "ü" * 125 + ".json"  # 255 bytes
    write_whole(tmp_path / name, "whole")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
def test_a_private_folder_is_the_owners_alone(tmp_path):
    assert private_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "file").touch()
    assert not private_folder(tmp_path / "open")
    assert not private_folder(tmp_path / "file")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_that_the_umask_leaves_and_the_umask_stays(
    tmp_path, monkeypatch, umask
):
    before, called = os.umask(umask), []
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", called.append)  # it is the whole process's
            write_whole(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert not called


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
@pytest.mark.fault("results folder", shows="kept")
def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(tmp_path):
    import resource
    import signal

    path = tmp_path / "file"
    write_whole(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            write_whole(path, b"0" * 100_000)
        assert told.value.filename == str(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_the_cache_folder_is_the_chosen_one_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("~/cache") == tmp_path / "cache"
    assert cache_folder(None).name == "adbench"
