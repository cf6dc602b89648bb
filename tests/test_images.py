import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from adbench.config.build import build
from adbench.config.compose import config_folder
from adbench.data.geometry import Geometry
from adbench.data.images import image_size, inspect_image, read_image, read_mask
from adbench.errors import AdbenchError, DataError
from adbench.system.settings import check, settings_of, unread

RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def saved(
    folder: Path, pixels: np.ndarray | Image.Image, name: str = "image.png", **options: object
) -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(folder / name, **options)
    return folder / name


# reading


def test_colours_are_read_as_they_are(tmp_path):
    image = read_image(saved(tmp_path, COLOURED))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOURED)


def test_grey_is_repeated_over_the_channels(tmp_path):
    np.testing.assert_array_equal(read_image(saved(tmp_path, GREY)), np.dstack([GREY] * 3))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    grey = np.array([[0, 128, 129, 257], [25700, 40000, 65406, 65535]], np.uint16)
    image = read_image(saved(tmp_path, grey, f"image.{suffix}"))
    expected = np.array([[0, 0, 1, 1], [100, 156, 254, 255]])  # rounded v / 257
    np.testing.assert_array_equal(image, np.dstack([expected] * 3))


@pytest.mark.fault("image", shows="error")
def test_grey_beyond_16_bits_is_refused(tmp_path):
    path = saved(tmp_path, np.array([[0, 65536]], np.int32), "image.tif")
    with pytest.raises(DataError, match=r"image\.tif: grey values from 0 to 65536 exceed 16 bits"):
        read_image(path)


@pytest.mark.fault("image", shows="error")
def test_floating_point_pixels_are_refused(tmp_path):
    with pytest.raises(DataError, match="floating-point pixels have no agreed white"):
        read_image(saved(tmp_path, np.ones((2, 2), np.float32), "image.tif"))


def test_alpha_is_dropped_and_colours_stay(tmp_path):
    rgba = np.dstack([COLOURED, np.zeros((5, 7), np.uint8)])
    np.testing.assert_array_equal(read_image(saved(tmp_path, rgba)), COLOURED)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY)] * 2)
    np.testing.assert_array_equal(read_image(saved(tmp_path, grey_alpha)), np.dstack([GREY] * 3))


def test_palettes_are_resolved_even_with_several_alphas(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    path = saved(
        tmp_path, image, transparency=bytes([0, 128, 255])
    )  # Pillow warns of such a palette
    np.testing.assert_array_equal(read_image(path), [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])


def test_one_bit_and_cmyk_images_are_read(tmp_path):
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, np.array([[True, False]])))[0, :, 0], [255, 0]
    )
    ink = Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    np.testing.assert_array_equal(read_image(saved(tmp_path, ink, "image.tif"))[0, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:, :8] = 255
    shown = read_image(saved(tmp_path, stored, f"image.{suffix}", exif=exif))
    assert shown.shape == (16, 8, 3)
    assert shown[:6].min() > 240
    assert shown[10:].max() < 15


def test_size_and_mode_are_told(tmp_path):
    assert inspect_image(saved(tmp_path, GREY)) == ((5, 7), "L")


# broken files


@pytest.mark.fault("image", shows="error")
def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: the image file does not exist"):
        read_image(tmp_path / "none.png")


@pytest.mark.fault("image", shows="error")
def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="is a folder, not an image"):
        read_image(tmp_path)


@pytest.mark.fault("image", shows="error")
def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "image.png").touch()
    with pytest.raises(DataError, match=r"image\.png: the image file is empty \(0 bytes\)"):
        read_image(tmp_path / "image.png")


