import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from adbench.data.geometry import Geometry
from adbench.data.samples import Sample
from adbench.results.heatmaps import choose, in_order, picture_name, save_heatmaps
from adbench.results.judged import Judged
from adbench.results.overlay import Scale, View, over_grey, scale_of, view_of
from adbench.results.sheet import AWAY, sheet

SIZE = 32
PLAIN = Geometry(resize=None, crop=None)


@pytest.fixture
def image_file(tmp_path):
    """A function that writes an image of random colours, or a mask, and gives a sample."""
    colours = np.random.default_rng(0)

    def write(name, defect="good", mask=None, shape=(SIZE, SIZE)):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours.integers(0, 256, (*shape, 3), np.uint8)).save(path)
        masks = ()
        if mask is not None:
            masks = (path.with_name(f"{path.stem}_mask.png"),)
            Image.fromarray(mask.astype(np.uint8) * 255).save(masks[0])
        return Sample(path, name, defect, masks)

    return write


def square(start=8, stop=20, shape=(SIZE, SIZE)):
    mask = np.zeros(shape, bool)
    mask[start:stop, start:stop] = True
    return mask


def view(mask=None, heat=None, shape=(SIZE, SIZE), **more):
    heat = np.zeros(shape, np.float32) if heat is None else heat
    return View(np.full((*shape, 3), 200, np.uint8), heat, mask, **more)


def judged(scores=(1.0, 2.0, 3.0, 4.0), anomalous=(0, 1, 0, 1), threshold=None, origin=""):
    return Judged(np.array(scores), np.array(anomalous, bool), threshold, origin)


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
    return "\n".join([*found, *labels])


def lines_of(figure):
    """The points of every outline, in pixels of the canvas from the top left corner."""
    canvas = figure.axes[0]
    return [p.vertices for c in canvas.collections for p in c.get_paths() if len(p.vertices)]


SCALE = Scale(1.0, 5.0, "what lies below")


# What is normal has no colour.


def test_pixels_below_the_low_level_stay_grey_and_the_others_do_not():
    heat = np.array([[0.0, 0.99, 1.0], [3.0, 5.0, np.nan]], np.float32)
    image = np.random.default_rng(1).integers(0, 256, (2, 3, 3), np.uint8)
    shown = over_grey(View(image, heat, None), SCALE)
    coloured = np.ptp(shown, axis=2) > 1e-9
    assert coloured.tolist() == [[False, False, False], [True, True, False]]


def test_colours_grow_lighter_with_the_value_so_that_they_read_in_grey():
    lightness = SCALE.colours(np.linspace(1, 5, 50))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()


def test_one_scale_serves_a_category():
    maps = np.zeros((3, 40, 40), np.float32)
    maps[1] = 2.0
    maps[2, 0, 0] = 9.0
    scale = scale_of(maps, np.array([False, False, True]), None)
    assert (scale.low, scale.high) == (2.0, 9.0)
    assert "99% of all pixels of the normal test images" in scale.meaning
    known = scale_of(maps, np.array([False, False, True]), 3.5)
    assert (known.low, known.high) == (3.5, 9.0)
    assert "normal training images" in known.meaning


def test_without_a_normal_test_image_half_of_the_pixels_have_no_colour():
    maps = np.arange(32.0).reshape(2, 4, 4)
    scale = scale_of(maps, np.array([True, True]), None)
    assert scale.low == 15.5
    assert "half" in scale.meaning


@pytest.mark.parametrize("value", [0.0, 1e-300, 1.0, 1e30])
def test_constant_maps_have_a_scale_and_no_colour(value):
    maps = np.full((2, 4, 4), value)
    colours = scale_of(maps, np.array([False, True]), None).colours(maps[0])
    assert np.isfinite(colours).all()
    assert (colours[..., 3] == 0).all()


# The picture says what it shows.


def test_a_missed_defect_says_so_with_score_and_threshold():
    decided = judged(threshold=2.5, origin="threshold from folds")
    shown = texts(sheet(view(square()), SCALE, decided, 1, "test/cut/001.png"))
    for said in ("missed defect", "score 2 ≤ threshold 2.5", "threshold from folds"):
        assert said in shown
    for said in ("test/cut/001.png", "image, defect outlined", "ground truth", "anomaly map"):
        assert said in shown
    assert "No colour up to 1: what lies below" in shown
    assert "anomaly score of a pixel" in shown


