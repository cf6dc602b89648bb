"""``adbench score``: maps and scores of other tools, their checks, and the records of them."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_records import CONFIGS, made, saved
from PIL import Image
from sklearn.metrics import roc_auc_score

from adbench.bench import given
from adbench.cli.main import main
from adbench.cli.score_words import USAGE
from adbench.data.folder import Folder
from adbench.data.geometry import Geometry
from adbench.data.given_scores import read_scores
from adbench.data.map_files import read_map
from adbench.data.mvtec import MVTec
from adbench.errors import AdbenchError, DataError
from adbench.reports.compare import select
from adbench.reports.remarks import quotes
from adbench.reports.tables import table
from adbench.results import records

EDGE = 32
NAMES = [f"test/{defect}/{n:03}" for defect in ("crack", "dent", "good") for n in (0, 1)]


def truth():
    """The masks of the six test images that ``make_category`` makes, in the order of NAMES."""
    mask = np.zeros((EDGE, EDGE), bool)
    mask[8:16, 8:16] = True
    return [mask, mask, mask, mask, ~mask & mask, ~mask & mask]


def anomaly_maps(size=(EDGE, EDGE), seed=0):
    """Maps that are higher where the defects are, with noise."""
    random = np.random.default_rng(seed)
    shares = [np.asarray(Image.fromarray(m.astype(np.float32)).resize(size[::-1])) for m in truth()]
    return [(random.normal(size=size) + s).astype(np.float32) for s in shares]


def write(folder, maps, suffix=".npy", save=np.save):
    for name, values in zip(NAMES, maps, strict=True):
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, values)
    return folder


def write_scores(path, scores, names=NAMES, head=("path", "score")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *zip(names, scores, strict=True)])


@pytest.fixture
def score(tmp_path, make_category, capsys):
    """Runs the command on the six test images; gives the exit status and what it told."""
    make_category(tmp_path / "images")

    def run(folder, *words, name="tool"):
        images = [f"dataset.root={tmp_path / 'images'}", "dataset.categories=[bottle]"]
        own = [f"name={name}", "version=1.0", f"results={tmp_path / 'runs'}"]
        with pytest.raises(SystemExit) as end:
            main(["score", str(folder), "dataset=mvtec", *images, *own, *words])
        told = capsys.readouterr()
        return end.value.code, told.out + told.err

    return run


@pytest.fixture
def only_record(tmp_path):
    def read():
        (record,) = records.load_all(tmp_path / "runs" / "records")
        return record

    return read


def test_metrics_are_those_of_another_implementation(tmp_path, score, only_record):
    maps, scores = anomaly_maps(), [0.3, 5.5, 1.5, 0.7, 0.6, 0.1]
    write(tmp_path / "maps" / "bottle", maps)
    write_scores(tmp_path / "maps" / "scores.csv", scores)
    code, told = score(tmp_path / "maps")
    assert code == 0, told
    record = only_record()
    labels, masks = [1, 1, 1, 1, 0, 0], truth()
    assert record.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    pixels = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert record.metrics["pixel_auroc"] == pytest.approx(pixels, abs=1e-6)
    assert record.intervals["image_auroc"]
    assert record.intervals["pixel_auroc"]
    assert record.labels["method"] == "tool"
    given = record.identity["given"]
    assert (given["name"], given["version"], "note" in given) == ("tool", "1.0", False)
    assert (record.time, record.given) == ({}, {})


def test_the_largest_value_of_a_map_is_the_score_where_there_is_none(tmp_path, score, only_record):
    maps = anomaly_maps()
    write(tmp_path / "bottle", maps)
    assert score(tmp_path)[0] == 0
    rows = records.load_scores(tmp_path / "runs" / "records", only_record())
    assert [row.score for row in rows] == [pytest.approx(float(m.max())) for m in maps]
    assert "whose largest value is the score of an image" in only_record().notes[0]


def test_scores_alone_leave_pixels_without_a_number(tmp_path, score, only_record):
    (tmp_path / "given").mkdir()
    write_scores(tmp_path / "given" / "scores.csv", range(6))
    assert score(tmp_path / "given")[0] == 0
    record = only_record()
    assert record.metrics["pixel_auroc"] is None
    assert record.reasons["pixel_auroc"] == "no maps were given"


LAYOUTS = {
    "category": ("bottle", ".npy", np.save),
    "mvtec": ("anomaly_maps/bottle", ".tiff", tifffile.imwrite),
    "split": (".", ".npy", np.save),
    "one axis more": ("bottle", ".npy", lambda path, m: np.save(path, m[None])),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_formats_of_the_same_maps_give_the_same_numbers(
    tmp_path, score, only_record, layout
):
    below, suffix, save = LAYOUTS[layout]
    maps = anomaly_maps()
    write(tmp_path / "given" / below, maps, suffix, save)
    code, told = score(tmp_path / "given")
    assert code == 0, told
    pixels = roc_auc_score(np.ravel(truth()), np.ravel(maps))
    assert only_record().metrics["pixel_auroc"] == pytest.approx(pixels, abs=1e-6)


def test_folders_of_defects_alone_are_a_layout_too(tmp_path, score):
    write(tmp_path / "given", anomaly_maps())
    assert score(tmp_path / "given" / "test")[0] == 0


EXACT = np.array([[0.5, 2.0, 3.0], [4.0, 5.0, -6.0]])
WRITERS = {
    "double.npy": lambda p: np.save(p, EXACT),
    "half.npy": lambda p: np.save(p, EXACT.astype(np.float16)),
    "one.npz": lambda p: np.savez_compressed(p, maps=EXACT),
    "half.tiff": lambda p: tifffile.imwrite(p, EXACT.astype(np.float16)),
    "single.tif": lambda p: Image.fromarray(EXACT.astype(np.float32)).save(p),
    "double.tiff": lambda p: tifffile.imwrite(p, EXACT, compression="zlib"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_keeps_the_values(tmp_path, name):
    WRITERS[name](tmp_path / name)
    np.testing.assert_array_equal(read_map(tmp_path / name).values, EXACT.astype(np.float32))


def test_a_16_bit_png_keeps_its_values(tmp_path):
    values = np.array([[0, 257], [40000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_map(tmp_path / "a.png").values, values)


REFUSED = {
    "eight.png": (lambda p: Image.fromarray(np.eye(3, dtype=np.uint8)).save(p), "mode L.*tie"),
    "red.png": (lambda p: Image.new("RGB", (3, 3)).save(p), "mode RGB"),
    "eight.npy": (lambda p: np.save(p, np.eye(3, dtype=np.uint8)), "uint8 values; 8 bits"),
    "flags.npy": (lambda p: np.save(p, np.eye(3, dtype=bool)), "holds bool values"),
    "channels.npy": (lambda p: np.save(p, np.ones((3, 4, 5))), r"shape \(3, 4, 5\)"),
    "line.npy": (lambda p: np.save(p, np.ones(5)), r"shape \(5,\)"),
    "nan.npy": (lambda p: np.save(p, np.array([[1, np.nan]])), "1 of 2 values are NaN"),
    "huge.npy": (lambda p: np.save(p, np.array([[1, 1e300]])), "beyond float32"),
    "object.npy": (lambda p: np.save(p, np.array([[{}]]), allow_pickle=True), "allow_pickle"),
    "two.npz": (lambda p: np.savez(p, a=EXACT, b=EXACT), "holds 2 arrays"),
    "pages.tiff": (lambda p: tifffile.imwrite(p, np.ones((2, 8, 8), np.float32)), "2 pages"),
    "cut.tiff": (lambda p: p.write_bytes(b"II*\0"), "cannot be decoded"),
    "empty.npy": (lambda p: p.write_bytes(b""), "cannot be decoded"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.fault("map", shows="error")
def test_what_is_no_map_is_refused_by_name(tmp_path, name):
    write_one, message = REFUSED[name]
    write_one(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        read_map(tmp_path / name)


@pytest.mark.fault("map", shows="error")
def test_images_without_a_map_and_maps_without_an_image_are_named(tmp_path, score):
    folder = write(tmp_path / "maps" / "bottle", anomaly_maps())
    (folder / "test/good/001.npy").rename(folder / "test/good/007.npy")
    (folder / "test/dent/000.npy").unlink()
    code, told = score(tmp_path / "maps")
    assert code == 2
    assert "test images without a map (2): test/dent/000.png, test/good/001.png" in told
    assert "maps of no test image (1): test/good/007.npy" in told
    assert not (tmp_path / "runs").exists()


def test_maps_of_two_kinds_are_chosen_by_their_suffix(tmp_path, score):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    write(tmp_path / "maps" / "bottle", anomaly_maps(), ".tiff", tifffile.imwrite)
    assert "choose the maps by suffix=.npy" in score(tmp_path / "maps")[1]
    assert score(tmp_path / "maps", "suffix=.tiff")[0] == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("suffix=npy", r"suffix=npy: maps end in \.npy"),
        ("suffix=.tif", r"maps/bottle: holds no file that ends in \.tif"),
        ("covers=crop", "covers=crop: geometry=original crops nothing"),
    ],
)
def test_words_that_would_be_without_effect_are_refused(tmp_path, score, word, message):
    write_scores(write(tmp_path / "maps" / "bottle", anomaly_maps()) / "scores.csv", range(6))
    code, told = score(tmp_path / "maps", word)
    assert code == 2
    assert re.search(message, told)


def test_compare_tells_how_to_choose_among_the_records_of_a_tool(tmp_path, score):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    for more in ([], ["note=other"]):
        assert score(tmp_path / "maps", *more)[0] == 0
    found = records.load_all(tmp_path / "runs" / "records")
    with pytest.raises(AdbenchError, match=r"the note of the tool.*given\.note=TEXT choose one"):
        select("given=tool", found, CONFIGS)
    assert set(select("given=tool given.note=other", found, CONFIGS)) == {"bottle"}
    assert set(select("given=tool given.note=", found, CONFIGS)) == {"bottle"}


def test_a_category_without_a_folder_is_named(tmp_path, make_category, score):
    make_category(tmp_path / "images", "grid")
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    code, told = score(tmp_path / "maps", "dataset.categories=all")
    assert (code, "holds no folder grid" in told) == (2, True)


def test_one_file_of_scores_serves_several_categories(tmp_path, make_category, score):
    make_category(tmp_path / "images", "grid")
    for category in ("bottle", "grid"):
        write(tmp_path / "maps" / category, anomaly_maps())
    names = [f"/elsewhere/{c}/{name}.png" for c in ("grid", "bottle") for name in NAMES]
    write_scores(tmp_path / "maps" / "scores.csv", [*range(6), *range(6, 0, -1)], names)
    assert score(tmp_path / "maps", "dataset.categories=all")[0] == 0
    found = {r.category: r.metrics for r in records.load_all(tmp_path / "runs" / "records")}
    assert (found["bottle"]["image_auroc"], found["grid"]["image_auroc"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    "name",
    [
        lambda sample: str(sample.path),
        lambda sample: sample.name,
        lambda sample: f"./bottle/{sample.name}",
        lambda sample: sample.name.replace("/", "\\"),
        lambda sample: sample.name.replace(".png", ".tiff"),
        lambda sample: f"{sample.defect}/{sample.path.stem}",
    ],
)
def test_rows_are_found_by_paths_and_by_names(tmp_path, score, name):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    samples = MVTec(str(tmp_path / "images")).load("bottle").test
    write_scores(tmp_path / "s.csv", [3, 4, 5, 6, 1, 2], [name(sample) for sample in samples])
    code, told = score(tmp_path / "maps", f"scores={tmp_path / 's.csv'}")
    assert code == 0, told
    assert "100.00" in told


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Test images of a user: photos/bad and photos/good, seen from the folder with photos."""
    monkeypatch.chdir(tmp_path)
    for name in ("bad/0.png", "bad/1.png", "good/0.png", "train/0.png"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(Path("photos", name))
    dataset = Folder(
        root="photos", normal="train", normal_test="good", abnormal="bad", category="parts"
    )
    return {"parts": dataset.load("parts").test}


@pytest.mark.parametrize("start", ["", "photos/", "./photos/", "{here}/photos/", "/far/photos/"])
def test_rows_of_own_images_are_found_by_the_paths_that_predict_writes(tmp_path, own, start):
    names = [f"{start.format(here=tmp_path)}{sample.name}" for sample in own["parts"]]
    write_scores(tmp_path / "s.csv", [1, 2, 3], names)
    assert read_scores(tmp_path / "s.csv", own) == {"parts": [1, 2, 3]}


def test_a_path_from_the_folder_here_is_the_image_that_it_leads_to(tmp_path, own, monkeypatch):
    monkeypatch.chdir(tmp_path / "photos/bad")
    write_scores(tmp_path / "s.csv", [1, 2, 3], ["0.png", "1.png", "../good/0.png"])
    assert read_scores(tmp_path / "s.csv", own) == {"parts": [1, 2, 3]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png"], r"rows that fit several test images \(1\): 0\.png"),
        (["photos/bad/0.png", "/far/photos/bad/0.png"], r"several rows \(1\): bad/0\.png"),
        (["others/bad/0.png"], r"rows of no test image \(1\): others/bad/0\.png"),
        (["photos/train/0.png"], r"rows of no test image \(1\): photos/train/0\.png"),
    ],
)
@pytest.mark.fault("map", shows="error")
def test_rows_that_may_be_of_other_own_images_are_named(tmp_path, own, names, message):
    write_scores(tmp_path / "s.csv", range(len(names)), names)
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "s.csv", own)