@pytest.mark.fault("image", shows="error")
def test_text_is_no_image(tmp_path):
    (tmp_path / "image.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"image\.png: not an image of a format that is read"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.fault("image", shows="error")
def test_truncated_files_are_refused_wherever_they_end(tmp_path, suffix):
    noise = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    whole = saved(tmp_path, noise, f"whole.{suffix}").read_bytes()
    path = tmp_path / f"part.{suffix}"
    for length in np.linspace(1, len(whole) // 2, 40).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"part\.{suffix}: (cannot be decoded|not an image)"):
            read_image(path)


@pytest.mark.fault("image", shows="error")
def test_damaged_bytes_give_an_image_or_a_data_error(tmp_path):
    path, rng = tmp_path / "image.png", np.random.default_rng(0)
    whole = saved(tmp_path, COLOURED, "whole.png").read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).shape[2] == 3
        except DataError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "limit", [30, 10]
)  # Pillow warns above its limit and refuses above twice its limit
@pytest.mark.fault("image", shows="error")
def test_images_too_large_to_decode_are_refused(tmp_path, monkeypatch, limit):
    path = saved(tmp_path, COLOURED)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(
        DataError, match=rf"image\.png: more than the {limit} pixels that are safe to decode"
    ):
        read_image(path)
    with warnings.catch_warnings(action="ignore"), pytest.raises(DataError, match="safe to decode"):
        read_image(path)


# masks


def test_every_pixel_but_black_is_anomalous(tmp_path):
    expected = np.array([[False, True, True]])

    def marked(pixels: np.ndarray | Image.Image, name: str = "mask.png") -> np.ndarray:
        return read_mask(saved(tmp_path, pixels, name), (1, 3))

    np.testing.assert_array_equal(marked(np.array([[0, 1, 255]], np.uint8)), expected)
    np.testing.assert_array_equal(marked(expected), expected)
    np.testing.assert_array_equal(marked(np.array([[0, 1, 65535]], np.uint16)), expected)
    np.testing.assert_array_equal(marked(np.array([[0, 0.1, 1]], np.float32), "mask.tif"), expected)
    np.testing.assert_array_equal(
        marked(np.array([[[0, 0, 0], [0, 0, 1], [255, 0, 0]]], np.uint8)), expected
    )
    opaque = np.array([[[0, 0, 0, 255], [0, 0, 1, 0], [9, 9, 9, 9]]], np.uint8)
    np.testing.assert_array_equal(marked(opaque), expected)
    labels = Image.fromarray(np.array([[2, 0, 1]], np.uint8))
    labels.putpalette([255, 255, 255, 0, 128, 0, 0, 0, 0])  # the colour counts, not the index
    np.testing.assert_array_equal(marked(labels), expected)


@pytest.mark.fault("mask", shows="error")
def test_a_mask_of_another_size_names_both(tmp_path):
    with pytest.raises(
        DataError, match=r"mask\.png: the mask has 5x7 pixels but its image 7x5 \(height x width\)"
    ):
        read_mask(saved(tmp_path, GREY, "mask.png"), (7, 5))


@pytest.mark.fault("mask", shows="error")
def test_a_jpeg_mask_is_refused(tmp_path):
    with pytest.raises(DataError, match="save the mask as PNG"):
        read_mask(saved(tmp_path, GREY, "mask.jpg"), (5, 7))


# geometry

MODES = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
    "box": InterpolationMode.BOX,
    "hamming": InterpolationMode.HAMMING,
}


def torchvision_of(geometry: Geometry, mode: InterpolationMode) -> transforms.Compose:
    steps: list[object] = []
    if geometry.resize is not None:
        steps.append(transforms.Resize(geometry.resize, mode))
    if geometry.crop is not None:
        steps.append(transforms.CenterCrop(geometry.crop))
    return transforms.Compose(steps)


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize("size", [(90, 90), (61, 97), (100, 45), (33, 40)])
@pytest.mark.parametrize(
    ("resize", "crop"),
    [
        (64, 56),
        (64, (33, 20)),
        (37, 24),
        ((48, 50), None),
        ((31, 40), (30, 17)),
        (None, 25),
        (40, None),
    ],
)
def test_images_equal_torchvisions_bit_for_bit(interpolation, size, resize, crop):
    geometry = Geometry(resize=resize, crop=crop, interpolation=interpolation)
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = np.asarray(torchvision_of(geometry, MODES[interpolation])(Image.fromarray(image)))
    np.testing.assert_array_equal(geometry.image(image), expected)
    if geometry.size is not None:
        assert geometry.size == expected.shape[:2]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_mask_rules_equal_torchvisions_tensors(interpolation):
    rng = np.random.default_rng(2)
    mask = np.kron(rng.random((12, 15)) < 0.4, np.ones((7, 7))).astype(bool)
    geometry = {
        rule: Geometry(resize=40, crop=36, interpolation=interpolation, mask_rule=rule)
        for rule in ("nearest", "half", "floor", "any")
    }
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    smooth = torchvision_of(geometry["half"], MODES[interpolation])(picture)
    white = transforms.ToTensor()(smooth)[0]
    np.testing.assert_array_equal(
        geometry["floor"].mask(mask), white.to(torch.int).bool()
    )  # patchcore-inspection
    np.testing.assert_array_equal(geometry["half"].mask(mask), white >= 0.5)
    np.testing.assert_array_equal(geometry["any"].mask(mask), white > 0)
    plain = np.asarray(torchvision_of(geometry["nearest"], MODES["nearest"])(picture)) > 0
    np.testing.assert_array_equal(geometry["nearest"].mask(mask), plain)
    counts = [geometry[rule].mask(mask).sum() for rule in ("floor", "half", "any")]
    assert counts[0] < counts[1] < counts[2]


