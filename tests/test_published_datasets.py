"""The layouts of published datasets, each built small, and what is refused of them."""

import csv
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import adbench, table
from PIL import Image

from adbench.data.btad import BTAD
from adbench.data.btad import PUBLISHED as OF_BTAD
from adbench.data.content import fingerprint
from adbench.data.elpv import ELPV
from adbench.data.geometry import Geometry
from adbench.data.ksdd2 import KSDD2
from adbench.data.magnetic_tile import MagneticTile
from adbench.data.mpdd import MPDD
from adbench.data.mpdd import PUBLISHED as OF_MPDD
from adbench.data.mvtec_ad2 import MVTecAD2
from adbench.data.mvtec_loco import PUBLISHED as OF_LOCO
from adbench.data.mvtec_loco import MVTecLOCO
from adbench.data.prepare import prepare
from adbench.data.samples import Split, normal_of
from adbench.data.truth import look
from adbench.data.visa import PUBLISHED as OF_VISA
from adbench.data.visa import VisA
from adbench.errors import DataError

SIZE = 16
WHOLE = Geometry(resize=(SIZE, SIZE), crop=None)


def picture(path: Path, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    """An image of noise, so that no two are the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(path)
    return path


def mask(path: Path, box=(0, 4, 0, 4), size=(SIZE, SIZE), value: int = 255) -> Path:
    """A mask that marks a rectangle of rows and columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = np.zeros(size, np.uint8)
    marked[box[0] : box[1], box[2] : box[3]] = value
    Image.fromarray(marked).save(path)
    return path


def shape_of(split: Split) -> tuple[int, dict[str, int]]:
    """Training images, and test images of each defect type."""
    kinds = [sample.defect for sample in split.test]
    return len(split.train), {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def problems(dataset, geometry: Geometry = WHOLE) -> list[str]:
    return [problem for row in dataset.check(geometry) for problem in row["problems"]]


@pytest.mark.parametrize(
    ("counts", "train", "test"),
    [(OF_VISA, 8659, 2162), (OF_BTAD, 1799, 741), (OF_MPDD, 888, 458)],
)
def test_published_counts_add_up_to_those_of_the_papers(counts, train, test):
    assert sum(n for n, _ in counts.values()) == train
    assert sum(n for _, n in counts.values()) == test


def test_the_counts_of_loco_add_up_to_those_of_its_archive():
    assert [sum(part) for part in zip(*OF_LOCO.values(), strict=True)] == [1778, 305, 575, 561, 432]


# VisA


@pytest.fixture
def visa(tmp_path) -> Path:
    rows = []
    for number in range(4):
        part, name = "train" if number < 3 else "test", f"pcb1/Data/Images/Normal/{number:04}.JPG"
        picture(tmp_path / name)
        rows.append(["pcb1", part, "normal", name, ""])
    for number in range(2):
        name, truth = (f"pcb1/Data/{p}/Anomaly/{number:03}" for p in ("Images", "Masks"))
        picture(tmp_path / f"{name}.JPG")
        mask(tmp_path / f"{truth}.png", value=1)
        rows.append(["pcb1", "test", "anomaly", f"{name}.JPG", f"{truth}.png"])
    rows.append(["candle", "train", "normal", "candle/Data/Images/Normal/0.JPG", ""])
    write_split(tmp_path, rows)
    return tmp_path


def write_split(root: Path, rows: list[list[str]]) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    with (root / "split_csv/1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])


def test_visa_follows_its_split_and_reads_masks_of_zeros_and_ones(visa):
    dataset = VisA(root=str(visa))
    assert dataset.names() == ["pcb1"]  # the split names candle too, of which nothing is there
    split = dataset.load("pcb1")
    assert shape_of(split) == (3, {"anomaly": 2, "good": 1})
    assert split.test[0].name == "Data/Images/Anomaly/000.JPG"
    truth = look(split.test[0], WHOLE).truth
    assert truth[:4, :4].all()
    assert truth.sum() == 16
    assert problems(dataset) == []


def test_masks_of_visa_of_another_size_are_brought_to_their_image(visa):
    mask(visa / "pcb1/Data/Masks/Anomaly/000.png", box=(0, 2, 0, 2), size=(8, 8), value=1)
    (row,) = VisA(root=str(visa)).check(WHOLE)
    assert row["problems"] == []
    assert row["notes"] == [
        "the mask has another size and is brought to that of its image: Data/Images/Anomaly/000.JPG"
    ]
    truth = look(VisA(root=str(visa)).load("pcb1").test[0], WHOLE).truth
    assert truth[:4, :4].all()
    assert truth.sum() == 16


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["pcb1", "val", "normal", "a.JPG", ""], "line 2: is split val and label normal; a row is"),
        (["pcb1", "train", "bad", "a.JPG", ""], "line 2: is split train and label bad"),
        (["pcb1", "train", "normal", "../a.JPG", ""], r"line 2: \.\./a\.JPG leads out of"),
        (["pcb1", "test", "anomaly", "a.JPG", "/m.png"], r"line 2: /m\.png leads out of"),
        (["pcb1", "test", "anomaly", "a.JPG", ""], r"a\.JPG is anomalous and has no mask"),
        (["pcb1", "train", "anomaly", "a.JPG", "m.png"], r"trains on a\.JPG, which is anomalous"),
        (["pcb1", "train", "normal", "a.JPG", ""], "has no test images of pcb1"),
        (["pcb1"], "line 2: needs the columns object, split, label, image, mask"),
    ],
)
def test_wrong_rows_of_the_split_of_visa_are_named(visa, row, message):
    write_split(visa, [row])
    with pytest.raises(DataError, match=message):
        VisA(root=str(visa)).load("pcb1")