@pytest.mark.fault("map", shows="error")
def test_rows_of_another_category_are_not_taken_for_those_of_the_chosen_one(tmp_path, score):
    (tmp_path / "given").mkdir()
    names = [f"/far/grid/{name}.png" for name in NAMES]
    write_scores(tmp_path / "given" / "scores.csv", range(6), names)
    assert "rows of no test image (6)" in score(tmp_path / "given")[1]


@pytest.mark.parametrize("message", ["line 2: the score 'high' is no number", "line 7: the score"])
@pytest.mark.fault("map", shows="error")
def test_a_score_that_is_no_finite_number_is_named_with_its_line(tmp_path, score, message):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    wrong = "high" if "high" in message else "nan"
    values = [wrong, *range(5)] if wrong == "high" else [*range(5), wrong]
    write_scores(tmp_path / "maps" / "scores.csv", values)
    code, told = score(tmp_path / "maps")
    assert (code, message in told) == (2, True), told


@pytest.mark.fault("map", shows="error")
def test_rows_that_are_twice_missing_or_unknown_are_named(tmp_path, score):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    names = [*NAMES[:-2], NAMES[0], "test/good/009", "001.png"]
    write_scores(tmp_path / "maps" / "scores.csv", range(7), names)
    told = score(tmp_path / "maps")[1]
    assert "test images without a row (2)" in told
    assert "test images with several rows (1): test/crack/000.png" in told
    assert "rows of no test image (1): test/good/009" in told
    assert "rows that fit several test images (1): 001.png" in told


