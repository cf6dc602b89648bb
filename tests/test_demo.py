import gc
import hashlib
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from adbench.data.content import fingerprint
from adbench.data.demo import Demo
from adbench.data.drawings import PRODUCTS
from adbench.data.geometry import Geometry
from adbench.data.images import read_image, read_masks
from adbench.data.samples import Split
from adbench.errors import AdbenchError, DataError
from adbench.system.settings import check

SMALL = {"size": 64, "train": 2, "test": 7}


def contents(split: Split) -> dict[str, bytes]:
    samples = [*split.train, *split.test]
    return {s.name: b"".join(f.read_bytes() for f in (s.path, *s.masks)) for s in samples}


def the_folder(cache: Path, category: str) -> Path:
    (folder,) = cache.glob(f"demo/*/{category}")
    return folder


@pytest.mark.parametrize("category", PRODUCTS)
def test_counts_types_and_masks(tmp_path, category):
    demo = Demo(cache=str(tmp_path), size=64, train=3, test=15)
    split = demo.load(category)
    assert len(split.train) == 3
    assert sum(not s.anomalous for s in split.test) == 6
    _, kinds = PRODUCTS[category]
    assert len(kinds) == 5
    assert {k: sum(s.defect == k for s in split.test) for k in kinds} == {
        k: 2 if k in kinds[:4] else 1 for k in kinds
    }
    for sample in split.test:
        assert read_image(sample.path).shape == (64, 64, 3)
        assert len(sample.masks) == sample.anomalous
        if sample.masks:
            assert 0 < read_masks(sample.masks, (64, 64)).mean() < 0.2
    alone = Demo(cache=str(tmp_path), categories=(category,), size=64, train=3, test=15)
    (row,) = alone.check(Geometry(resize=(64, 64), crop=None))
    assert (row["complete"], row["problems"]) == ("yes", [])


@pytest.mark.parametrize(
    ("category", "kind"), [(c, k) for c, (_, kinds) in PRODUCTS.items() for k in kinds]
)
def test_a_defect_changes_the_image_where_its_mask_says(category, kind):
    draw, _ = PRODUCTS[category]
    for number in range(4):
        damaged, mask = draw(np.random.Generator(np.random.PCG64([0, number])), 96, kind)
        sound, nothing = draw(np.random.Generator(np.random.PCG64([0, number])), 96, "good")
        assert not nothing.any()
        assert damaged.min() >= 0
        assert damaged.max() <= 1
        change = np.abs(damaged - sound).max(axis=2)
        assert change[mask].mean() > 0.03
        assert change[~binary_dilation(mask, iterations=4)].mean() < 0.03 * change[mask].mean()


def test_the_seed_draws_the_images(tmp_path):
    def drawn(folder: str, seed: int) -> dict[str, bytes]:
        return contents(Demo(cache=str(tmp_path / folder), seed=seed, **SMALL).load("flange"))

    assert drawn("a", 0) == drawn("b", 0)
    first, second = drawn("a", 0), drawn("a", 1)
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)
    assert len(set(first.values())) == len(first)


def test_more_images_leave_the_first_as_they_are(tmp_path):
    few = contents(Demo(cache=str(tmp_path), **SMALL).load("denim"))
    many = contents(Demo(cache=str(tmp_path), size=64, train=4, test=9).load("denim"))
    assert few.items() < many.items()


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("denim", "2524aa9e04342ec7"),
        ("flange", "5a0ffc297743d543"),
    ],
)
def test_pixels_are_the_same_on_every_machine(tmp_path, category, expected):
    """A change of any pixel makes other results: raise VERSION with it."""
    split = Demo(cache=str(tmp_path), size=64, train=1, test=6).load(category)
    pixels = hashlib.sha256()
    for sample in [*split.train, *split.test]:
        pixels.update(read_image(sample.path).tobytes())
        pixels.update(read_masks(sample.masks, (64, 64)).tobytes() if sample.masks else b"")
    assert pixels.hexdigest()[:16] == expected


