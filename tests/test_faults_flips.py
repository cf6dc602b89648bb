"""Files that were cut off or changed anywhere: a named error or the content, never a traceback."""

import io
import logging
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_detectors import fitted, pictures
from made_faults import FEW, damaged, flipped
from made_records import made, saved
from PIL import Image
from safetensors.torch import save_file

from adbench.backbones.state import read_state
from adbench.data.archive import Archive
from adbench.data.geometry import Geometry
from adbench.data.images import image_size, read_image, read_mask
from adbench.data.map_files import read_map
from adbench.data.prepare import prepare
from adbench.detectors import saved as detectors
from adbench.errors import AdbenchError, DataError
from adbench.features.orders import Orders
from adbench.features.store import Store, writer
from adbench.methods.patchcore import PatchCore
from adbench.results import records
from adbench.results.raw import RecordError

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)


def encoded(kind, **options):
    """The bytes of a picture in a format of Pillow."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format=kind, **options)
    return file.getvalue()


# images and masks


@pytest.mark.fault("image", shows="error")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.filterwarnings("ignore")  # of Pillow, on damaged metadata
def test_a_damaged_image_is_an_image_or_a_named_error(tmp_path, kind):
    whole, path = encoded(kind), tmp_path / "x.png"

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        for read in (read_image, image_size):
            try:
                found = read(path)
            except DataError as error:
                assert str(error).startswith(f"{path}: ")  # noqa: PT017
            else:
                assert read is image_size or found.dtype == np.uint8

    look()


@pytest.mark.fault("image", shows="error")
def test_a_changed_byte_behind_the_header_of_a_png_changes_no_pixel(tmp_path):
    whole, path = encoded("PNG"), tmp_path / "x.png"

    @FEW
    @given(st.integers(33, len(whole) - 13), st.integers(1, 255))
    def look(place, bits):
        path.write_bytes(flipped(whole, place, bits))
        try:
            np.testing.assert_array_equal(read_image(path), PIXELS)
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017

    look()


@pytest.mark.fault("mask", shows="error")
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_mask_is_a_mask_or_a_named_error(tmp_path, kind):
    whole, path = encoded(kind), tmp_path / "mask.png"

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        try:
            assert read_mask(path, (12, 16)).shape == (12, 16)
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017

    look()


@pytest.mark.fault("map", shows="error")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tiff"])
def test_a_damaged_map_is_a_map_or_a_named_error(tmp_path, suffix):
    file, path = io.BytesIO(), tmp_path / f"map{suffix}"
    values = PIXELS[..., 0].astype(np.float32)
    if suffix == ".tiff":
        Image.fromarray(values).save(file, format="TIFF")
    else:
        (np.save if suffix == ".npy" else np.savez_compressed)(file, values)

    @FEW
    @given(damaged(file.getvalue()))
    def look(content):
        path.write_bytes(content)
        try:
            assert np.isfinite(read_map(path).values).all()
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017

    logging.disable()  # tifffile tells of damage in its log, too
    try:
        look()
    finally:
        logging.disable(logging.NOTSET)


# results: every file has a checksum


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder of records with one record."""
    folder = tmp_path_factory.mktemp("records")
    return folder, saved(folder, made("method=patchcore", "bottle", counts=(10, 12)))


@pytest.mark.fault("record", shows="error")
def test_a_damaged_record_is_refused_or_says_the_same(kept):
    folder, record = kept
    (path,) = folder.glob("*.json")
    whole = path.read_bytes()

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        try:
            assert records.load(path) == record
        except RecordError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017

    try:
        look()
    finally:
        path.write_bytes(whole)


@pytest.mark.fault("record", shows="error")
@pytest.mark.parametrize(
    ("suffix", "read", "what"),
    [
        (".scores.csv", records.load_scores, "raw scores"),
        (".pixels.npz", records.load_pixels, "pixel counts"),
    ],
)
def test_damaged_raw_files_are_always_refused(kept, suffix, read, what):
    folder, record = kept
    (path,) = folder.glob(f"*{suffix}")
    whole = path.read_bytes()

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        with pytest.raises(RecordError) as caught:
            read(folder, record)
        assert str(caught.value) == (
            f"{path}: {what} are not those that were measured: the sha256 differs from the "
            "record's; move the record out of the folder and run again"
        )

    try:
        look()
    finally:
        path.write_bytes(whole)


# caches: damage costs a warning and the work again


@pytest.mark.fault("cache", shows="kept")
def test_damaged_features_are_never_given_out(tmp_path, caplog):
    path, values = tmp_path / "layer1.npy", np.arange(24, dtype=np.float32).reshape(4, 6)
    with writer(path, values.shape) as out:
        out.write(values)
    whole = path.read_bytes()

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        caplog.clear()
        assert Store().open(path, 4) is None
        assert re.fullmatch(
            rf"{re.escape(str(path))} is damaged \(.+\) and is made again", caplog.messages[0]
        )

    look()


@pytest.mark.fault("cache", shows="kept")
def test_damaged_orders_are_never_given_out(tmp_path, caplog):
    Orders(tmp_path).keep({"seed": 0}, np.arange(9))
    (path,) = (tmp_path / "orders").glob("*.npy")
    whole = path.read_bytes()

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        caplog.clear()
        assert Orders(tmp_path).read({"seed": 0}) is None
        assert "is damaged" in caplog.messages[0]

    look()


# detectors, weights and archives


@pytest.mark.fault("detector file", shows="error")
def test_a_damaged_detector_is_always_refused(tmp_path):
    path = tmp_path / "part.safetensors"
    images = pictures(tmp_path / "good", 3)
    geometry = Geometry(resize=None, crop=64)
    fitted_one = fitted(PatchCore(ratio=0.02), images, wish=None, geometry=geometry)
    detectors.save(path, fitted_one)
    whole = path.read_bytes()

    @settings(FEW, max_examples=8)
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        with pytest.raises(AdbenchError) as caught:
            detectors.load(path, "cpu")
        assert str(caught.value).startswith(f"{path}: ")

    look()


@pytest.mark.fault("weights", shows="error")
@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_damaged_weights_are_weights_or_a_named_error(tmp_path, kind):
    state = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.BatchNorm2d(2)).state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()

    @FEW
    @given(damaged(whole))
    def look(content):
        path.write_bytes(content)
        try:
            assert all(isinstance(value, torch.Tensor) for value in read_state(path).values())
        except AdbenchError as error:
            assert str(error).startswith(f"backbone.weights={path}: ")  # noqa: PT017

    look()


@pytest.mark.fault("archive", shows="error")
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_damaged_archive_is_unpacked_as_it_was_or_refused(tmp_path, kind):
    content = {f"part/train/good/{n}.png": encoded("PNG") for n in range(2)}
    path, place = tmp_path / f"a.{kind}", tmp_path / "data" / "parts"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, data in content.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    whole = path.read_bytes()
    known = Archive("It is free.", "*/train/good")

    @FEW
    @given(damaged(whole), st.integers(0, 10**9))
    def look(damage, number):
        path.write_bytes(damage)
        try:
            prepare(known, path, place.with_name(f"parts{number}"), None, str(tmp_path / "cache"))
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert not place.with_name(f"parts{number}").exists()
            assert not list(place.parent.glob(".*"))

    look()