@pytest.mark.fault("map", shows="error")
def test_a_file_of_scores_needs_its_columns(tmp_path, score):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    write_scores(tmp_path / "maps" / "scores.csv", range(6), head=("image", "value"))
    assert "first line is image,value; it must name the columns" in score(tmp_path / "maps")[1]
    assert score(tmp_path / "maps", "scores=maximum")[0] == 0


def test_a_wrong_sign_is_asked_about_and_can_be_turned(tmp_path, score, only_record):
    maps = [-values for values in anomaly_maps()]
    write(tmp_path / "maps" / "bottle", maps)
    write_scores(tmp_path / "maps" / "scores.csv", [1, 2, 3, 4, 5, 6])
    code, told = score(tmp_path / "maps")
    assert code == 0
    assert "image AUROC is 0.00, below 50" in told
    assert "if the sign is wrong, sign=lower negates" in told
    wrong = only_record().metrics
    code, told = score(tmp_path / "maps", "sign=lower", "existing=redo")
    assert (code, "below 50" in told) == (0, False)
    for name in ("image_auroc", "pixel_auroc"):
        assert only_record().metrics[name] == pytest.approx(1 - wrong[name], abs=1e-6)


def test_other_content_of_the_same_tool_replaces_a_record_only_when_told(
    tmp_path, score, only_record
):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    score(tmp_path / "maps")
    first = only_record()
    assert "has a record, skipped" in score(tmp_path / "maps")[1]
    write(tmp_path / "maps" / "bottle", anomaly_maps(seed=1))
    code, told = score(tmp_path / "maps")
    assert (code, f"record {first.id} holds other maps" in told) == (1, True)
    assert score(tmp_path / "maps", "existing=redo")[0] == 0
    assert only_record().id != first.id
    assert score(tmp_path / "maps", "note=second seed", "existing=redo")[0] == 0
    assert len(records.load_all(tmp_path / "runs" / "records")) == 2