@pytest.mark.parametrize(("part", "uses"), [("train", "train"), ("test", "train and test")])
@pytest.mark.fault("image", shows="error")
def test_an_image_that_the_split_of_visa_names_twice_is_refused(visa, part, uses):
    name = "pcb1/Data/Images/Normal/0000.JPG"
    with (visa / "split_csv/1cls.csv").open("a") as file:
        file.write(f"pcb1,{part},normal,{name},\n")
    message = f"split_csv/1cls.csv: names {name} 2 times, for {uses}; leave one of these lines"
    dataset = VisA(root=str(visa))
    with pytest.raises(DataError) as caught:
        dataset.load("pcb1")
    assert str(caught.value) == message
    assert problems(dataset) == [message]


def test_a_missing_split_and_an_unknown_category_of_visa_are_named(visa):
    picture(visa / "pcb1/Data/Images/Normal/9999.JPG")
    assert problems(VisA(root=str(visa))) == [
        "pcb1/Data/Images/Normal/9999.JPG: is not named by split_csv/1cls.csv"
    ]
    with pytest.raises(DataError, match=r"has no folder 'pcb'; .*Did you mean pcb1\?"):
        VisA(root=str(visa), categories="pcb").names()
    (visa / "split_csv/1cls.csv").unlink()
    with pytest.raises(DataError, match=r"1cls\.csv is missing; VisA holds it beside"):
        VisA(root=str(visa)).names()
    with pytest.raises(DataError, match=r"holds split_csv, candle \.\.\. as dataset\.root=DIR"):
        VisA(root=str(visa / "nowhere")).names()


# datasets of category folders


def test_btad_reads_ok_and_ko_of_any_suffix(tmp_path):
    for name in ("train/ok/0.bmp", "train/ok/1.bmp", "test/ok/2.bmp", "test/ko/3.bmp"):
        picture(tmp_path / "03" / name)
    mask(tmp_path / "03/ground_truth/ko/3.bmp")
    dataset = BTAD(root=str(tmp_path))
    assert dataset.names() == ["03"]
    split = dataset.load("03")
    assert shape_of(split) == (2, {"good": 1, "ko": 1})
    assert split.test[0].masks[0].name == "3.bmp"
    (row,) = dataset.check(WHOLE)
    assert (row["problems"], row["complete"]) == ([], "no")
    picture(tmp_path / "03/train/ko/4.bmp")
    assert problems(dataset) == ["train/ko: unknown folder; training images are in train/ok"]