@pytest.mark.parametrize(
    ("place", "verdict"),
    [(0, "correctly passed"), (1, "missed defect"), (2, "false alarm"), (3, "defect caught")],
)
def test_every_verdict(place, verdict):
    assert verdict in texts(sheet(view(), SCALE, judged(threshold=2.5), place, "x.png"))


def test_without_a_threshold_the_rank_stands_in_place_of_a_verdict():
    shown = texts(sheet(view(square()), SCALE, judged(), 1, "x.png"))
    assert "score 2, rank 3 of 4" in shown
    assert "missed" not in shown
    assert "threshold" not in shown


def test_a_score_on_the_threshold_is_not_called_anomalous():
    assert judged(threshold=2.0).verdict(1).word == "missed"


def test_signs_of_formulas_in_a_name_are_shown_as_they_are():
    assert "test/$a_b$^2.png" in texts(sheet(view(), SCALE, judged(), 0, "test/$a_b$^2.png"))


def test_the_outline_runs_beside_the_edge_of_the_mask_on_image_and_map():
    mask = square()
    figure = sheet(view(mask), SCALE, judged(), 1, "x.png")
    image, truth, heat = figure.axes[0].images
    assert image.get_array().shape[:2] == truth.get_array().shape[:2] == mask.shape
    for panel in (image, heat):
        left, right, bottom, top = panel.get_extent()
        inside = [
            line
            for line in lines_of(figure)
            if (line[:, 0] >= left).all() and (line[:, 0] <= right).all()
        ]
        assert inside
        for line in inside:
            x = (line[:, 0] - left) / (right - left) * SIZE - 0.5
            y = (line[:, 1] - top) / (bottom - top) * SIZE - 0.5
            distances = distance_transform_edt(~mask)[y.round().astype(int), x.round().astype(int)]
            expected = AWAY * SIZE / (bottom - top)
            assert np.abs(distances - expected).max() < 1.5


def test_a_normal_image_has_no_outline():
    assert lines_of(sheet(view(square() & False), SCALE, judged(), 0, "x.png")) == []


def test_where_there_is_no_mask_the_picture_says_so(image_file):
    heat = np.zeros((SIZE, SIZE), np.float32)
    cases = {
        "no mask": image_file("a.png", "cut"),
        "normal: nothing to mark": image_file("b.png"),
        "the mask marks nothing": image_file("c.png", "cut", square() & False),
    }
    for said, sample in cases.items():
        shown = view_of(sample, heat, PLAIN, full=False)
        assert said in texts(sheet(shown, SCALE, judged(), 1, "x.png"))


def test_a_defect_beyond_the_crop_is_named(image_file):
    sample = image_file("a.png", "cut", square(0, 4))
    shown = view_of(sample, np.zeros((16, 16), np.float32), Geometry(resize=None, crop=16), False)
    assert "outside of what is seen" in texts(sheet(shown, SCALE, judged(), 1, "x.png"))


def test_wide_images_stand_below_each_other():
    wide = sheet(view(shape=(20, 100)), SCALE, judged(), 0, "x.png")
    tall = sheet(view(shape=(100, 20)), SCALE, judged(), 0, "x.png")
    lefts = [{image.get_extent()[0] for image in f.axes[0].images} for f in (wide, tall)]
    assert [len(left) for left in lefts] == [1, 3]


def test_a_full_picture_shows_every_pixel_and_where_the_detector_looked(image_file):
    sample = image_file("a.png", "cut", square(2, 30, (300, 400)), shape=(300, 400))
    geometry = Geometry(resize=150, crop=100)
    heat = np.ones((100, 100), np.float32)
    shown = view_of(sample, heat, geometry, full=True)
    assert shown.image.shape == (300, 400, 3)
    seen = ~np.isnan(shown.heat)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (50, 250, 100, 300)
    figure = sheet(shown, SCALE, judged(), 1, "x.png")
    left, right, *_ = figure.axes[0].images[0].get_extent()
    assert (right - left) * figure.dpi / 100 >= 400 - 1e-6
    assert "does not see beyond the dashed line" in texts(figure)


# Which images have a picture, and under which name.


def test_wrong_decisions_come_first_then_the_highest_scores():
    scores = (5, 1, 2, 9, 8, 3, 7, 1)
    anomalous = (0, 1, 1, 1, 1, 0, 0, 0)
    # Missed: the lowest score first. False alarms, caught and passed: the highest first.
    assert in_order(judged(scores, anomalous, 4.0)) == [1, 2, 6, 0, 3, 4, 5, 7]
    assert in_order(judged(scores, anomalous)) == [3, 4, 6, 0, 5, 2, 1, 7]


