"""``adbench fit``: what cannot be fitted, promised or written is told, and nothing is lost."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from commands import adbench
from PIL import Image

from adbench.cli.fit import command
from adbench.config.compose import Configs
from adbench.detectors import saved
from adbench.errors import AdbenchError

CONFIGS = Configs()
NETWORK = ["backbone=resnet18", "backbone.weights=random", "method=crd"]
SQUARE = ["geometry.resize=[64,64]", "geometry.crop=null"]
COUNT = 12


@pytest.fixture
def good(tmp_path) -> Path:
    """A folder of normal images of random pixels."""
    (folder := tmp_path / "good").mkdir()
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    """Where to write."""
    return tmp_path / "part.safetensors"


@pytest.fixture
def fit(tmp_path, good, out, monkeypatch):
    """Runs the command in this process, on those images unless told otherwise."""
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))

    def fit(*words, geometry=SQUARE, out=out, alpha="alpha=0.2"):
        images = ["dataset=folder", f"dataset.normal={good}"]
        named = [f"out={out}"] if out else []
        rate = [alpha] if alpha else []
        command(Namespace(words=[*images, *NETWORK, *geometry, *rate, *words, *named]), CONFIGS)

    return fit


def keep(folder, count):
    """Leave so many images in the folder."""
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def test_all_normal_images_are_fitted_and_the_user_is_told_what_is_promised(fit, good, out, capsys):
    fit("folds=3")
    header = saved.load(out, "cpu").header
    assert header.training.images == COUNT
    assert header.training.folder == str(good)
    assert header.training.names[0] == "000.png"
    assert (header.normal.alpha, header.normal.folds) == (0.2, 3)
    said = capsys.readouterr().out
    # floor(0.2 * 13) = 2 of 13
    assert "15.4% of new normal images are called anomalous on average" in said
    assert f"{out}: CRD on parts, {COUNT} normal images" in said


def test_a_rate_that_few_images_cannot_promise_is_refused_with_the_one_they_can(fit, good, out):
    keep(good, 3)
    with pytest.raises(AdbenchError) as error:
        fit(alpha=None)
    assert str(error.value) == (
        "3 normal images cannot promise a false alarm rate of 0.05; the smallest that they can is "
        "alpha=0.25 (1/4), or set threshold=none"
    )
    assert not out.exists()
    fit(alpha="alpha=0.25")
    assert saved.load(out, "cpu").decision().promised["mean"] == 0.25


def test_without_a_threshold_few_images_are_enough(fit, good, out, capsys):
    keep(good, 3)
    fit("threshold=none", alpha=None)
    assert saved.load(out, "cpu").decision() is None
    assert "no threshold: it gives scores alone" in capsys.readouterr().out


def test_one_image_has_no_threshold(fit, good, out):
    keep(good, 1)
    with pytest.raises(AdbenchError, match="at least 2 different normal training images; got 1"):
        fit(alpha=None)
    assert not out.exists()
    fit("threshold=none", alpha=None)
    assert out.exists()


@pytest.mark.fault("detector file", shows="error")
def test_a_folder_without_images_is_refused(fit, good, out):
    keep(good, 0)
    with pytest.raises(AdbenchError, match="holds no images"):
        fit()
    good.rmdir()
    with pytest.raises(AdbenchError, match=r"the folder .* does not exist"):
        fit()
    assert not out.exists()


def test_copies_of_one_image_give_no_threshold(fit, good):
    keep(good, 1)
    for number in range(1, 9):
        (good / f"{number}.png").write_bytes((good / "000.png").read_bytes())
    with pytest.raises(AdbenchError, match="at least 2 different normal training images; got 1"):
        fit()


def test_copies_promise_nothing_more(fit, good, out):
    for path in sorted(good.iterdir()):
        (good / f"copy_of_{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(AdbenchError, match=r"12 normal images cannot promise .* alpha=0.077"):
        fit(alpha="alpha=0.05")
    fit()
    header = saved.read_header(out)
    assert header.training.images == 2 * COUNT
    assert len(header.normal.scores) == len(header.normal.fold) == COUNT
    assert header.decision().promised["n"] == COUNT


@pytest.mark.fault("detector file", shows="error")
def test_an_image_of_another_shape_is_named_before_the_work(fit, good, out):
    Image.new("RGB", (64, 128)).save(good / "high.png")
    with pytest.raises(AdbenchError, match=r"64x64, 128x64 pixels end up as .*geometry=square256"):
        fit(geometry=["geometry=whole", "geometry.area=64"])
    assert not out.exists()


def test_depths_and_colours_may_differ(fit, good, out):
    Image.new("L", (64, 64), 9).save(good / "grey.png")
    Image.new("RGBA", (64, 64)).save(good / "transparent.png")
    Image.fromarray(np.full((64, 64), 4000, np.uint16)).save(good / "deep.png")
    fit()
    assert saved.load(out, "cpu").header.training.images == COUNT + 3


@pytest.mark.fault("detector file", shows="error")
def test_one_broken_image_among_many_is_refused_or_left_out(fit, good, out, capsys):
    broken = good / "005.png"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(AdbenchError, match=r"005.png: cannot be decoded.*dataset.broken=skip"):
        fit()
    assert not out.exists()
    fit("dataset.broken=skip")
    training = saved.load(out, "cpu").header.training
    assert training.images == COUNT - 1
    assert "005.png" not in training.names


def test_several_categories_are_refused_with_the_way_to_choose_one(
    tmp_path, make_category, out, fit
):
    for name in ("bottle", "grid"):
        make_category(tmp_path / "images", name, edge=64)
    images = ["dataset=mvtec", f"dataset.root={tmp_path / 'images'}"]
    words = [*images, *NETWORK, *SQUARE, "alpha=0.25", f"out={out}"]
    with pytest.raises(AdbenchError, match=r"bottle, grid; choose one, such as dataset.categories"):
        command(Namespace(words=[*words, "dataset.categories=[bottle,grid]"]), CONFIGS)
    command(Namespace(words=[*words, "dataset.categories=[grid]"]), CONFIGS)
    header = saved.load(out, "cpu").header
    assert (header.category, header.training.images) == ("grid", 3)


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("alpha=0.001", r"cannot promise a false alarm rate of 0.001.* alpha=0.077 \(1/13\)"),
        ("alpha=0", "alpha: must be greater than 0"),
        (f"folds={10**20}", "folds: must be less than or equal to 10000"),
        ("threads=1000000", "threads: must be less than or equal to 1024"),
        ("threshold=train", "threshold=train promises nothing"),
        ("detector=part.safetensors", "detector"),
        ("include_weights=yes", "is true or false"),
        ("--fast", "no '--fast'"),
        ("fast", "not key=value"),
        ("method.lambdaa=3", "lambdaa"),
    ],
)
def test_a_wrong_word_is_refused(word, match, fit, out):
    with pytest.raises(AdbenchError, match=match):
        fit(word, alpha=None)
    assert not out.exists()


@pytest.mark.fault("detector file", shows="error")
def test_a_place_that_cannot_be_written_is_refused_before_the_work(fit, tmp_path, good):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").touch()
    places = {
        "folder.safetensors": "is a folder",
        "file/part.safetensors": "cannot be written",
        f"{'x' * 300}.safetensors": "cannot be written",
        "part.onnx": "ends in .safetensors",
        "": "where to",
    }
    keep(good, 0)  # no image is looked at before the place
    for place, why in places.items():
        with pytest.raises(AdbenchError, match=why):
            fit(out=tmp_path / place if place else None)
    if os.geteuid():  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(AdbenchError, match="cannot be written"):
            fit()
        tmp_path.chmod(0o700)


@pytest.mark.fault("detector file", shows="error")
def test_a_disk_without_room_is_told_before_the_folds(fit, out, monkeypatch):
    import shutil

    usage = shutil.disk_usage(out.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(AdbenchError, match=r"GB are needed and 0.0 GB are free there"):
        fit()
    assert not out.exists()


KILLED = """
import os, signal, sys
from adbench.cli.main import main
from adbench.detectors import saved

