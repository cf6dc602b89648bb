"""What somebody hostile puts into files and names: it is refused, or it is text like any other."""

import io
import json
import pickle
import zlib

import numpy as np
import pytest
from made_faults import Evil, executed
from made_records import made, saved

from adbench.bench.predict import Prediction
from adbench.cli.rows import Rows
from adbench.data.map_files import read_map
from adbench.errors import DataError
from adbench.features.orders import Orders
from adbench.features.store import Store
from adbench.results import raw
from adbench.results.raw import RecordError
from adbench.system.settings import digest

HOSTILE = {
    "clears the screen": "\x1b[2J\x1b[31mred",
    "one byte for an escape": "\x9b2Jred",
    "sets the title": "\x1b]0;owned\x07",
    "goes back": "ab\b\b\x7f",
    "turns the text": "a\u202egnp.exe",
    "hides": "a\u200bb\u2066c",
    "is a formula": "=HYPERLINK(1)",
    "is a script": "<script>alert(1)</script>",
    "is a shell": "$(touch PWNED)",
}
SPOKEN = [name for name in HOSTILE if name not in ("is a formula", "is a script", "is a shell")]


def clean(text):
    """Whether nothing in a text steers a terminal."""
    return all(c.isprintable() or c in "\n\t" for c in text)


# pickles


def objects():
    """An array whose content is a pickle that runs code."""
    array = np.empty(1, object)
    array[0] = Evil()
    return array


def with_checksum(content):
    return content + zlib.crc32(content).to_bytes(4, "little")


@pytest.mark.fault("map", shows="inert")
@pytest.mark.parametrize("kind", ["npy", "npz", "a pickle called npy", "a pickle called tiff"])
def test_a_map_that_is_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / {"npy": "m.npy", "npz": "m.npz"}.get(kind, f"m.{kind.split()[-1]}")
    file = io.BytesIO()
    if kind in ("npy", "npz"):
        (np.save if kind == "npy" else np.savez)(file, objects())
    else:
        file.write(pickle.dumps(Evil()))
    path.write_bytes(file.getvalue())
    with pytest.raises(DataError, match=r"m\.\w+: cannot be decoded: "):
        read_map(path)
    assert not executed(tmp_path)


@pytest.mark.fault("cache", shows="inert")
@pytest.mark.parametrize("kind", ["features", "order"])
def test_a_pickle_in_the_cache_is_made_again_and_not_run(tmp_path, monkeypatch, caplog, kind):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    np.save(file, objects())
    content = with_checksum(file.getvalue())
    if kind == "features":
        (tmp_path / "layer1.npy").write_bytes(content)
        assert Store().open(tmp_path / "layer1.npy", 1) is None
    else:
        Orders(tmp_path).keep({"seed": 0}, np.arange(3))
        (path,) = (tmp_path / "orders").glob("*.npy")
        path.write_bytes(content)
        assert Orders(tmp_path).read({"seed": 0}) is None
    assert "is damaged" in caplog.messages[0]
    assert not executed(tmp_path)


@pytest.mark.fault("record", shows="inert")
def test_a_pickle_among_raw_numbers_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    np.savez(file, concordant=objects(), positives=np.ones(1), negatives=np.ones(1))
    path = tmp_path / "x.pixels.npz"
    path.write_bytes(file.getvalue())
    with pytest.raises(RecordError, match=r"x\.pixels\.npz: pixel counts cannot be read"):
        raw.read_pixels(path, raw.sha256(file.getvalue()))
    assert not executed(tmp_path)


# names on the screen


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("name", [HOSTILE[n] for n in SPOKEN], ids=SPOKEN)
def test_a_category_cannot_steer_the_terminal(tmp_path, command, make_category, name):
    make_category(tmp_path / "data", name)
    words = ("dataset=mvtec", f"dataset.root={tmp_path}/data")
    missing = command("data", "check", *words)
    assert missing.status == 2
    found = command("data", "check", *words, f"dataset.categories=['{name}']")
    assert found.status == 0
    assert clean(missing.err + missing.out + found.err + found.out)
    assert repr(name)[1:-1] in found.out


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("name", [HOSTILE[n] for n in SPOKEN], ids=SPOKEN)
def test_a_broken_image_cannot_steer_the_terminal(tmp_path, command, make_category, name):
    folder = make_category(tmp_path / "data", "bottle")
    (folder / "train/good" / f"{name}.png").write_bytes(b"no image")
    told = command("data", "check", "dataset=mvtec", f"dataset.root={tmp_path}/data")
    assert told.status == 1
    assert clean(told.out + told.err)
    assert f"{repr(name)[1:-1]}.png: not an image" in told.out


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_label_in_a_record_stays_text(tmp_path, command, name):
    results = tmp_path / "runs"
    for ratio in (0.1, 0.2):
        saved(results / "records", made(f"method.ratio={ratio}", "bottle", counts=(10, 12)))
    for path in sorted((results / "records").glob("*.json")):
        content = json.loads(path.read_text())
        content["labels"]["method"] = content["labels"]["backbone"] = name
        content["notes"] = [name]
        del content["checksum"]
        content["checksum"] = digest(content)
        path.write_text(json.dumps(content))
    where = f"results={results}"
    sides = ("method.ratio=0.1", "method.ratio=0.2", where)
    commands = [("compare", *sides), ("compare", "--json", *sides)]
    if "<" in name:
        commands.append(("report", where))
    for words in commands:
        told = command(*words)
        assert told.status == 0
        assert clean(told.out + told.err)
    for page in tmp_path.glob("*.html"):
        assert "<script>alert(1)" not in page.read_text()
    assert not executed(tmp_path)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("name", [HOSTILE[n] for n in SPOKEN], ids=SPOKEN)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_rows_of_predict_cannot_steer_the_terminal(tmp_path, name, as_json):
    terminal, file = Terminal(newline=""), io.StringIO(newline="")
    for stream in (terminal, file):
        Rows(stream, as_json).write(Prediction(tmp_path / f"{name}.png", error="broken"))
    assert clean(terminal.getvalue())
    # What a program reads is the name itself.
    assert as_json or name in file.getvalue()


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("label", ["../../evil", "/evil", "..", "a/b", "a\0b", "x" * 300])
def test_the_label_of_a_record_leads_to_no_other_folder(tmp_path, command, label):
    results = tmp_path / "inner" / "runs"
    record = made("method.ratio=0.1", "bottle", counts=(10, 12))
    record.labels["method"] = label
    saved(results / "records", record)
    told = command("plot", "--x", "method.ratio", f"results={results}")
    assert "Traceback" not in told.err
    made_files = [p for p in tmp_path.rglob("*") if p.is_file()]
    outside = [path for path in made_files if not path.is_relative_to(results)]
    assert all(path.is_relative_to(tmp_path / "cache") for path in outside)
    assert all(len(path.name) <= 255 for path in made_files)
