"""The folder that the server of MVTec AD 2 takes."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_detectors import fitted, pictures
from PIL import Image

from adbench.cli.main import main
from adbench.data.geometry import Geometry
from adbench.detectors import saved
from adbench.errors import AdbenchError
from adbench.methods.patchcore import PatchCore
from adbench.results.predicted import Folders, Writer
from adbench.results.submission import submission_files

PRIVATE = Path("data/vial/test_private/000_regular.png")


def tags(content: bytes) -> dict[int, int]:
    """The tags of the only picture of a TIFF in the order of bytes of Intel, by its definition."""
    assert content[:4] == b"II*\0"
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    found = {}
    for number in range(count):
        entry = place + 2 + 12 * number
        tag, kind = struct.unpack_from("<HH", content, entry)
        (found[tag],) = struct.unpack_from("<H" if kind == 3 else "<I", content, entry + 8)
    return found


def test_maps_are_16_bit_floats_in_the_pixels_of_the_image():
    heat = np.random.default_rng(0).normal(10, 3, (30, 50)).astype(np.float32)
    files = submission_files(PRIVATE, heat, level=12.0)
    assert [path.as_posix() for path in files] == [
        "anomaly_images/vial/test_private/000_regular.tiff",
        "anomaly_images_thresholded/vial/test_private/000_regular.png",
    ]
    tiff, png = files.values()
    known = tags(tiff)
    assert {tag: known[tag] for tag in (256, 257, 258, 339)} == {256: 50, 257: 30, 258: 16, 339: 3}
    assert known[277] == 1  # sample a pixel
    read = tifffile.imread(io.BytesIO(tiff))
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read * 16, heat.astype(np.float16))  # 12 is 0.75 * 16
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png))), 255 * (heat > 12))


def test_pixels_that_were_not_seen_are_the_least_suspicious():
    heat = np.full((4, 4), np.nan, np.float32)
    heat[1:3, 1:3] = [[2, 3], [4, 5]]
    tiff, png = submission_files(PRIVATE, heat, level=3.5).values()
    read = tifffile.imread(io.BytesIO(tiff))
    assert read.min() == 2 / 4
    assert (read == 2 / 4).sum() == 13
    assert np.count_nonzero(np.array(Image.open(io.BytesIO(png)))) == 2


@pytest.mark.parametrize("power", [-40, 0, 40])
def test_small_and_large_scores_keep_their_digits(power):
    heat = np.linspace(1, 2, 64, dtype=np.float32).reshape(8, 8)
    tiff, _ = submission_files(PRIVATE, heat * 2.0**power, level=1.5 * 2.0**power).values()
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tiff)) * 2, heat.astype(np.float16))


def test_other_images_and_maps_that_do_not_fit_are_refused():
    heat = np.ones((2, 2), np.float32)
    for place in ("vial/test_public/bad/000.png", "vial/train/good/000.png", "000.png"):
        with pytest.raises(
            AdbenchError, match="takes images of CATEGORY/test_private and CATEGORY"
        ):
            submission_files(Path(place), heat, None)
    with pytest.raises(AdbenchError, match=r"of its map is 7e\+04, and .* hold 6.1e-05 to 65504"):
        submission_files(PRIVATE, heat * 70000, None)
    with pytest.raises(AdbenchError, match="fit the detector with a threshold"):
        submission_files(PRIVATE, heat * 1e-6, None)


def test_predict_writes_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    geometry = Geometry(resize=None, crop=64)
    normal = pictures(tmp_path / "good", 12)
    saved.save(tmp_path / "d.safetensors", fitted(PatchCore(), normal, geometry=geometry))
    pictures(tmp_path / "ad2/vial/test_private_mixed", 2, seed=1)
    pictures(tmp_path / "ad2/vial/train/good", 1, seed=2)
    with pytest.raises(SystemExit) as end:
        main(["predict", "d.safetensors", "ad2/vial", "submission=it"])
    assert end.value.code == 1
    assert "takes images of CATEGORY/test_private" in capsys.readouterr().out
    assert sorted(p.relative_to("it").as_posix() for p in Path("it").rglob("*.*")) == [
        "anomaly_images/vial/test_private_mixed/000.tiff",
        "anomaly_images/vial/test_private_mixed/001.tiff",
        "anomaly_images_thresholded/vial/test_private_mixed/000.png",
        "anomaly_images_thresholded/vial/test_private_mixed/001.png",
    ]
    path = "it/anomaly_images/vial/test_private_mixed/000.tiff"
    assert tifffile.imread(path).shape == (80, 96)


@pytest.mark.parametrize(
    "second", ["ad2/can/test_private/000.jpg", "copy/can/test_private/000.png"]
)
def test_the_map_of_another_image_is_not_overwritten(tmp_path, second):
    first = tmp_path / "ad2/can/test_private/000.png"
    for path in (first, tmp_path / second):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    folders = Folders(maps=tmp_path / "maps", submission=tmp_path / "it")
    writer = Writer(folders, tmp_path, Geometry(resize=None, crop=32), None)
    writer.write(first, np.eye(32, dtype=np.float32), None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    message = f"{second}: its map has the place of that of .*ad2/can/test_private/000.png in a"
    with pytest.raises(AdbenchError, match=message):
        writer.write(tmp_path / second, np.ones((32, 32), np.float32), None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    writer.write(first, np.eye(32, dtype=np.float32), None)  # the same image again is no other one