write = saved.save_file

def save_file(*given):
    write(*given)
    os.kill(os.getpid(), signal.SIGKILL)

saved.save_file = save_file
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.fault("detector file", shows="kept")
def test_a_killed_fit_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path, good, out, fit):
    out.write_bytes(b"what was there")
    images = ["dataset=folder", f"dataset.normal={good}", "alpha=0.2"]
    words = ["fit", *images, *NETWORK, *SQUARE, f"out={out}"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        cwd=tmp_path,
        env={**os.environ, "ADBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert out.read_bytes() == b"what was there"
    fit()
    assert saved.load(out, "cpu").header.training.images == COUNT
    assert [path.name for path in tmp_path.glob("*.tmp")] == []
    assert [path.name for path in tmp_path.glob(".*.tmp")] == []


@pytest.mark.slow
def test_the_command_ends_with_a_status(tmp_path, good, out):
    words = ["dataset=folder", f"dataset.normal={good}", *NETWORK, *SQUARE]
    done = adbench(tmp_path, "fit", *words, "alpha=0.2", f"out={out}")
    assert out.is_file()
    assert f"next: adbench predict {out} IMAGES" in done.stdout
    done = adbench(tmp_path, "fit", *words, "alpha=0.01", f"out={out}", check=False)
    assert done.returncode == 2
    assert "12 normal images cannot promise" in done.stderr
    assert "Traceback" not in done.stderr