@pytest.mark.fault("record", shows="kept")
def test_measuring_again_replaces_a_damaged_record(tmp_path, score, only_record):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    score(tmp_path / "maps")
    first = only_record()
    (path,) = (tmp_path / "runs" / "records").glob("*.json")
    path.write_text(path.read_text()[:100])
    code, told = score(tmp_path / "maps")
    assert (code, "not a whole record" in told) == (1, True)
    assert score(tmp_path / "maps", "existing=redo")[0] == 0
    assert only_record().metrics == first.metrics


def test_what_was_there_already_is_not_told_as_measured(tmp_path, score):
    write(tmp_path / "maps" / "bottle", anomaly_maps())
    for measured in (True, False):
        _, told = score(tmp_path / "maps", "progress=json")
        events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        assert [e["measured"] for e in events if e["event"] == "record"] == [measured]


@pytest.mark.fault("results folder", shows="kept")
def test_an_unforeseen_error_costs_its_category_alone_and_leaves_a_traceback(
    tmp_path, make_category, score, monkeypatch
):
    make_category(tmp_path / "images", "grid")
    for category in ("bottle", "grid"):
        write(tmp_path / "maps" / category, anomaly_maps())
    read = given.read

    def short_of_memory(tool, files, category, *rest):
        if category.name == "bottle":
            raise MemoryError("2 GiB more than there are")
        return read(tool, files, category, *rest)

    monkeypatch.setattr(given, "read", short_of_memory)
    code, told = score(tmp_path / "maps", "dataset.categories=[bottle,grid]")
    assert code == 1
    assert "bottle: MemoryError: 2 GiB more than there are; " in told
    assert "short_of_memory" in (tmp_path / "runs" / "errors.log").read_text()
    assert [r.category for r in records.load_all(tmp_path / "runs" / "records")] == ["grid"]


