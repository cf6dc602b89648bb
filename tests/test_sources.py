import io
import os
import sys
from pathlib import Path

import pytest

from adbench.data.sources import common_folder, find, lies_in, listed, name_below
from adbench.errors import AdbenchError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with images in sub-folders; it is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/a.JPG", "photos/cut/1.png", "photos/cut/deep/2.png"):
        touch(name)
    for name in ("photos/notes.txt", "photos/.hidden.png", "photos/.thumbs/1.png"):
        touch(name)
    return tmp_path


def touch(name):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(*words, outputs=()):
    found = find(words, [Path(output) for output in outputs])
    assert all(source.error is None for source in found), found
    return [source.path.as_posix() for source in found]


def the_error(*words, outputs=()):
    (source,) = find(words, [Path(output) for output in outputs])
    return source.error


ALL = ["photos/a.JPG", "photos/b.png", "photos/cut/1.png", "photos/cut/deep/2.png"]


def test_a_folder_gives_all_images_below_it_and_nothing_else(photos):
    assert names("photos") == ALL


def test_a_file_is_taken_whatever_its_name_and_whether_or_not_it_is_there(photos):
    assert names("photos/notes.txt", "gone.png") == ["photos/notes.txt", "gone.png"]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("photos/*.png", ["photos/b.png"]),
        ("photos/*", ["photos/a.JPG", "photos/b.png"]),
        ("photos/**/*.png", ["photos/b.png", "photos/cut/1.png", "photos/cut/deep/2.png"]),
        ("photos/**", ALL),
        ("photos/c?t/[0-9].png", ["photos/cut/1.png"]),
        ("photos/.thumbs/*", ["photos/.thumbs/1.png"]),
    ],
)
def test_a_pattern_gives_the_visible_images_that_match(photos, pattern, wanted):
    assert names(pattern) == wanted
    assert names(str(photos / pattern)) == [(photos / name).as_posix() for name in wanted]


def test_a_name_with_brackets_is_a_file_where_there_is_one(photos):
    touch("photos/[1].png")
    assert names("photos/[1].png") == ["photos/[1].png"]


def test_words_keep_their_order_and_each_file_comes_once(photos):
    assert names("photos/cut", "photos") == [
        "photos/cut/1.png",
        "photos/cut/deep/2.png",
        "photos/a.JPG",
        "photos/b.png",
    ]


def test_the_home_folder_is_found(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    assert names("~/photos/*.png") == [(photos / "photos/b.png").as_posix()]


def test_a_place_without_images_says_so(photos):
    Path("empty").mkdir()
    touch("texts/readme.md")
    assert "empty: holds no images" in the_error("empty")
    assert "holds no images but readme.md" in the_error("texts")
    assert "nothing/*.png: no image matches this pattern" in the_error("nothing/*.png")
    found = find(["empty", "photos/b.png"])
    assert [source.error is None for source in found] == [False, True]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="later versions read such patterns")
def test_a_pattern_that_is_none_is_refused(photos):
    with pytest.raises(AdbenchError, match="is no pattern of paths"):
        find(["photos/**.png"])


@pytest.mark.fault("image", shows="kept")
def test_links_in_a_circle_end(photos):
    Path("photos/cut/up").symlink_to(photos / "photos", target_is_directory=True)
    assert names("photos") == ALL
    assert names("photos/**/*.png") == [name for name in ALL if name.endswith(".png")]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="all may read every folder")
@pytest.mark.fault("image", shows="error")
def test_a_folder_that_may_not_be_read_leaves_the_others(photos):
    Path("photos/cut").chmod(0)
    try:
        found = find(["photos"])
    finally:
        Path("photos/cut").chmod(0o700)
    assert [source.path.name for source in found if source.error is None] == ["a.JPG", "b.png"]
    assert "photos/cut: cannot be listed" in found[-1].error


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="all may search every folder")
@pytest.mark.fault("image", shows="error")
def test_images_that_may_not_be_looked_at_are_named_when_they_are_read(photos):
    Path("photos/cut").chmod(0o400)  # its names can be listed, and no more
    try:
        assert names("photos", "photos/cut/1.png") == ALL[:3]
    finally:
        Path("photos/cut").chmod(0o700)


@pytest.mark.fault("image", shows="error")
def test_a_name_that_is_too_long_is_told_when_it_is_read(photos):
    long = "x" * 300 + ".png"
    assert names(long, "photos/b.png") == [long, "photos/b.png"]
    assert "no image matches" in the_error("x" * 300 + "*.png")


# What is written is not read.


def test_folders_of_outputs_are_left_out_of_folders_and_patterns(photos):
    touch("photos/shown/b.png")
    touch("elsewhere/b.png")
    Path("photos/link").symlink_to(photos / "elsewhere", target_is_directory=True)
    outputs = ["photos/shown", "elsewhere"]
    assert names("photos", outputs=outputs) == ALL
    assert "photos/shown/b.png" not in names("photos/**/*.png", outputs=outputs)


@pytest.mark.parametrize("word", ["photos", "photos/b.png", "photos/*.png", "photos/cut"])
def test_images_in_a_folder_of_outputs_are_refused(photos, word):
    with pytest.raises(AdbenchError, match="holds these images"):
        find([word], [Path("photos")])


def test_links_are_resolved(photos):
    Path("other").symlink_to(photos / "photos", target_is_directory=True)
    assert lies_in(Path("other/b.png"), [Path("photos")])
    assert not lies_in(Path("photos/b.png"), [Path("photos/cut")])
    assert not lies_in(Path("photos2/b.png"), [Path("photos")])


# Lists.


def test_a_list_has_one_path_a_line():
    lines = io.BytesIO(b"a.png\n\nwith space .png\r\nlast.png")
    assert list(listed(lines)) == [Path("a.png"), Path("with space .png"), Path("last.png")]


def test_a_list_is_read_as_it_comes():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:6] = b"a.png\n"
            return 6

    paths = listed(io.BufferedReader(Endless()))
    assert [next(paths) for _ in range(3)] == [Path("a.png")] * 3


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_path_that_is_no_text_comes_back_as_it_was():
    (path,) = listed(io.BytesIO(b"caf\xe9.png\n"))
    assert os.fsencode(path) == b"caf\xe9.png"


# Names of what is written.


def named(path, *words):
    return name_below(Path(path), common_folder(words)).as_posix()


def test_sub_folders_are_kept(photos):
    assert named("photos/cut/1.png", "photos") == "cut/1.png"
    assert named("photos/cut/1.png", "photos", "other/2.png") == "photos/cut/1.png"
    assert named("photos/b.png", "photos/b.png", "photos/a.JPG") == "b.png"
    assert named("photos/b.png", "photos/b.png") == "b.png"
    assert named("photos/cut/1.png", "photos/*/1.png") == "cut/1.png"
    assert named("photos/../photos/b.png", "photos") == "b.png"


def test_a_file_elsewhere_keeps_its_whole_path_without_the_root(photos):
    assert name_below(Path("/data/1.png"), photos) == Path("data/1.png")
    assert not name_below(Path("../1.png"), photos).is_absolute()
    assert ".." not in name_below(Path("../1.png"), photos).parts
