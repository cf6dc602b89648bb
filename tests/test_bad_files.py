"""Files and folders that are not what their names say, under the readers and `data check`."""

import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from commands import adbench, mvtec
from made_runs import plans, run_jobs
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from adbench.bench.category import Category
from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.data.images import image_size, read_image, read_mask
from adbench.data.mvtec import MVTec
from adbench.errors import AdbenchError, DataError

WHOLE = Geometry(resize=(32, 32), crop=None)


def picture(path: Path, edge: int = 8, value: int = 100, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (edge, edge), value).save(path, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, *, late: bytes = b"") -> bytes:
    """A black grey PNG, with chunks behind its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height), 9))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + late + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    """An EXIF block with an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes().removeprefix(b"Exif\0\0")


GARBAGE = {
    "text": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0",
    "99": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "0": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0",
    "two numbers": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x02\0\0\0\x06\0\x06\0\0\0\0\0",
    "cut": b"II*\0\x08\0\0\0\x09\0\x12\x01",
    "no tiff": b"garbage",
}


# only regular files


def special(path: Path, kind: str) -> str:
    """Make something that is no regular file; what messages say of it."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "dead link":
        path.symlink_to("nowhere.png")
        return "is a link to nowhere.png, which does not exist"
    elif kind == "loop":
        path.symlink_to(path.name)
        return "cannot be read: Too many levels of symbolic links"
    elif kind == "endless kernel log":
        path.symlink_to("/proc/kmsg")
        return "the image file is empty (0 bytes)"
    return "is a folder, not an" if kind == "folder" else "is a pipe, a socket or a device, not an"


KINDS = ["pipe", "device", "folder", "dead link", "loop"]
if Path("/proc/kmsg").exists():
    KINDS.append("endless kernel log")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.fault("image", shows="error")
def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path, kind):
    path = tmp_path / "x.png"
    message = special(path, kind)
    for read in (read_image, image_size, lambda p: read_mask(p, (8, 8))):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["train/good", "test/good", "test/dent"])
@pytest.mark.fault("image", shows="error")
def test_a_category_that_holds_one_fails_alone_and_is_named_by_check(
    tmp_path, make_category, kind, place
):
    for name in ("cable", "bottle"):
        folder = make_category(tmp_path, name)
    message = special(folder / place / "zz.png", kind)
    if place == "test/dent":
        picture(folder / "ground_truth/dent/zz_mask.png", edge=32)
    (plan,) = plans(tmp_path, f"dataset=mvtec dataset.root={tmp_path}")
    assert len(Category.load(plan, "cable").train) == 3
    with pytest.raises(DataError, match=r"zz\.png: ") as caught:
        Category.load(plan, "bottle")
    assert message in str(caught.value)
    rows = MVTec(root=str(tmp_path)).check(WHOLE)
    assert [row["category"] for row in rows] == ["bottle", "cable"]
    assert [row["train"] + row["test_normal"] + row["test_anomalous"] for row in rows] == [10, 9]
    (problem,) = rows[0]["problems"]
    assert problem.startswith(f"{folder / place / 'zz.png'}: {message}")
    assert not rows[1]["problems"]


@pytest.mark.fault("image", shows="error")
def test_data_check_prints_its_table_whatever_it_finds(tmp_path, make_category):
    folder = make_category(tmp_path)
    os.mkfifo(folder / "train/good/pipe.png")
    (folder / "train/good/dead.png").symlink_to("/nowhere.png")
    (folder / "test/good/folder.png").mkdir()
    os.rename(folder / "test/good/000.png", os.fsencode(folder) + b"/test/good/Gr\xfc\xdfe.png")
    make_category(tmp_path, "grid")
    done = adbench(tmp_path, "data", "check", *mvtec(tmp_path), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    table, problems = done.stdout.splitlines()[:4], done.stdout.splitlines()[4:]
    assert [line.split()[0] for line in table] == ["category", "----------", "bottle", "grid"]
    assert problems == [
        f"bottle: {folder}/test/good/Gr\\udcfc\\udcdfe.png: the name is no UTF-8; rename the file "
        "or its folder"
    ]


# folders


@pytest.mark.fault("image", shows="kept")
def test_a_folder_is_visited_once_whatever_links_lead_to_it(tmp_path):
    for number in range(4):
        picture(tmp_path / f"ok/{number}.png", value=number)
    (tmp_path / "ok/self").symlink_to(".")
    (tmp_path / "ok/above").symlink_to(tmp_path)
    (tmp_path / "ok/twin").symlink_to("self")
    split = Folder(root=str(tmp_path), normal="ok").load("parts")
    assert sorted(s.name for s in split.train + split.test) == [f"{i}.png" for i in range(4)]


@pytest.mark.fault("image", shows="kept")
def test_a_folder_that_links_lead_to_keeps_its_own_name(tmp_path):
    for number in range(4):
        picture(tmp_path / f"ok/{number}.png", value=number)
    picture(tmp_path / "bad/scratch/0.png")
    (tmp_path / "bad/alias").symlink_to("scratch")
    picture(tmp_path / "elsewhere/1.png")
    (tmp_path / "bad/dent").symlink_to(tmp_path / "elsewhere")
    split = Folder(root=str(tmp_path), normal="ok", abnormal="bad").load("parts")
    found = [(s.name, s.defect) for s in split.test if s.anomalous]
    assert found == [("bad/dent/1.png", "dent"), ("bad/scratch/0.png", "scratch")]


# formats


@pytest.mark.fault("image", shows="error")
def test_a_postscript_file_starts_no_program(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "check_call", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    for read in (read_image, image_size, lambda p: read_mask(p, (8, 8))):
        with pytest.raises(DataError, match=r"x\.png: not an image of a format that is read \(BMP"):
            read(path)


@pytest.mark.parametrize(
    ("suffix", "format"),
    [
        *((".pgm", "PPM"), (".ppm", "PPM"), (".pnm", "PPM"), (".gif", "GIF"), (".jfif", "JPEG")),
        *((".jpe", "JPEG"), (".jp2", "JPEG2000"), (".j2k", "JPEG2000"), (".webp", "WEBP")),
        *((".PGM", "PPM"), (".bmp", "BMP"), (".tiff", "TIFF")),
    ],
)
def test_files_of_the_suffixes_that_are_read(tmp_path, suffix, format):
    for number in range(4):
        picture(tmp_path / f"ok/{number}{suffix}", 16, 40 * number, format=format)
    split = Folder(root=str(tmp_path), normal="ok").load("parts")
    found = sorted((s.name, read_image(s.path)) for s in split.train + split.test)
    assert [name for name, _ in found] == [f"{i}{suffix}" for i in range(4)]
    for number, (_, image) in enumerate(found):
        assert image.shape == (16, 16, 3)
        np.testing.assert_allclose(image, 40 * number, atol=1)


@pytest.mark.fault("image", shows="error")
def test_files_of_other_suffixes_are_named_with_those_that_are_read(tmp_path):
    for number in range(5):
        picture(tmp_path / f"ok/{number}.tga", format="TGA")
    with pytest.raises(DataError) as caught:
        Folder(root=str(tmp_path), normal="ok").load("parts")
    assert str(caught.value) == (
        f"dataset.normal: {tmp_path}/ok holds no images but 0.tga, 1.tga, 2.tga and 2 more (images "
        "end in .bmp, .gif, .j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .pbm, .pgm, .png, .pnm, .ppm, "
        ".tif, .tiff, .webp)"
    )


def test_deep_grey_maps_are_scaled(tmp_path):
    grey = struct.pack(">4H", 0, 256, 32768, 65535)
    (tmp_path / "x.pgm").write_bytes(b"P5 4 1 65535\n" + grey)
    np.testing.assert_array_equal(read_image(tmp_path / "x.pgm")[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert read_image(tmp_path / f"x.{suffix}").min() == 255


def test_ink_and_deep_colours_are_read(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    np.testing.assert_allclose(read_image(tmp_path / "x.jpg")[0, 0], [255, 0, 0], atol=3)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))  # 16 bits a channel
    row = zlib.compress(b"\0" + struct.pack(">3H", 65535, 32768, 0))
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), [[[255, 128, 0]]])


# bombs


@pytest.mark.fault("image", shows="error")
def test_a_thin_image_is_refused_before_it_is_stretched(tmp_path, make_category):
    folder = make_category(tmp_path)
    (folder / "train/good/zz.png").write_bytes(png(1, 20000))
    message = (
        f"{folder}/train/good/zz.png: the geometry resizes an image of 20000x1 to 5120000x256 "
        "(height x width), more than the 89,478,485 pixels that are safe to hold; leave the image "
        "out, or give both sides, such as geometry.resize=[256,256]"
    )
    words = f"dataset=mvtec dataset.root={tmp_path} backbone.weights=random"
    (outcome,) = run_jobs(tmp_path, words)
    assert outcome.failures["bottle"] == message
    assert MVTec(root=str(tmp_path)).check(Geometry())[0]["problems"] == [message]
    uncropped = Geometry(crop=None)
    with pytest.raises(AdbenchError, match="5120000x256"):
        uncropped.image(read_image(folder / "train/good/zz.png"))
    assert Geometry(resize=(256, 256)).image(np.zeros((20000, 1, 3), np.uint8)).shape[0] == 224


@pytest.mark.fault("image", shows="error")
def test_an_image_of_too_many_pixels_is_refused_from_its_header(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"x\.png: more than the 89,478,485 pixels"):
            read(tmp_path / "x.png")


# orientation


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # of Pillow, for a JPEG
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.fault("image", shows="kept")
def test_an_orientation_that_is_garbage_is_read_as_unturned(tmp_path, suffix, garbage):
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (30, 20)).save(path, exif=b"Exif\0\0" + garbage)
    assert read_image(path).shape == (20, 30, 3)
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize(("kind", "value"), [(2, "abc"), (3, 99), (3, 0)])
@pytest.mark.fault("image", shows="kept")
def test_garbage_in_a_tiff_is_read_as_unturned(tmp_path, kind, value):
    tags = ImageFileDirectory_v2()
    tags.tagtype[0x0112] = kind
    tags[0x0112] = value
    Image.new("RGB", (30, 20)).save(tmp_path / "x.tif", tiffinfo=tags)
    assert image_size(tmp_path / "x.tif") == read_image(tmp_path / "x.tif").shape[:2] == (20, 30)


XMP = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'


@pytest.mark.parametrize(
    ("late", "turned"),
    [
        (chunk(b"eXIf", exif(6)), True),
        (chunk(b"iTXt", XMP), True),
        (chunk(b"tEXt", b"Comment\0a note") + chunk(b"eXIf", exif(8)), True),
        (chunk(b"eXIf", GARBAGE["99"]), False),
        (chunk(b"eXIf", GARBAGE["text"]), False),
        (chunk(b"tEXt", b"date:create\0today"), False),
    ],
)
def test_an_orientation_behind_the_pixels_of_a_png_turns_image_and_mask(tmp_path, late, turned):
    path, mask = tmp_path / "x.png", tmp_path / "mask.png"
    path.write_bytes(png(144, 96, late=late))
    size = (144, 96) if turned else (96, 144)
    Image.new("L", (size[1], size[0]), 255).save(mask)
    assert image_size(path) == size
    assert read_image(path).shape[:2] == size
    assert read_mask(mask, image_size(path)).all()
    mask.write_bytes(png(144, 96, late=late))
    assert read_mask(mask, size).shape == size


@pytest.mark.fault("mask", shows="error")
def test_a_jpeg_mask_is_refused_turned_or_not(tmp_path):
    block = Image.Exif()
    block[0x0112] = 6
    Image.new("L", (30, 20)).save(tmp_path / "mask.jpg", exif=block)
    with pytest.raises(DataError, match="save the mask as PNG"):
        read_mask(tmp_path / "mask.jpg", (30, 20))


# names


@pytest.mark.fault("image", shows="error")
def test_a_name_that_is_no_utf8_costs_its_category_before_the_work(tmp_path, make_category):
    for name in ("bottle", "grid"):
        folder = make_category(tmp_path, name)
    os.rename(folder / "train/good/000.png", os.fsencode(folder) + b"/train/good/Gr\xfc\xdfe.png")
    said: list[str] = []
    words = f"dataset=mvtec dataset.root={tmp_path} backbone.weights=random"
    (outcome,) = run_jobs(tmp_path, words, say=said.append)
    assert [r.category for r in outcome.records] == ["bottle"]
    assert outcome.failures == {
        "grid": f"{folder}/train/good/Gr\\udcfc\\udcdfe.png: the name is no UTF-8; rename the file "
        "or its folder"
    }


@pytest.mark.parametrize("name", ["a b", "a: b", "line\nline", "ä" * 120, "x" * 240, "-", "'\"`$("])
@pytest.mark.fault("name", shows="kept")
def test_odd_names_are_kept_as_they_are(tmp_path, name):
    for number in range(4):
        picture(tmp_path / f"ok/{number}.png", value=number)
    picture(tmp_path / f"bad/{name}.png")
    picture(tmp_path / f"masks/{name}.png")
    dataset = Folder(root=str(tmp_path), normal="ok", abnormal="bad", masks="masks")
    (sample,) = [s for s in dataset.load("parts").test if s.anomalous]
    assert sample.name == f"bad/{name}.png"
    assert sample.masks == (tmp_path / f"masks/{name}.png",)
    assert dataset.check(WHOLE)[0]["problems"] == []
    (tmp_path / f"bad/{name}.png").write_bytes(b"")
    (problem,) = dataset.check(WHOLE)[0]["problems"]
    assert "the image file is empty" in problem
    assert problem.isprintable()