def test_the_floor_rule_deletes_a_small_defect_and_the_others_do_not():
    mask = np.zeros((1024, 1024), bool)
    mask[500:507, 500:507] = True  # 7 pixels, under a filter that spans 8
    found = {
        r: int(Geometry(mask_rule=r).mask(mask).sum()) for r in ("floor", "half", "nearest", "any")
    }
    # Along each side four pixels see 1/8, 7/8, 23/32 and 1/32 of it: products reach 1/2 four times
    # and 0/255 once.
    assert found == {"floor": 0, "half": 4, "nearest": 4, "any": 15}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (256, 256)),
        ((32, 32), (256, 256)),
        ((900, 1200), (224, 288)),  # 221.7 x 295.6
        ((1200, 900), (288, 224)),
        ((720, 1280), (192, 352)),  # 192.0 x 341.3
        ((64, 512), (96, 736)),  # 90.5 x 724.1
        ((1, 20000), (32, 36192)),  # 1.8 x 36203.9
    ],
)
def test_an_area_keeps_the_aspect_in_steps_of_32_pixels(size, expected):
    geometry = Geometry(resize=None, crop=None, area=256)
    assert geometry.size_of(size) == expected
    assert geometry.size is None


def test_an_area_is_a_setting_where_nothing_else_gives_the_size():
    assert "area" not in settings_of(Geometry())
    assert Geometry(area=256) != Geometry()
    assert settings_of(Geometry(area=256)) == settings_of(Geometry())
    assert settings_of(Geometry(resize=None, area=256))["area"] == 256
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    small, large = (Geometry(resize=None, crop=None, area=a) for a in (64, 128))
    assert small.image(image).shape == (64, 64, 3)
    assert large.image(image).shape == (96, 160, 3)
    assert small.of_images() != large.of_images()
    assert "resize`` is null" in unread(Geometry(area=256), ["area"])


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(
        AdbenchError,
        match=r"geometry\.crop 70x60 is larger than an image of 50x80 resized to 64x102",
    ):
        Geometry(resize=64, crop=(70, 60)).image(np.zeros((50, 80, 3), np.uint8))


def test_the_size_is_known_only_where_it_does_not_depend_on_the_image():
    assert Geometry().size == (224, 224)
    assert Geometry(resize=(20, 30), crop=None).size == (20, 30)
    assert Geometry(resize=20, crop=None).size is None
    assert Geometry(resize=None, crop=(8, 9)).size == (8, 9)


def test_a_map_returns_to_the_original_pixels_of_the_crop():
    geometry = Geometry(
        resize=4, crop=2, evaluate_at="original"
    )  # of 8x8: the crop covers original pixels 2 to 5
    ramp = np.array([[1.5, 1.5], [2.5, 2.5]], np.float32)  # each value is its own row coordinate
    back = geometry.to_original(ramp, (8, 8))
    expected = np.array(
        [1.5, 1.75, 2.25, 2.5]
    )  # pixel centres 1.25, 1.75, 2.25, 2.75, held at the border
    np.testing.assert_allclose(back, np.repeat(expected[:, None], 4, axis=1))
    mask = np.arange(64).reshape(8, 8) % 3 == 0
    np.testing.assert_array_equal(geometry.mask_original(mask), mask[2:6, 2:6])