def test_images_that_are_there_are_not_drawn_again(tmp_path, caplog):
    demo = Demo(cache=str(tmp_path), **SMALL)
    first = demo.load("denim")
    times = {s.path: s.path.stat().st_mtime_ns for s in first.train}
    assert demo.load("denim") == first
    assert times == {s.path: s.path.stat().st_mtime_ns for s in first.train}
    assert not caplog.records


def damage_pixels(folder: Path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "test/good/000.png")


def damage_mask(folder: Path) -> None:
    next((folder / "ground_truth").rglob("*.png")).unlink()


def damage_seal(folder: Path) -> None:
    (folder / ".fingerprint").unlink()


def damage_folder(folder: Path) -> None:
    shutil.rmtree(folder / "train")


def damage_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file where the folder was")


@pytest.mark.parametrize(
    "damage", [damage_pixels, damage_mask, damage_seal, damage_folder, damage_place]
)
def test_a_damaged_folder_is_drawn_again(tmp_path, caplog, damage):
    demo = Demo(cache=str(tmp_path), **SMALL)
    first = contents(demo.load("flange"))
    damage(the_folder(tmp_path, "flange"))
    assert contents(demo.load("flange")) == first
    assert "is damaged" in caplog.text
    assert "drawn again" in caplog.text


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    demo = Demo(cache=str(tmp_path), **SMALL)
    demo.load("denim")
    root = the_folder(tmp_path, "denim").parent
    shutil.rmtree(root / "denim")
    (root / ".denim.left/denim/train").mkdir(parents=True)
    demo.load("denim")
    assert sorted(p.name for p in root.iterdir() if p.is_dir()) == ["denim"]


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    demo = Demo(cache=str(tmp_path / "file"), **SMALL)
    with caplog.at_level(logging.WARNING):
        split = demo.load("denim")
    assert "cannot keep the demo images in" in caplog.text
    assert fingerprint(split) == fingerprint(Demo(cache=str(tmp_path), **SMALL).load("denim"))


def test_images_without_a_cache_go_with_the_dataset(tmp_path, caplog):
    caplog.set_level(
        logging.ERROR, "adbench"
    )  # or the error in the kept warning would hold on to the dataset
    (tmp_path / "file").touch()
    demo = Demo(cache=str(tmp_path / "file"), **SMALL)
    folder = demo.load("denim").train[0].path.parents[3]
    assert folder.is_dir()
    del demo
    gc.collect()
    assert not folder.exists()


def test_no_space_at_all_is_said(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(
        DataError,
        match=r"cannot write the demo images \(.*No space left.*free some space or set cache=DIR",
    ):
        Demo(cache=str(tmp_path), **SMALL).load("denim")


def test_a_half_drawn_folder_is_never_seen(tmp_path, monkeypatch):
    saved: list[Path] = []
    save = Image.Image.save

    def stop_at_the_fifth(image: Image.Image, path: Path, **options: object) -> None:
        saved.append(path)
        if len(saved) >= 5:
            raise KeyboardInterrupt
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        Demo(cache=str(tmp_path), **SMALL).load("denim")
    assert not list(tmp_path.glob("demo/*/denim"))
    monkeypatch.undo()
    assert len(Demo(cache=str(tmp_path), **SMALL).load("denim").test) == 7


def test_a_category_that_is_named_twice_is_drawn_once():
    assert Demo(categories=("flange", "denim", "flange")).names() == ["flange", "denim"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"categories": ["bottle"]},
            r"dataset\.categories\.0: .*'denim' or 'flange', got 'bottle'",
        ),
        ({"categories": []}, r"dataset\.categories: .*at least 1"),
        ({"size": 10}, r"dataset\.size: .*greater than or equal to 64, got 10"),
        ({"test": 1}, r"dataset\.test: .*greater than or equal to 2"),
        ({"seed": "x"}, r"dataset\.seed: .*an integer, got 'x'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(AdbenchError, match=message):
        check(Demo, settings, "dataset")