def test_mpdd_has_the_layout_of_mvtec(tmp_path, make_category, caplog):
    make_category(tmp_path, "tubes")
    split = MPDD(root=str(tmp_path)).load("tubes")
    assert shape_of(split) == (3, {"crack": 2, "dent": 2, "good": 2})
    assert "tubes has 3 training and 6 test images of 122 and 101" in caplog.text


@pytest.fixture
def ad2(tmp_path) -> Path:
    for number in range(3):
        picture(tmp_path / f"vial/train/good/{number:03}_regular.png")
    picture(tmp_path / "vial/validation/good/003_regular.png")
    for place in ("test_public/good", "test_public/bad", "test_private", "test_private_mixed"):
        picture(tmp_path / "vial" / place / "000_regular.png")
    mask(tmp_path / "vial/test_public/ground_truth/bad/000_regular_mask.png")
    return tmp_path


def test_ad2_tests_on_its_public_part_and_learns_from_validation_on_request(ad2):
    dataset = MVTecAD2(root=str(ad2))
    split = dataset.load("vial")
    assert shape_of(split) == (3, {"bad": 1, "good": 1})
    assert [s.name for s in split.test] == [
        "test_public/bad/000_regular.png",
        "test_public/good/000_regular.png",
    ]
    assert problems(dataset) == []
    learning = MVTecAD2(root=str(ad2), validation="train")
    assert [s.name for s in learning.load("vial").train][-1] == "validation/good/003_regular.png"
    assert shape_of(learning.load("vial")) == (4, {"bad": 1, "good": 1})
    assert problems(learning) == []
    with pytest.raises(DataError, match=r"give dataset\.root=.* dataset\.categories=vial"):
        MVTecAD2(root=str(ad2 / "vial")).names()


@pytest.fixture
def loco(tmp_path) -> Path:
    folder = tmp_path / "pushpins"
    for name in ("train/good/0", "validation/good/1", "test/good/2"):
        picture(folder / f"{name}.png")
    for kind in ("logical", "structural"):
        picture(folder / f"test/{kind}_anomalies/000.png")
        mask(folder / f"ground_truth/{kind}_anomalies/000/000.png", box=(0, 4, 0, 4))
    mask(folder / "ground_truth/logical_anomalies/000/001.png", box=(2, 6, 2, 6))
    return tmp_path


def test_the_ground_truth_of_loco_is_the_union_of_an_images_masks(loco):
    split = MVTecLOCO(root=str(loco)).load("pushpins")
    assert shape_of(split) == (1, {"good": 1, "logical_anomalies": 1, "structural_anomalies": 1})
    logical = next(s for s in split.test if s.defect == "logical_anomalies")
    assert len(logical.masks) == 2
    assert look(logical, WHOLE).truth.sum() == 16 + 16 - 4
    assert problems(MVTecLOCO(root=str(loco))) == []


def test_the_kinds_of_loco_can_be_measured_apart(loco):
    for kind in ("logical", "structural"):
        alone = MVTecLOCO(root=str(loco), kinds=(kind,)).load("pushpins")
        assert shape_of(alone) == (1, {"good": 1, f"{kind}_anomalies": 1})
    learning = MVTecLOCO(root=str(loco), validation="train").load("pushpins")
    assert len(learning.train) == 2


def test_the_fingerprint_of_an_image_covers_all_of_its_masks(loco):
    before = fingerprint(MVTecLOCO(root=str(loco)).load("pushpins"))
    mask(loco / "pushpins/ground_truth/logical_anomalies/000/001.png", box=(2, 6, 2, 7))
    assert fingerprint(MVTecLOCO(root=str(loco)).load("pushpins")) != before


def test_an_image_of_loco_without_masks_is_named(loco):
    for path in (loco / "pushpins/ground_truth/structural_anomalies/000").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"structural_anomalies/000 is missing \(1 of 2 masks of pushpins\)"
    ):
        MVTecLOCO(root=str(loco)).load("pushpins")


# ELPV


