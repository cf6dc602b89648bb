import os
import stat
import sys
import time

import pytest

from adbench.system.files import cache_folder, whole_file, write_whole


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


def test_what_a_kill_left_is_removed_when_the_file_is_written_again(tmp_path):
    names = (".a.json.x1.tmp", ".a.json.x2.tmp", ".b.json.x3.tmp")
    old, young, other = (tmp_path / name for name in names)
    for file in (old, young, other):
        file.write_text("part")
    for file in (old, other):
        os.utime(file, (time.time() - 7200,) * 2)
    write_whole(tmp_path / "a.json", "whole")
    assert sorted(f.name for f in tmp_path.iterdir()) == [young.name, other.name, "a.json"]


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
def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(tmp_path):
    import resource
    import signal

    path = tmp_path / "file"
    write_whole(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, b"0" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_the_cache_folder_is_the_chosen_one_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("~/cache") == tmp_path / "cache"
    assert cache_folder(None).name == "adbench"