def test_the_users_time_is_kept_apart(tmp_path, score, only_record):
    write(tmp_path / "bottle", anomaly_maps())
    assert score(tmp_path, "time_ms=12.5")[0] == 0
    record = only_record()
    assert (record.time, record.given) == ({}, {"milliseconds": 12.5})
    assert any("12.5 ms per image, which was not measured here" in note for note in record.notes)
    assert "adbench ran no detector" in record.reasons["time"]


DOUBTS = {
    "4 of 6 maps have one value alone": lambda n, m: m if n > 3 else 0 * m,
    "every map reaches the same highest value": lambda n, m: m / m.max(),
    "6 of 6 maps have another aspect": lambda n, m: m[:16],
}


@pytest.mark.parametrize("said", DOUBTS)
def test_maps_that_may_be_wrong_are_told_and_noted(tmp_path, score, only_record, said):
    maps = [DOUBTS[said](n, values) for n, values in enumerate(anomaly_maps())]
    write(tmp_path / "bottle", maps)
    code, told = score(tmp_path)
    assert (code, said in told) == (0, True), told
    assert any(said in note for note in only_record().notes)


@pytest.mark.parametrize("sign", ["higher", "lower"])
def test_scores_that_were_cut_off_are_told(tmp_path, score, sign):
    (tmp_path / "bottle").mkdir()
    write_scores(tmp_path / "bottle" / "scores.csv", [1, 1, 1, 0.8, 0.2, 0])
    assert "4 of 6 image scores are exactly 0 or 1" in score(tmp_path, f"sign={sign}")[1]


def test_maps_of_one_value_each_are_refused(tmp_path, score):
    write(tmp_path / "bottle", [np.zeros((4, 4), np.float32)] * 6)
    code, told = score(tmp_path)
    assert (code, "every map has one value alone" in told) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["maps"], "whose maps and scores are these"),
        (["maps", "name=t"], "give version=V"),
        (["maps", "name=t", "version=1"], "of which images"),
        (["name=t", "version=1", "dataset=mvtec"], "name one folder"),
        (["maps", "name=t", "version=1", "dataset=mvtec", "sign=up"], "is higher or lower"),
        (["maps", "name=t", "version=1", "dataset=mvtec", "method=crd"], "no 'method='"),
        (["maps", "name=t", "version=1", "dataset=mvtec", "names=x"], "did you mean name="),
        (["maps", "name=t", "version=1", "dataset=demo", "time_ms=fast"], "milliseconds above 0"),
        (["maps", "name=t", "version=1", "dataset=demo"], "no such folder"),
    ],
)
def test_wrong_words_are_refused(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["score", *words, f"results={tmp_path}", f"cache={tmp_path}"])
    assert (end.value.code, message in capsys.readouterr().err) == (2, True)


def test_the_help_has_every_word_of_the_page():
    page = Path(__file__).parents[1] / "docs" / "score.md"
    if not page.exists():
        pytest.skip("not in a checkout")
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    words = {word.partition("=")[0] for row in rows for word in re.findall(r"`(\w+=)", row)}
    assert {"name", "sign", "covers"} <= words
    assert all(f"{word}=" in USAGE for word in words)