@pytest.fixture
def cells(tmp_path) -> Path:
    """Of mono: 10 normal, 2 defective, 1 of each doubtful probability; and one normal of poly."""
    probabilities = [0.0] * 10 + [1.0] * 2 + [1 / 3, 2 / 3]
    lines = []
    for number, probability in enumerate(probabilities):
        picture(tmp_path / f"images/cell{number:04}.png")
        lines.append(f"images/cell{number:04}.png  {probability}  mono")
    picture(tmp_path / "images/cell9999.png")
    lines.append("images/cell9999.png  0.0  poly")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_elpv_holds_sure_cells_out_and_leaves_doubtful_ones_out(cells):
    dataset = ELPV(root=str(cells))
    assert dataset.names() == ["mono", "poly"]
    split = dataset.load("mono")
    assert shape_of(split) == (7, {"defective": 2, "good": 3})
    names = [s.name for s in (*split.train, *split.test)]
    assert len(set(names)) == 12
    assert not {"cell0012.png", "cell0013.png"} & set(names)
    assert not any(s.masks for s in split.test)
    assert len(normal_of(dataset, "mono")) == 10
    assert split == dataset.load("mono")
    seeds = [{s.name for s in ELPV(root=str(cells), seed=n).load("mono").test} for n in range(5)]
    assert len({frozenset(names) for names in seeds}) > 1


@pytest.mark.parametrize(
    ("third", "thirds", "kinds"),
    [
        ("normal", "anomalous", {"defective": 2, "good": 4, "likely_defective": 1}),
        ("anomalous", "leave_out", {"defective": 2, "good": 3, "possibly_defective": 1}),
        ("leave_out", "normal", {"defective": 2, "good": 4}),
    ],
)
def test_doubtful_cells_are_tested_as_one_says_and_never_trained_on(cells, third, thirds, kinds):
    dataset = ELPV(root=str(cells), one_third=third, two_thirds=thirds)
    assert shape_of(dataset.load("mono")) == (7, kinds)
    assert len(normal_of(dataset, "mono")) == 10