def test_few_pictures_hold_all_wrong_decisions_and_every_defect_type():
    scores = (9, 8, 7, 6, 1, 2, 5)
    anomalous = (1, 1, 1, 1, 1, 0, 0)
    defects = ["cut", "cut", "cut", "hole", "hole", "good", "good"]
    assert choose(judged(scores, anomalous, 4.0), defects, 2) == {4, 6}
    assert choose(judged(scores, anomalous, 4.0), defects, 5) == {4, 6, 0, 5, 3}
    assert len(choose(judged(scores, anomalous, 4.0), defects, -1)) == 7


def drawn(folder, samples, scores, **more):
    maps = np.random.default_rng(0).random((len(samples), SIZE, SIZE)).astype(np.float32)
    return save_heatmaps(folder, samples, np.array(scores), maps, PLAIN, -1, **more)


@pytest.mark.fault("name", shows="kept")
def test_names_that_differ_in_a_sign_alone_have_a_picture_each(tmp_path, image_file):
    samples = [image_file(name) for name in ("a b.png", "a_b.png", "a  b.png")]
    files = drawn(tmp_path / "out", samples, [1.0, 2.0, 3.0])
    assert len({file.name.lower() for file in files}) == 3
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)
    with Image.open(files[0]) as picture:
        assert picture.format == "PNG"


@pytest.mark.fault("name", shows="kept")
def test_a_name_of_240_letters_has_a_picture(tmp_path, image_file):
    samples = [image_file(letter + "x" * 235 + ".png") for letter in "ab"]
    files = drawn(tmp_path / "out", samples, [1.0, 2.0])
    assert len(files) == 2


@pytest.mark.parametrize("letter", ["x", "ü", "検", "\udcfc", "/", "."])
@pytest.mark.fault("name", shows="kept")
def test_a_name_of_a_picture_fits_any_file_system(letter):
    name = picture_name(7, "missed", letter * 300 + "end.png")
    assert len(name.encode()) <= 200
    assert name.startswith("007_missed_")
    assert name.endswith("end.png")


def test_pictures_of_an_earlier_threshold_are_removed_and_nothing_else(tmp_path, image_file):
    samples = [image_file("a.png", "cut"), image_file("b.png")]
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.png").write_bytes(b"")
    first = drawn(folder, samples, [1.0, 2.0])
    second = drawn(folder, samples, [1.0, 2.0], threshold={"kind": "train", "value": 1.5})
    assert [re.sub(r"_[ab]\.png", "", f.name) for f in first] == ["001_normal", "002_defect"]
    assert [f.name for f in second] == ["001_missed_a.png", "002_false_alarm_b.png"]
    assert {f.name for f in folder.iterdir()} == {*(f.name for f in second), "mine.png"}


def test_the_name_of_a_picture_does_not_depend_on_how_many_there_are(tmp_path, image_file):
    samples = [image_file(f"{i}.png", "cut" if i % 2 else "good") for i in range(6)]
    scores, maps = np.arange(6.0), np.zeros((6, SIZE, SIZE), np.float32)
    few = save_heatmaps(tmp_path / "few", samples, scores, maps, PLAIN, 2)
    every = save_heatmaps(tmp_path / "all", samples, scores, maps, PLAIN, -1)
    assert {f.name for f in few} < {f.name for f in every}


def test_the_threshold_says_where_it_comes_from(tmp_path, image_file, monkeypatch):
    said = []
    monkeypatch.setattr(
        "adbench.results.heatmaps.sheet",
        lambda view, scale, judged, place, name: (
            said.append((judged.origin, scale.low)) or sheet(view, scale, judged, place, name)
        ),
    )
    folds = {"kind": "folds", "alpha": 0.05, "value": 1.5, "pixel_value": 0.75}
    drawn(tmp_path, [image_file("a.png")], [1.0], threshold=folds)
    drawn(tmp_path, [image_file("a.png")], [1.0], threshold={"kind": "train", "value": 2.0})
    assert said[0] == ("threshold from folds for a false alarm rate of 0.05", 0.75)
    assert said[1][0] == "threshold: the largest training score"


def test_pictures_are_the_same_bytes_every_time_whatever_the_users_settings(tmp_path, image_file):
    import matplotlib

    sample = image_file("a.png", "cut", square())
    first = drawn(tmp_path / "a", [sample], [1.0])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        second = drawn(tmp_path / "b", [sample], [1.0])
    assert [Path(f).read_bytes() for f in first] == [Path(f).read_bytes() for f in second]
