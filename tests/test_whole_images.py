"""What a geometry leaves out of images and masks, and who says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import adbench
from made_runs import run_jobs
from PIL import Image

from adbench.config.compose import Configs
from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.results import records

RANDOM = "backbone.weights=random"


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_wide(root: Path, columns: list[int], size: tuple[int, int] = (64, 512)) -> Path:
    """Grey images with a red square of 8 pixels at each of some columns, and its mask."""
    rng = np.random.default_rng(0)

    def scene() -> np.ndarray:
        return rng.integers(90, 110, (*size, 3), dtype=np.uint8)

    for number in range(6):
        save(root / f"ok/{number}.png", scene())
    for number in range(2):
        save(root / f"ok_test/{number}.png", scene())
    middle = size[0] // 2
    for number, column in enumerate(columns):
        image, mask = scene(), np.zeros(size, np.uint8)
        place = np.s_[middle - 4 : middle + 4, column - 4 : column + 4]
        image[place], mask[place] = (200, 20, 20), 255
        save(root / f"bad/spot/{number}.png", image)
        save(root / f"masks/spot/{number}.png", mask)
    return root


def own(root: Path, *more: str) -> list[str]:
    """The words for these images."""
    folders = ("normal=ok", "normal_test=ok_test", "abnormal=bad", "masks=masks")
    return ["dataset=folder", *(f"dataset.{f}" for f in (f"root={root}", *folders)), *more]


# shares


@pytest.mark.parametrize(
    ("geometry", "size", "expected"),
    [
        (Geometry(), (256, 256), 1 - (224 / 256) ** 2),
        (Geometry(), (900, 1200), 1 - 224 * 224 / (256 * 341)),
        (Geometry(), (64, 512), 1 - 224 * 224 / (256 * 2048)),
        (Geometry(resize=(256, 256), crop=None), (64, 512), 0),
        (Geometry(resize=None, crop=32), (64, 64), 0.75),
        (Geometry(resize=None, crop=None), (3, 5), 0),
    ],
)
def test_the_share_of_an_image_that_a_crop_leaves_out(geometry, size, expected):
    assert geometry.left_out(size) == pytest.approx(expected)


def test_an_own_dataset_is_seen_as_a_whole_unless_another_geometry_is_named():
    def geometry(*words: str) -> tuple[str, object]:
        config = Configs().compose(["dataset=folder", "dataset.normal=ok", *words])
        return config.geometry.name, config.geometry.crop

    assert geometry() == ("whole", None)
    assert geometry("geometry=crop224") == ("crop224", 224)
    assert geometry("experiment=roth2022") == ("official", 224)
    assert geometry("experiment=roth2022", "geometry=square256") == ("square256", None)
    assert geometry("geometry.crop=100") == ("whole", 100)
    assert Configs().compose([]).geometry.name == "crop224"


# run and record


def test_a_crop_that_hides_defects_is_told_by_run_and_record(tmp_path, caplog):
    root = make_wide(tmp_path / "images", [10, 20, 40, 256])
    said: list[str] = []
    words = " ".join(own(root, RANDOM))
    outcomes = run_jobs(tmp_path, f"{words} geometry=crop224", words, say=said.append)
    cropped, whole = (outcome.records[0] for outcome in outcomes)
    assert cropped.left_out == {
        "area": pytest.approx(0.904297),
        "marked": 0.75,
        "images": [f"bad/spot/{number}.png" for number in range(3)],
    }
    assert whole.left_out == {"area": 0, "marked": 0, "images": []}
    on_disk = json.loads((tmp_path / "records" / f"{cropped.name}.json").read_text())
    assert on_disk["left_out"] == cropped.left_out
    (line,) = [line for line in said if "leaves out" in line]
    assert line.endswith("; the crop leaves out 90% of the image area and 75% of the marked pixels")
    warned = [r.getMessage() for r in caplog.records if r.name == "adbench.bench.category"]
    assert warned == [
        "parts: the whole defect lies outside the crop in 3 anomalous images, whose pixels count "
        "as normal: bad/spot/0.png, bad/spot/1.png, bad/spot/2.png"
    ]


def test_masks_that_mark_nothing_are_named_on_screen_and_in_the_record(tmp_path, caplog):
    root = make_wide(tmp_path / "images", [100, 200, 300, 400])
    blank = Image.new("P", (512, 64), 1)  # a palette without colours
    blank.putpalette([0, 0, 0, 0, 0, 0])
    blank.save(root / "masks/spot/1.png")
    mask = np.zeros((64, 512, 4), np.uint8)
    mask[20:40, 200:220, 3] = 255  # alpha alone marks the defect
    save(root / "masks/spot/2.png", mask)
    (outcome,) = run_jobs(tmp_path, " ".join(own(root, RANDOM)))
    (record,) = outcome.records
    assert record.notes[-1] == (
        "anomalous images whose mask marks no pixel, so that all of them count as normal: "
        "bad/spot/1.png, bad/spot/2.png"
    )
    assert "the mask marks no pixel in 2 anomalous images" in caplog.text


def test_a_defect_that_resizing_deletes_is_named(tmp_path, caplog):
    root = make_wide(tmp_path / "images", [100, 200])
    tiny = np.zeros((64, 512), np.uint8)
    tiny[33, 33] = 255
    save(root / "masks/spot/0.png", tiny)
    words = own(root, RANDOM, "geometry.mask_rule=floor")
    (outcome,) = run_jobs(tmp_path, " ".join(words))
    assert outcome.records[0].left_out["images"] == ["bad/spot/0.png"]
    assert "resizing leaves nothing of the mask in 1 anomalous image, whose" in caplog.text


def test_pixels_in_the_original_size_know_what_a_crop_leaves_out(tmp_path):
    root = make_wide(tmp_path / "images", [10, 256])
    words = own(root, RANDOM, "geometry=crop224", "geometry.evaluate_at=original")
    (outcome,) = run_jobs(tmp_path, " ".join(words))
    assert outcome.records[0].left_out["images"] == ["bad/spot/0.png"]
    assert outcome.records[0].left_out["marked"] == 0.5


def test_what_a_crop_leaves_out_is_known_without_masks(tmp_path):
    root = make_wide(tmp_path / "images", [10, 256])
    words = own(root, RANDOM, "geometry=crop224", "dataset.masks=null")
    (outcome,) = run_jobs(tmp_path, " ".join(words))
    left_out = outcome.records[0].left_out
    assert left_out == {"area": pytest.approx(0.904297), "marked": None, "images": []}


def test_records_of_earlier_versions_have_no_such_facts(tmp_path):
    (outcome,) = run_jobs(tmp_path, " ".join(own(make_wide(tmp_path / "i", [256]), RANDOM)))
    (path,) = (tmp_path / "records").glob("*.json")
    assert records.load(path).left_out == outcome.records[0].left_out


# check


def test_check_says_what_a_crop_leaves_out(tmp_path):
    root = make_wide(tmp_path / "images", [10, 20, 40, 256])
    done = adbench(tmp_path, "data", "check", *own(root, "geometry=crop224"))
    header, _, row, fine, note = done.stdout.splitlines()
    assert fine == "no problems found"
    shown = dict(zip(header.split(), row.split(), strict=True))
    assert (shown["area_left_out"], shown["marks_left_out"]) == ("90%", "75%")
    assert note.startswith("parts: the whole defect lies outside the crop in 3 anomalous images")
    whole = adbench(tmp_path, "data", "check", *own(root)).stdout.splitlines()
    assert whole[-1] == "no problems found"
    assert whole[2].split()[7:9] == ["0%", "0%"]


def test_check_refuses_a_wrong_word_of_the_geometry(tmp_path):
    done = adbench(tmp_path, "data", "check", "geometry.crob=3", check=False)
    assert done.returncode == 2
    assert "geometry.crob" in done.stderr


def test_a_crop_that_does_not_fit_is_named_by_check(tmp_path):
    root = make_wide(tmp_path / "images", [256])
    dataset = Folder(root=str(root), normal="ok")
    found = dataset.check(Geometry(resize=None, crop=100))[0]["problems"]
    assert len(found) == 6
    assert f"{root}/ok/0.png: geometry.crop 100x100 is larger than an image of 64x512" in found[0]


# what it is worth


@pytest.mark.slow
def test_a_defect_at_the_edge_of_a_photo_is_seen_by_default(tmp_path):
    root, rng = tmp_path / "images", np.random.default_rng(0)
    rows, columns = np.mgrid[0:900, 0:1200]

    def photo(place: str, count: int, centre: tuple[int, int] | None = None) -> None:
        for number in range(count):
            noise = rng.normal(0, 5, (900, 1200, 1))
            image = 120 + 40 * np.sin(columns[..., None] / 60) + noise + np.zeros(3)
            if centre:
                away = np.hypot(rows - centre[0], columns - centre[1] - number)
                image[away < 30] = (180, 40, 40)
            save(root / f"{place}/{number}.png", image.clip(0, 255).astype(np.uint8))

    photo("ok", 12)
    photo("ok_test", 6)
    photo("bad/edge", 6, (450, 60))
    words = " ".join(own(root, "dataset.masks=null"))
    whole, cropped = run_jobs(tmp_path, words, f"{words} geometry=crop224")
    assert whole.records[0].metrics["image_auroc"] == 1
    assert cropped.records[0].metrics["image_auroc"] < 0.85
    assert cropped.records[0].left_out["area"] == pytest.approx(0.43, abs=0.01)