def test_what_is_wrong_with_the_cells_is_named(cells, monkeypatch):
    with pytest.raises(DataError, match="has 1 normal poly cells; 2 are needed"):
        ELPV(root=str(cells)).load("poly")
    (row,) = ELPV(root=str(cells), categories=("mono",)).check(WHOLE)
    assert (row["complete"], row["problems"]) == ("no", [])
    for line, message in [("a.png zero mono", "is no path"), ("a.png 1.5 mono", "no probability")]:
        (cells / "labels.csv").write_text(line)
        with pytest.raises(DataError, match=rf"labels\.csv, line 1: .*{message}"):
            ELPV(root=str(cells)).load("mono")
    with pytest.raises(DataError, match=r"has no labels\.csv"):
        ELPV(root=str(cells / "images")).names()
    monkeypatch.setattr("adbench.data.elpv.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"elpv-dataset: not installed; run pip install .*\[elpv\]"):
        ELPV().names()


@pytest.mark.fault("image", shows="error")
def test_labels_of_elpv_that_are_no_utf8_are_named(cells):
    (cells / "labels.csv").write_bytes(b"images/\xe9.png 0.0 mono\n")
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read: 'utf-8' codec can't decode"):
        ELPV(root=str(cells)).load("mono")


def test_a_category_of_elpv_that_is_named_twice_is_read_once(cells):
    assert ELPV(root=str(cells), categories=("poly", "mono", "poly")).names() == ["poly", "mono"]


def test_the_cells_of_the_package_are_complete():
    pytest.importorskip("elpv_dataset")
    counts = {c: shape_of(ELPV().load(c)) for c in ELPV().names()}
    assert counts == {
        "mono": (412, {"defective": 313, "good": 176}),
        "poly": (644, {"defective": 402, "good": 276}),
    }


# KolektorSDD2 and magnetic tiles


@pytest.fixture
def ksdd2(tmp_path) -> Path:
    for number in range(4):
        part, bad = "train" if number < 3 else "test", number in (2,)
        picture(tmp_path / part / f"{10000 + number}.png")
        mask(tmp_path / part / f"{10000 + number}_GT.png", value=255 * bad)
    picture(tmp_path / "test/20000.png")
    mask(tmp_path / "test/20000_GT.png")
    return tmp_path


def test_ksdd2_tells_normal_images_by_their_masks(ksdd2):
    dataset = KSDD2(root=str(ksdd2))
    split = dataset.load("ksdd2")
    assert [s.name for s in split.train] == ["train/10000.png", "train/10001.png"]
    assert shape_of(split) == (2, {"defect": 1, "good": 1})
    assert [len(s.masks) for s in split.test] == [0, 1]
    assert problems(dataset) == []
    (ksdd2 / "test/20000.png").rename(ksdd2 / "test/x.png")
    mask(ksdd2 / "test/x_GT.png")
    assert len(problems(dataset)) == 1
    (ksdd2 / "test/x_GT.png").unlink()
    with pytest.raises(DataError, match=r"test/x_GT\.png is missing \(1 of 2 masks\)"):
        dataset.load("ksdd2")


@pytest.fixture
def tiles(tmp_path) -> Path:
    """Five tiles without defects under three exposures, and one image of each defect."""
    for tile in range(5):
        for exposure in range(3):
            stem = tmp_path / f"MT_Free/Imgs/exp{exposure}_num_{tile}"
            picture(stem.with_suffix(".jpg"))
            mask(stem.with_suffix(".png"), value=0)
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        picture(tmp_path / f"MT_{kind}/Imgs/exp1_num_9.jpg")
        mask(tmp_path / f"MT_{kind}/Imgs/exp1_num_9.png")
    return tmp_path


def test_the_images_of_a_magnetic_tile_stay_together(tiles):
    dataset = MagneticTile(root=str(tiles))
    split = dataset.load("magnetic_tile")
    assert shape_of(split) == (
        12,
        {"blowhole": 1, "break": 1, "crack": 1, "fray": 1, "good": 3, "uneven": 1},
    )
    held = {s.name.rpartition("_")[2] for s in split.test if not s.anomalous}
    assert len(held) == 1
    assert not held & {s.name.rpartition("_")[2] for s in split.train}
    assert len(normal_of(dataset, "magnetic_tile")) == 15
    assert problems(dataset) == []
    (tiles / "MT_Crack/Imgs/exp1_num_9.png").unlink()
    with pytest.raises(DataError, match=r"exp1_num_9\.png is missing \(1 of 1 masks\)"):
        dataset.load("magnetic_tile")


# archives


@pytest.mark.parametrize(
    ("layout", "dataset"),
    [
        ("visa", VisA),
        ("ad2", MVTecAD2),
        ("loco", MVTecLOCO),
        ("ksdd2", KSDD2),
        ("tiles", MagneticTile),
    ],
)
def test_the_archive_of_a_dataset_becomes_its_root(tmp_path_factory, request, layout, dataset):
    source, place = request.getfixturevalue(layout), tmp_path_factory.mktemp("place")
    archive = shutil.make_archive(str(place / "a"), "gztar", source.parent, source.name)
    known = replace(dataset.archive, sha256=None)
    told = prepare(known, Path(archive), place / "data" / layout, None, str(place / "cache"))
    assert "files were unpacked" in told[1]
    (category,) = dataset(root=str(place / "data" / layout)).names()
    before, after = (dataset(root=str(r)).load(category) for r in (source, place / "data" / layout))
    assert fingerprint(after) == fingerprint(before)


# image labels alone


@pytest.mark.slow
def test_without_masks_pixel_metrics_are_empty_and_say_why_everywhere(tmp_path, cells):
    words = ["dataset=elpv", f"dataset.root={cells}", "dataset.categories=[mono]", "method=padim"]
    small = ["timing.repeats=1", "timing.warmup=0", "geometry.resize=[64,64]", "heatmaps=2"]
    done = adbench(tmp_path, "run", *words, *small, "backbone.weights=random")
    assert "2 anomalous test images have no mask, such as cell0010.png" in done.stdout + done.stderr
    (row, _) = table(tmp_path)
    assert row["image_auroc"]
    assert not any(value for name, value in row.items() if name.startswith("pixel_auroc"))
    assert row["aupro"] == ""
    assert list((tmp_path / "runs" / "heatmaps").rglob("*.png"))