def test_without_resize_and_crop_a_map_returns_as_it_is():
    scores = np.random.default_rng(3).random((9, 11)).astype(np.float32)
    np.testing.assert_array_equal(
        Geometry(resize=None, crop=None).to_original(scores, (9, 11)), scores
    )


@settings(deadline=None)
@given(
    st.tuples(st.integers(40, 300), st.integers(40, 300)),
    st.sampled_from([32, 33, 57, 256, (40, 90), (33, 32), None]),
    st.sampled_from([32, (30, 17), 25, None]),
)
def test_maps_and_masks_meet_at_the_original_size(size, resize, crop):
    geometry = Geometry(resize=resize, crop=crop, evaluate_at="original")
    input_size = geometry.image(np.zeros((*size, 3), np.uint8)).shape[:2]
    back = geometry.to_original(np.full(input_size, 0.3, np.float32), size)
    assert back.dtype == np.float32
    assert back.shape == geometry.mask_original(np.zeros(size, bool)).shape
    np.testing.assert_allclose(back, 0.3, rtol=1e-6)
    if crop is None:
        assert back.shape == size


def test_a_defect_is_found_at_the_same_place_in_map_and_mask():
    image = np.zeros((90, 120, 3), np.uint8)
    image[40:50, 70:80] = 255
    geometry = Geometry(resize=64, crop=56, evaluate_at="original")
    scores = geometry.image(image)[..., 0].astype(np.float32)
    overlap = (geometry.to_original(scores, (90, 120)) > 127) == geometry.mask_original(
        image[..., 0] > 0
    )
    assert overlap.mean() > 0.998


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 0}, "geometry.resize.*greater than or equal to 1"),
        ({"resize": "big"}, "geometry.resize: .*an integer.*got 'big'"),
        ({"crop": [1, 2, 3]}, "geometry.crop"),
        (
            {"interpolation": "cubic"},
            "geometry.interpolation: .*'nearest', 'bilinear'.*got 'cubic'",
        ),
        ({"mask_rule": "most"}, "geometry.mask_rule: .*'half', 'floor' or 'any', got 'most'"),
        ({"size": 3}, "geometry.size: unknown setting; .*has resize, crop"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(AdbenchError, match=message):
        check(Geometry, settings, "geometry")


def test_the_presets_are_those_of_the_published_code():
    published = {
        "crop224": (256, 224, "bilinear", "nearest"),
        "crop224_bicubic": (256, 224, "bicubic", "nearest"),
        "crop224_lanczos": (256, 224, "lanczos", "nearest"),
        "official": (256, 224, "bilinear", "floor"),
        "report_clip": ((224, 224), None, "bicubic", "floor"),
        "square256": ((256, 256), None, "bilinear", "nearest"),
    }
    folder = config_folder() / "geometry"
    built = {n: build(OmegaConf.load(folder / f"{n}.yaml"), "geometry") for n in published}
    rows = {n: (g.resize, g.crop, g.interpolation, g.mask_rule) for n, g in built.items()}
    assert rows == published
    assert built["crop224"] == Geometry()


def test_the_settings_of_images_are_those_that_change_them():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    base = Geometry(resize=32, crop=24)
    others = [
        Geometry(resize=30, crop=24),
        Geometry(resize=(32, 32), crop=24),
        Geometry(resize=32, crop=20),
        Geometry(resize=32, crop=24, interpolation="bicubic"),
        Geometry(resize=32, crop=24, mask_rule="any"),
        Geometry(resize=32, crop=24, evaluate_at="original"),
    ]
    for other in others:
        equal = np.array_equal(base.image(image), other.image(image))
        assert (base.of_images() == other.of_images()) is equal


@pytest.mark.parametrize("format", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_in_the_header_is_that_of_the_picture(tmp_path, format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{format}"
    Image.new("RGB", (30, 20)).save(path, **({} if format == "bmp" else {"exif": exif}))
    assert image_size(path) == read_image(path).shape[:2]


@pytest.mark.fault("image", shows="error")
def test_a_file_without_a_header_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name, message in (
        ("broken.png", "not an image of a format that is read"),
        ("missing.png", "does not exist"),
    ):
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            image_size(tmp_path / name)
