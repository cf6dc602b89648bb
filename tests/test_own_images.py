"""A user's own folders: whose masks are whose, which images are normal, and broken ones."""

from pathlib import Path

import pytest
from commands import adbench
from made_runs import run_jobs
from PIL import Image

from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.data.mvtec import MVTec
from adbench.errors import AdbenchError, DataError
from adbench.system.settings import check

WHOLE = Geometry(resize=(32, 32), crop=None)


def picture(path: Path, edge: int = 32, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (edge, edge), value).save(path)
    return path


@pytest.fixture
def parts(tmp_path) -> Path:
    """6 normal images, and one with a defect."""
    for number in range(6):
        picture(tmp_path / f"ok/{number}.png", value=number)
    picture(tmp_path / "bad/dent/0.png")
    return tmp_path


# masks


def masks_of(root: Path, **settings: object) -> dict[str, str]:
    split = Folder(root=str(root), normal="ok", masks="masks", **settings).load("parts")
    tested = [s for s in split.test if s.anomalous]
    return {s.name: s.masks[0].relative_to(root / "masks").as_posix() for s in tested}


def test_masks_lie_at_the_relative_paths_of_their_images(parts):
    images = ["colour/cam1/00", "colour/cam2/00", "crack/cam1/00", "crack/cam2/00"]
    for name in images:
        picture(parts / f"NG/{name}.jpg")
        picture(parts / f"masks/{name}.png")
    assert masks_of(parts, abnormal="NG") == {f"NG/{n}.jpg": f"{n}.png" for n in images}
    some = masks_of(parts, abnormal=["NG/colour", "NG/crack/cam1"])
    assert some == {f"NG/{n}.jpg": f"{n}.png" for n in images[:3]}


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ("bad/dent/0.png", True),  # the path below the folder that both lie in
        ("dent/0_mask.TIF", True),
        ("second look/dent/0.bmp", True),  # a folder of the same name
        ("0_mask.gif", True),
        ("other/0.png", False),
        ("dent/0_mask", False),
        ("dent/00.png", False),
    ],
)
def test_places_and_names_of_a_mask(parts, mask, found):
    path = parts / "masks" / mask
    picture(path.with_name("x.png")).rename(path)
    if path.suffix:
        Image.new("L", (32, 32)).save(path)
    if found:
        assert masks_of(parts, abnormal="bad") == {"bad/dent/0.png": mask}
        return
    with pytest.raises(DataError) as caught:
        masks_of(parts, abnormal="bad")
    assert str(caught.value) == (
        f"dataset.masks: {parts}/bad/dent/0.png has no mask; one is needed, as dent/0.png or "
        f"0_mask.png in {parts}/masks, which holds {mask}"
    )


@pytest.mark.parametrize("name", ["000_mask.PNG", "000_mask.bmp", "000.png", "000_mask.tiff"])
def test_masks_of_mvtecs_layout_have_any_suffix_that_is_read(tmp_path, make_category, name):
    folder = make_category(tmp_path, defects=["dent"]) / "ground_truth/dent"
    usual = folder / "000_mask.png"
    Image.open(usual).save(folder / f"x{Path(name).suffix}")
    (folder / f"x{Path(name).suffix}").rename(folder / name)
    dataset = MVTec(root=str(tmp_path))
    assert dataset.load("bottle").test[0].masks == (usual,)
    usual.unlink()
    assert dataset.load("bottle").test[0].masks == (folder / name,)
    assert dataset.check(WHOLE)[0]["problems"] == []


@pytest.mark.fault("mask", shows="error")
def test_a_mask_without_a_suffix_is_named_where_one_is_missing(tmp_path, make_category):
    folder = make_category(tmp_path, defects=["dent"]) / "ground_truth/dent"
    (folder / "000_mask.png").rename(folder / "000_mask")
    with pytest.raises(DataError) as caught:
        MVTec(root=str(tmp_path)).load("bottle")
    assert str(caught.value) == (
        f"{folder}/000_mask.png is missing (1 of 2 masks of bottle); its folder holds 000_mask, "
        "001_mask.png. Restore it, or use dataset=folder, which needs no masks"
    )


@pytest.mark.fault("mask", shows="error")
def test_two_masks_of_one_image_are_named(tmp_path, make_category):
    folder = make_category(tmp_path, defects=["dent"]) / "ground_truth/dent"
    (folder / "000_mask.png").rename(folder / "000_mask.bmp")
    picture(folder / "000_mask.tif")
    with pytest.raises(
        DataError, match=r"dent/000\.png has 2 masks, .*000_mask\.bmp, .*000_mask\.tif; leave one"
    ):
        MVTec(root=str(tmp_path)).load("bottle")


# which images are normal


def test_a_folder_above_several_is_asked_about(parts):
    for name, count in (("ok", 5), ("nok", 3), ("new", 2)):
        for number in range(count):
            picture(parts / f"all/{name}/{number}.png")
    for settings in ({"normal": "all"}, {"normal": "ok", "normal_test": "all"}):
        with pytest.raises(DataError) as caught:
            Folder(root=str(parts), **settings).load("parts")
        setting = list(settings)[-1]
        assert str(caught.value) == (
            f"dataset.{setting}: {parts}/all has images in 3 folders: new (2), nok (3), ok (5); "
            f"name those that are normal, such as dataset.{setting}=[{parts}/all/new], or take all "
            "of them by dataset.subfolders=true"
        )
    named = Folder(root=str(parts), normal=["all/ok", "all/new"]).load("parts")
    assert len(named.train + named.test) == 7
    everything = Folder(root=str(parts), normal="all", subfolders=True).load("parts")
    assert len(everything.train + everything.test) == 10