def test_a_map_is_brought_to_the_pixels_of_the_geometry():
    rows = np.repeat(np.arange(8, dtype=np.float32)[:, None], 8, axis=1)
    crop = Geometry(resize=8, crop=4)
    np.testing.assert_array_equal(crop.map_of(rows, (8, 8), cropped=False), rows[2:6, 2:6])
    shown = rows[:4, :4]
    np.testing.assert_array_equal(crop.map_of(shown, (8, 8), cropped=True), shown)
    original = Geometry(resize=None, crop=None, evaluate_at="original")
    small = np.array([[0, 1]], np.float32)  # half-pixel centres: the ends are held
    expected = np.array([[0, 0.25, 0.75, 1]] * 2, np.float32)
    np.testing.assert_allclose(original.map_of(small, (2, 4), cropped=False), expected)


@pytest.fixture
def results(tmp_path):
    """Records of a run and of a tool on the same images of two categories."""
    folder = tmp_path / "results"
    for category in ("bottle", "grid"):
        run = made("experiment=han2024", category)
        given = made("experiment=han2024", category)
        given.identity.pop("backbone")
        given.identity.pop("method")
        rule = {"maps": "of the image, resized bilinearly", "scores": "given"}
        given.identity["given"] = {
            "name": "Stfpm",
            "version": "2.7",
            "rule": rule,
            "sha256": f"that of {category}",
        }
        given.labels.update(method="Stfpm", backbone="given")
        given.time.clear()
        for noise, record in enumerate((run, given)):
            saved(folder / "records", record, noise=noise)
    return folder


def test_compare_takes_a_tool_by_its_name_and_by_an_id(results):
    found = records.load_all(results / "records")
    one = next(r for r in found if "given" in r.identity)
    for text in ("given=stfpm", "given=STFPM given.version=2.7 geometry=square256", one.id):
        assert set(select(text, found, CONFIGS)) == {"bottle", "grid"}
    narrowed = "given=stfpm dataset=mvtec dataset.categories=[grid]"
    assert set(select(narrowed, found, CONFIGS)) == {"grid"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("given=other", "`adbench score FOLDER name=TOOL` measures it"),
        ("given=stfpm geometry=crop224", "no record"),
        ("given=stfpm method=crd", "method=crd: does not go with given=TOOL"),
    ],
)
def test_a_tool_that_is_not_there_is_told(results, text, message):
    with pytest.raises(Exception, match=message):
        select(text, records.load_all(results / "records"), CONFIGS)


@pytest.mark.parametrize(
    ("name", "row", "tool", "published"),
    [
        ("han2024_table1", "STFPM", "stfpm", 98.7),
        ("field_2026", "RD4AD, WideResNet50", "Reverse_Distillation", 100.0),
        ("field_2026", "Dinomaly", "dinomaly", 100.0),
    ],
)
def test_a_row_is_filled_by_the_tool_of_its_name(results, name, row, tool, published):
    found = records.load_all(results / "records")
    for record in found:
        if "given" in record.identity:
            record.identity["given"]["name"] = tool
    built = table(name, found, [], CONFIGS)
    cell = built.cells[row, "image_auroc", "bottle"]
    assert cell.measured is not None
    assert (cell.published, cell.verdict) == (published, "not comparable")
    assert built.marks[row].startswith(f"the maps and scores of {tool} 2.7")
    assert "CRD" not in built.marks
    assert not any(row in line for line in quotes(built))


def test_what_was_run_comes_before_what_was_given(results):
    found = records.load_all(results / "records")
    for record in found:
        if "given" in record.identity:
            record.identity["given"]["name"] = "CRD"
    built = table("han2024_table1", found, [], CONFIGS)
    assert "CRD" not in built.marks
    own = [r for r in found if "given" in r.identity]
    assert "CRD" in table("han2024_table1", own, [], CONFIGS).marks


@pytest.mark.parametrize(
    "words",
    [
        ["list", "tables"],
        ["table", "han2024_table1"],
        ["table", "field_2026"],
        ["compare", "given=stfpm", "experiment=han2024"],
        ["claims"],
        ["plot", "given=stfpm", "experiment=han2024"],
        ["plot", "--x", "method.lambda_"],
        ["migrate"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_every_command_takes_such_records(results, capsys, words):
    with pytest.raises(SystemExit) as end:
        main([*words, f"results={results}"])
    assert end.value.code == 0, capsys.readouterr()
