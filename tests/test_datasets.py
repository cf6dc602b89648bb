import hashlib
import logging
from pathlib import Path

import pytest
from PIL import Image

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.data.content import digests, fingerprint
from adbench.data.demo import Demo
from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.data.mvtec import PUBLISHED, MVTec
from adbench.data.samples import Sample, Split
from adbench.data.survey import survey
from adbench.errors import AdbenchError, DataError
from adbench.system.settings import check, unread


def picture(path: Path, edge: int = 8, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (edge, edge), value).save(path)
    return path


WHOLE = Geometry(resize=(32, 32), crop=None)


def problems(dataset: MVTec | Folder, geometry: Geometry = WHOLE) -> str:
    return "\n".join(problem for row in dataset.check(geometry) for problem in row["problems"])


# content


def test_digests_are_the_sha256_of_the_files_in_order(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc" * 10**6)
    assert digests([tmp_path / "a", tmp_path / "b"]) == [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        hashlib.sha256(b"abc" * 10**6).hexdigest(),
    ]
    with pytest.raises(DataError, match="c: the image file does not exist"):
        digests([tmp_path / "c"])


def test_a_fingerprint_names_content_and_not_place(tmp_path, make_category):
    splits = []
    for root in (tmp_path / "here", tmp_path / "there"):
        make_category(root)
        splits.append(MVTec(root=str(root), categories="bottle").load("bottle"))
    assert fingerprint(splits[0]) == fingerprint(splits[1])
    seen = {fingerprint(splits[0])}
    train, test = splits[0].train, splits[0].test
    assert test[0].anomalous
    others = [
        Split(train[1:], test),
        Split(train, test[1:]),
        Split([], train + test),
        Split(train, [Sample(test[0].path, "other", test[0].defect, test[0].masks), *test[1:]]),
        Split(train, [Sample(test[0].path, test[0].name, "other", test[0].masks), *test[1:]]),
        Split(train, [Sample(test[0].path, test[0].name, test[0].defect), *test[1:]]),
    ]
    seen.update(fingerprint(other) for other in others)
    picture(splits[0].test[0].path)
    seen.add(fingerprint(splits[0]))
    picture(*splits[1].test[0].masks)
    seen.add(fingerprint(splits[1]))
    assert len(seen) == 3 + len(others)


def test_digests_that_are_known_give_the_same_fingerprint(tmp_path, make_category):
    make_category(tmp_path)
    split = MVTec(root=str(tmp_path), categories="bottle").load("bottle")
    known = [digests([s.path for s in part]) for part in (split.train, split.test)]
    assert fingerprint(split, *known) == fingerprint(split)
    assert fingerprint(split, known[0], ["0", *known[1][1:]]) != fingerprint(split)


# MVTec


def test_mvtec_reads_its_layout(tmp_path, make_category):
    make_category(tmp_path)
    split = MVTec(root=str(tmp_path)).load("bottle")
    assert [s.name for s in split.train] == [f"train/good/00{i}.png" for i in range(3)]
    assert [(s.name, s.defect, s.anomalous) for s in split.test] == [
        ("test/crack/000.png", "crack", True),
        ("test/crack/001.png", "crack", True),
        ("test/dent/000.png", "dent", True),
        ("test/dent/001.png", "dent", True),
        ("test/good/000.png", "good", False),
        ("test/good/001.png", "good", False),
    ]
    assert split.test[3].masks == (tmp_path / "bottle/ground_truth/dent/001_mask.png",)
    assert split.test[4].masks == ()
    assert all(s.path.is_absolute() for s in split.train + split.test)


@pytest.mark.parametrize("trap", ["good", "test", "ground_truth", "train/good/test"])
def test_words_of_the_layout_in_the_root_do_no_harm(tmp_path, make_category, trap):
    make_category(tmp_path / trap, "bottle")
    split = MVTec(root=str(tmp_path / trap)).load("bottle")
    assert [s.defect for s in split.test] == ["crack", "crack", "dent", "dent", "good", "good"]
    assert all(mask.is_file() for s in split.test for mask in s.masks)


def test_the_root_may_be_relative_or_under_home(tmp_path, make_category, monkeypatch):
    make_category(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert MVTec(root="data").names() == ["bottle"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        MVTec(root="~/data").load("bottle").train[0].path
        == tmp_path / "data/bottle/train/good/000.png"
    )


def test_categories_come_in_mvtecs_order_or_as_given(tmp_path, make_category, caplog):
    for category in ("wood", "bottle", "grid", "my_part"):
        make_category(tmp_path, category)
    assert MVTec(root=str(tmp_path)).names() == ["bottle", "grid", "wood"]
    assert "ignored folders that are no category of MVTec AD: my_part" in caplog.text
    assert MVTec(root=str(tmp_path), categories=["wood", "my_part", "wood"]).names() == [
        "wood",
        "my_part",
    ]
    assert MVTec(root=str(tmp_path), categories="grid").names() == ["grid"]


def test_the_published_counts_are_complete():
    assert len(PUBLISHED) == 15
    assert sum(train for train, _ in PUBLISHED.values()) == 3629
    assert sum(test for _, test in PUBLISHED.values()) == 1725


@pytest.mark.fault("image", shows="error")
def test_a_missing_root_says_what_to_do(tmp_path):
    with pytest.raises(
        DataError,
        match=r"dataset\.root: the folder .*nowhere does not exist; .*dataset\.root=DIR.*BY-NC-SA",
    ):
        MVTec(root=str(tmp_path / "nowhere")).names()


def test_a_root_without_categories_says_what_it_holds(tmp_path, make_category):
    with pytest.raises(DataError, match=r"holds no category of MVTec AD .* it holds no folders"):
        MVTec(root=str(tmp_path)).names()
    make_category(tmp_path, "my_part")
    with pytest.raises(DataError, match=r"it holds my_part\. Name folders of the same layout"):
        MVTec(root=str(tmp_path)).names()


def test_a_category_given_as_root_is_recognised(tmp_path, make_category):
    root = make_category(tmp_path)
    with pytest.raises(
        DataError, match=rf"is one category.*dataset\.root={tmp_path} dataset\.categories=bottle"
    ):
        MVTec(root=str(root)).names()


def test_an_unknown_category_offers_the_nearest_name(tmp_path, make_category):
    make_category(tmp_path)
    with pytest.raises(
        DataError, match=r"has no folder 'botle'; it has bottle\. Did you mean bottle\?"
    ):
        MVTec(root=str(tmp_path), categories=["botle"]).names()
    with pytest.raises(DataError, match=r"has no folder 'zipper'; it has bottle.$"):
        MVTec(root=str(tmp_path), categories=["zipper"]).names()
    with pytest.raises(DataError, match=r"it has bottle.$"):  # not capsule, which is not there
        MVTec(root=str(tmp_path), categories=["capsul"]).names()


def test_wrong_settings_are_named():
    with pytest.raises(AdbenchError, match=r"dataset.categories"):
        check(MVTec, {"root": "x", "categories": []}, "dataset")
    with pytest.raises(
        AdbenchError, match=r"dataset.category: unknown setting; .*has root, categories, broken"
    ):
        check(MVTec, {"root": "x", "category": "bottle"}, "dataset")
    with pytest.raises(AdbenchError, match=r"dataset.root: must be given"):
        check(MVTec, {}, "dataset")


@pytest.mark.parametrize("place", ["train/good", "test"])
@pytest.mark.fault("image", shows="error")
def test_a_missing_or_empty_part_is_named(tmp_path, make_category, place):
    folder = make_category(tmp_path) / place
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    dataset = MVTec(root=str(tmp_path))
    with pytest.raises(
        DataError, match=rf"bottle/{place} holds no images \(.*\); a category has train/good"
    ):
        dataset.load("bottle")
    folder.rmdir()
    with pytest.raises(
        DataError, match=f"bottle/{place} does not exist; a category has train/good"
    ):
        dataset.load("bottle")
    assert "does not exist" in problems(dataset)


@pytest.mark.fault("mask", shows="error")
def test_a_missing_mask_is_named(tmp_path, make_category):
    folder = make_category(tmp_path)
    (folder / "ground_truth/dent/001_mask.png").unlink()
    dataset = MVTec(root=str(tmp_path))
    with pytest.raises(
        DataError, match=r"ground_truth/dent/001_mask\.png is missing \(1 of 4 masks of bottle\)"
    ):
        dataset.load("bottle")
    assert "001_mask.png is missing" in problems(dataset)


@pytest.mark.fault("mask", shows="error")
def test_two_images_of_one_mask_are_named(tmp_path, make_category):
    folder = make_category(tmp_path)
    picture(folder / "test/dent/001.jpg")
    dataset = MVTec(root=str(tmp_path))
    message = (
        f"{folder}/ground_truth/dent/001_mask.png fits {folder}/test/dent/001.jpg and "
        f"{folder}/test/dent/001.png; give every image a stem of its own, and its masks the same "
        "one"
    )
    with pytest.raises(DataError) as caught:
        dataset.load("bottle")
    assert str(caught.value) == message
    assert message in problems(dataset)
    picture(folder / "test/good/001.jpg")  # a normal image needs no mask
    (folder / "test/dent/001.jpg").unlink()
    dataset.load("bottle")


def test_a_test_set_of_one_class_is_read(tmp_path, make_category):
    make_category(tmp_path, defects=[])
    split = MVTec(root=str(tmp_path)).load("bottle")
    assert [s.anomalous for s in split.test] == [False, False]


def test_an_incomplete_category_runs_with_a_warning(tmp_path, make_category, caplog):
    for category in ("bottle", "my_part"):
        make_category(tmp_path, category)
        MVTec(root=str(tmp_path)).load(category)
    assert [r.getMessage() for r in caplog.records] == [
        "bottle has 3 training and 6 test images of 209 and 83; its numbers do not compare with "
        "published ones"
    ]


def test_harmless_oddities_are_named_by_check_alone(tmp_path, make_category):
    folder = make_category(tmp_path)
    expected = MVTec(root=str(tmp_path)).load("bottle")
    (folder / "test/dent/notes.txt").write_text("")
    (folder / "test/._000.png").write_text("")
    (folder / "test/dent/.DS_Store").write_text("")
    (folder / "readme.txt").write_text("")
    (folder / "tests").mkdir()
    (folder / "train/bad").mkdir()
    (folder / "test/scratch").mkdir()
    picture(folder / "test/stray.png")
    picture(folder / "ground_truth/dent/009_mask.png")
    dataset = MVTec(root=str(tmp_path))
    assert dataset.load("bottle") == expected
    assert dataset.check(WHOLE)[0]["problems"] == [
        "tests: unknown folder; a category has train, test, ground_truth",
        "train/bad: unknown folder; training images are in train/good",
        "test/dent/notes.txt: not an image",
        "test/scratch: empty folder",
        "test/stray.png: a file where only folders belong",
        "ground_truth/dent/009_mask.png: a mask without its image in test/dent",
    ]


def test_check_counts_and_decodes_everything(tmp_path, make_category):
    folder = make_category(tmp_path)
    picture(folder / "train/good/003.png", edge=40)
    (row,) = MVTec(root=str(tmp_path)).check(WHOLE)
    assert row == {
        "category": "bottle",
        "train": 4,
        "test_normal": 2,
        "test_anomalous": 4,
        "masks": 4,
        "size": "32x32, 40x40",
        "mode": "L, RGB",
        "area_left_out": "0%",
        "marks_left_out": "0%",
        "complete": "no",
        "problems": [],
        "notes": [],
    }
    (folder / "train/good/000.png").write_bytes(b"")
    cut = (folder / "test/good/000.png").read_bytes()
    (folder / "test/good/000.png").write_bytes(cut[: len(cut) // 2])
    picture(folder / "ground_truth/dent/000_mask.png", edge=16)
    picture(folder / "ground_truth/dent/001_mask.png", edge=32, value=0)
    (folder / "test/crack/000.png").write_bytes((folder / "train/good/001.png").read_bytes())
    found = problems(MVTec(root=str(tmp_path)))
    assert "train/good/000.png: the image file is empty (0 bytes)" in found
    assert "test/good/000.png: cannot be decoded" in found
    assert "000_mask.png: the mask has 16x16 pixels but its image 32x32" in found
    assert (
        "the mask marks no pixel in 1 anomalous image, whose pixels count as normal: "
        "test/dent/001.png" in found
    )
    assert (
        "test/crack/000.png is the same file as train/good/001.png: the test is not blind" in found
    )
    assert len(found.splitlines()) == 5


@pytest.mark.parametrize(
    ("published", "complete"), [((3, 6), "yes"), ((3, 7), "no"), (None, "unknown")]
)
def test_complete_means_the_published_counts(tmp_path, make_category, published, complete):
    make_category(tmp_path)
    assert (
        survey("bottle", MVTec(root=str(tmp_path)).load, WHOLE, published=published)["complete"]
        == complete
    )


@pytest.mark.fault("image", shows="error")
def test_a_folder_that_may_not_be_read_is_named(tmp_path, make_category, monkeypatch):
    make_category(tmp_path)

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # not by chmod, which does not bind a superuser
    with pytest.raises(DataError, match="train/good: cannot be listed: Permission denied"):
        MVTec(root=str(tmp_path)).load("bottle")


def test_the_real_images_are_complete(real_mvtec, caplog):
    dataset = MVTec(root=str(real_mvtec))
    with caplog.at_level(logging.WARNING):
        for category in dataset.names():
            split = dataset.load(category)
            assert (len(split.train), len(split.test)) == PUBLISHED[category]
    assert not caplog.records


# own folders


@pytest.fixture
def parts(tmp_path) -> Path:
    """10 normal images, 2 + 1 with defects, masks in both forms."""
    for number in range(10):
        picture(tmp_path / f"ok/{number}.png", value=number)
    for name in ("scratch/1", "scratch/2", "dent/1"):
        picture(tmp_path / f"bad/{name}.PNG")
    for name in ("scratch/1_mask", "scratch/2", "dent/1"):
        picture(tmp_path / f"masks/{name}.png")
    return tmp_path


def test_normal_images_alone_are_split(parts):
    split = Folder(root=str(parts), normal="ok", category="bolts").load("bolts")
    assert len(split.train) == 8
    assert {s.name for s in split.train + split.test} == {f"{i}.png" for i in range(10)}
    assert not any(s.anomalous for s in split.test)
    assert Folder(root=str(parts), normal="ok", category="bolts").names() == ["bolts"]


def test_the_held_out_images_follow_the_seed_and_barely_move(parts):
    def held(**settings: object) -> set[str]:
        return {s.name for s in Folder(root=str(parts), normal="ok", **settings).load("parts").test}

    assert held() == held()
    assert len({frozenset(held(seed=seed)) for seed in range(10)}) > 3
    assert len(held(holdout=0.5)) == 5
    assert len(held(holdout=0.99)) == 9
    assert held() < held(holdout=0.5)
    before = held()
    picture(parts / "ok/new.png")
    assert len(before & held()) >= len(before) - 1


def test_what_holds_images_out_is_read_where_images_are_held_out():
    alone, tested = Folder(normal="ok"), Folder(normal="ok", normal_test="ok_test")
    for setting in ("holdout", "seed"):
        assert unread(alone, [setting]) is None
        assert "there is no normal_test" in unread(tested, [setting])


def test_test_folders_give_defect_types_and_masks(parts):
    picture(parts / "ok_test/7.png")
    dataset = Folder(
        root=str(parts), normal="ok", normal_test="ok_test", abnormal="bad", masks="masks"
    )
    split = dataset.load("parts")
    assert len(split.train) == 10
    masks = {
        s.name: (s.defect, [mask.relative_to(parts).as_posix() for mask in s.masks])
        for s in split.test
    }
    assert masks == {
        "bad/dent/1.PNG": ("dent", ["masks/dent/1.png"]),
        "bad/scratch/1.PNG": ("scratch", ["masks/scratch/1_mask.png"]),
        "bad/scratch/2.PNG": ("scratch", ["masks/scratch/2.png"]),
        "ok_test/7.png": ("good", []),
    }
    (row,) = dataset.check(WHOLE)
    assert (row["train"], row["test_normal"], row["test_anomalous"], row["masks"]) == (10, 1, 3, 3)
    assert (row["complete"], row["problems"]) == ("unknown", [])


def test_folders_may_be_listed_and_lie_anywhere(parts):
    absolute = str(parts / "bad/dent")
    split = Folder(root=str(parts / "bad"), normal="../ok", abnormal=["scratch", absolute]).load(
        "parts"
    )
    assert [s.name for s in split.test if s.anomalous] == [
        "bad/dent/1.PNG",
        "bad/scratch/1.PNG",
        "bad/scratch/2.PNG",
    ]
    assert not any(s.masks for s in split.test)
    assert all(s.name.startswith("ok/") for s in split.train)


def test_flat_masks_are_found_and_must_be_unique(parts):
    picture(parts / "flat/1_mask.tif")
    picture(parts / "flat/2.png")
    dataset = Folder(root=str(parts), normal="ok", abnormal="bad/scratch", masks="flat")
    masks = [mask.name for s in dataset.load("parts").test for mask in s.masks]
    assert masks == ["1_mask.tif", "2.png"]
    both = Folder(root=str(parts), normal="ok", abnormal="bad", masks="flat")
    with pytest.raises(
        DataError,
        match=r"flat/1_mask\.tif fits .*dent/1\.PNG and .*scratch/1\.PNG; put masks into subf",
    ):
        both.load("parts")
    picture(parts / "flat/1.png")
    with pytest.raises(
        DataError, match=r"scratch/1\.PNG has 2 masks, .*flat/1\.png, .*flat/1_mask\.tif; one"
    ):
        dataset.load("parts")


@pytest.mark.fault("mask", shows="error")
def test_a_missing_mask_of_an_own_image_is_named(parts):
    (parts / "masks/scratch/2.png").unlink()
    dataset = Folder(root=str(parts), normal="ok", abnormal="bad", masks="masks")
    with pytest.raises(
        DataError,
        match=r"scratch/2\.PNG has no mask; .* as scratch/2\.png or 2_mask\.png in .*masks",
    ):
        dataset.load("parts")


def test_masks_below_the_images_are_no_images(parts):
    (parts / "masks").rename(parts / "bad/masks")
    split = Folder(root=str(parts), normal="ok", abnormal="bad", masks="bad/masks").load("parts")
    assert sum(len(s.masks) for s in split.test) == sum(s.anomalous for s in split.test) == 3


@pytest.mark.parametrize("setting", ["normal", "normal_test", "abnormal", "masks"])
def test_a_missing_folder_names_its_setting(parts, setting):
    settings = {"normal": "ok", setting: "nowhere"}
    with pytest.raises(
        DataError, match=rf"dataset\.{setting}: the folder .*nowhere does not exist"
    ):
        Folder(root=str(parts), **settings).names()


@pytest.mark.parametrize("setting", ["normal", "normal_test", "abnormal"])
def test_a_folder_without_images_names_its_setting(parts, setting):
    (parts / "empty").mkdir()
    (parts / "empty/notes.txt").touch()
    with pytest.raises(DataError, match=rf"dataset\.{setting}: .*empty holds no images"):
        Folder(root=str(parts), **{"normal": "ok", setting: "empty"}).load("parts")


def test_an_image_has_one_role(parts):
    with pytest.raises(DataError, match=r"bad/dent/1\.PNG would be used twice"):
        Folder(root=str(parts), normal=".", abnormal="bad", subfolders=True).load("parts")
    with pytest.raises(DataError, match="would be used twice"):
        Folder(root=str(parts), normal="ok", abnormal=["bad", "bad/dent"]).load("parts")


def test_abnormal_images_cannot_be_called_good(parts):
    picture(parts / "bad/good/1.png")
    with pytest.raises(
        DataError,
        match=r"bad/good/1\.png lies in a folder called good; give that as dataset\.normal_test",
    ):
        Folder(root=str(parts), normal="ok", abnormal="bad").load("parts")


def test_one_normal_image_cannot_be_split(parts):
    picture(parts / "one/1.png")
    with pytest.raises(DataError, match="one holds 1 image; 2 are needed to hold one out"):
        Folder(root=str(parts), normal="one").load("parts")


def test_normal_images_of_one_name_cannot_be_split(parts):
    for place in ("cam1/1.png", "cam2/1.png", "other/2.png"):
        picture(parts / place)
    with pytest.raises(
        DataError,
        match=r"dataset\.normal: all 2 images are called 1\.png in their folders, .*; 2 names are "
        r"needed to hold one out, or give test images by dataset\.normal_test",
    ):
        Folder(root=str(parts), normal=["cam1", "cam2"]).load("parts")
    split = Folder(root=str(parts), normal=["cam1", "cam2"], normal_test="other").load("parts")
    assert (len(split.train), len(split.test)) == (2, 1)
    split = Folder(root=str(parts), normal=["cam1", "cam2", "other"]).load("parts")
    assert {len(split.train), len(split.test)} == {1, 2}


def test_check_names_what_is_not_used(parts):
    (parts / "ok/notes.txt").touch()
    picture(parts / "masks/dent/8_mask.png")
    dataset = Folder(root=str(parts), normal="ok", abnormal="bad", masks="masks")
    assert problems(dataset).splitlines() == [
        f"{parts}/ok/notes.txt: not an image",
        f"{parts}/masks/dent/8_mask.png: a mask without its image",
    ]


# presets


def preset(name: str, **settings: object) -> object:
    words = [f"dataset={name}", *(f"dataset.{key}={value}" for key, value in settings.items())]
    return build(Configs().compose([*words, "cache=null"])["dataset"], "dataset")


def test_presets_hold_the_defaults(monkeypatch):
    assert preset("demo") == Demo()
    assert preset("folder", normal="ok") == Folder(normal="ok")
    with pytest.raises(AdbenchError, match=r"dataset\.normal: must be given"):
        preset("folder")
    monkeypatch.setenv("ADBENCH_DATA", "/images")
    assert preset("mvtec") == MVTec(root="/images/mvtec")
    monkeypatch.delenv("ADBENCH_DATA")
    assert preset("mvtec", categories="grid") == MVTec(root="data/mvtec", categories="grid")