def test_images_in_a_folder_and_below_it_are_asked_about(parts):
    picture(parts / "ok/nok/0.png")
    with pytest.raises(DataError, match=r"ok has images in 2 folders: \. \(6\), nok \(1\)"):
        Folder(root=str(parts), normal="ok").load("parts")


def test_one_folder_below_is_taken(parts):
    (parts / "train").mkdir()
    (parts / "ok").rename(parts / "train/good")
    split = Folder(root=str(parts), normal="train").load("parts")
    assert len(split.train + split.test) == 6


# broken images


@pytest.fixture
def one_broken(parts) -> Path:
    whole = (parts / "ok/3.png").read_bytes()
    (parts / "ok/3.png").write_bytes(whole[: len(whole) // 2])
    return parts


@pytest.mark.fault("image", shows="error")
def test_a_broken_training_image_is_named_with_what_to_do(one_broken):
    words = f"dataset=folder dataset.root={one_broken} dataset.normal=ok backbone.weights=random"
    (outcome,) = run_jobs(one_broken, words)
    assert outcome.failures["parts"].startswith(f"{one_broken}/ok/3.png: cannot be decoded: ")
    assert outcome.failures["parts"].endswith(
        "; a broken training image can be left out by dataset.broken=skip"
    )


@pytest.mark.fault("image", shows="kept")
def test_broken_training_images_are_left_out_on_request_and_noted(one_broken, caplog):
    (one_broken / "ok/4.png").write_bytes(b"")
    words = f"dataset=folder dataset.root={one_broken} dataset.normal=ok dataset.abnormal=bad"
    (outcome,) = run_jobs(one_broken, f"{words} dataset.broken=skip backbone.weights=random")
    (record,) = outcome.records
    assert (record.counts["train"], record.counts["test"]) == (3, 2)
    assert "broken training images were left out: ok/3.png, ok/4.png" in record.notes
    assert f"left out of the training images: {one_broken}/ok/3.png: cannot" in caplog.text
    dataset = Folder(root=str(one_broken), normal="ok", broken="skip")
    assert dataset.check(WHOLE)[0]["problems"] == [
        "3.png: broken, and left out of training",
        "4.png: broken, and left out of training",
    ]


@pytest.mark.fault("image", shows="error")
def test_a_broken_test_image_is_never_left_out(tmp_path, make_category):
    folder = make_category(tmp_path)
    (folder / "train/good/000.png").write_bytes(b"x")
    dataset = MVTec(root=str(tmp_path), broken="skip")
    assert [s.name for s in dataset.load("bottle").train] == [
        "train/good/001.png",
        "train/good/002.png",
    ]
    (folder / "test/good/000.png").write_bytes(b"x")
    words = f"dataset=mvtec dataset.root={tmp_path} dataset.broken=skip backbone.weights=random"
    (outcome,) = run_jobs(tmp_path, words)
    assert "test/good/000.png: not an image" in outcome.failures["bottle"]
    for path in (folder / "train/good").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"none of 3 training images can be read: .*000\.png"):
        dataset.load("bottle")


def test_no_other_way_with_broken_images_is_known():
    with pytest.raises(AdbenchError, match=r"dataset\.broken: .*'refuse' or 'skip', got 'drop'"):
        check(Folder, {"normal": "ok", "broken": "drop"}, "dataset")


# check


def test_many_sizes_are_summarised(parts):
    for edge in range(20, 70):
        picture(parts / f"ok/{edge}.png", edge=edge)
    (row,) = Folder(root=str(parts), normal="ok").check(WHOLE)
    assert row["size"] == "50 sizes from 20x20 to 69x69"
    done = adbench(parts, "data", "check", "dataset=folder", "dataset.normal=ok")
    assert max(map(len, done.stdout.splitlines())) < 200
    assert "no problems found" in done.stdout


@pytest.mark.fault("image", shows="error")
def test_sizes_that_no_run_takes_are_named_by_check_and_before_the_work(parts):
    for number in range(2):
        Image.new("L", (64, 32)).save(parts / f"ok/wide{number}.png")
    message = (
        "images of 32x32, 32x64 pixels end up as 256x256, 192x352 (height x width), and a run "
        "needs one size; set geometry=square256, or both sides by geometry.resize=[256,256]"
    )
    (row,) = Folder(root=str(parts), normal="ok").check(Geometry(resize=None, crop=None, area=256))
    assert row["problems"] == [message]
    words = f"dataset=folder dataset.root={parts} dataset.normal=ok backbone.weights=random"
    own, square = run_jobs(parts, words, f"{words} geometry=square256")
    assert own.failures == {"parts": message}
    assert square.records


@pytest.mark.fault("image", shows="error")
def test_check_refuses_what_run_refuses(parts):
    Image.new("F", (32, 32), 0.5).save(parts / "ok/float.tif")
    Image.new("I", (32, 32), 70000).save(parts / "ok/deep.tif")
    found = Folder(root=str(parts), normal="ok").check(WHOLE)[0]["problems"]
    assert [problem.partition(": ")[2][:30] for problem in found] == [
        "grey values from 70000 to 7000",
        "floating-point pixels have no ",
    ]
