import json

import pytest

from adbench import records
from adbench.core import AdbenchError
from adbench.records import ImageScore, Record, RecordError


def record(category="bottle", **changes):
    content = {
        "identity": {"category": category, "method": {"class": "PatchCore", "settings": {"ratio": 0.1}}},
        "labels": {"method": "patchcore"},
        "counts": {"train": 5, "test": 2, "anomalous": 1},
        "metrics": {"image_auroc": 0.12345678, "pixel_auroc": None},
        "reasons": {"pixel_auroc": "no masks"},
        **changes,
    }
    return Record(**content)


SCORES = [ImageScore("test/good/0.png", "good", False, 0.1), ImageScore("test/a, b/1.png", "a, b", True, 1 / 3)]


def test_what_is_saved_is_found_again_to_6_places(tmp_path):
    records.save(tmp_path, record(), SCORES, b"pixels")
    found = records.find(tmp_path, record().identity)
    assert found.metrics == {"image_auroc": 0.123457, "pixel_auroc": None}
    assert found.reasons == {"pixel_auroc": "no masks"}
    assert records.load_scores(tmp_path, found) == SCORES
    assert (tmp_path / f"{found.id}.pixels.npz").read_bytes() == b"pixels"
    assert records.load_all(tmp_path) == [found]


def test_another_identity_is_another_record(tmp_path):
    records.save(tmp_path, record(), SCORES)
    assert records.find(tmp_path, record("grid").identity) is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a whole record"),
        (lambda text: "", "not a whole record"),
        (lambda text: "[]", "not a whole record"),
        (lambda text: text.replace("0.123457", "0.999999"), "was changed after it was written"),
        (lambda text: text.replace('"schema": 1', '"schema": 0'), "schema 0, this adbench reads 1"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_refused_and_left(tmp_path, edit, message):
    path = records.save(tmp_path, record(), SCORES)
    edited = edit(path.read_text())
    path.write_text(edited)
    with pytest.raises(RecordError, match=message):
        records.load(path)
    assert path.read_text() == edited


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(AdbenchError, match="adbench run"):
        records.load_all(tmp_path)


def test_truncated_scores_are_refused(tmp_path):
    path = records.save(tmp_path, record(), SCORES)
    scores = path.with_suffix(".scores.csv")
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RecordError, match="1 rows, the record has 2"):
        records.load_scores(tmp_path, records.load(path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AdbenchError, match="cannot write the record"):
        records.save(tmp_path / "file" / "records", record(), SCORES)


def test_numbers_that_json_lacks_become_null(tmp_path):
    path = records.save(tmp_path, record(metrics={"image_auroc": float("nan")}), SCORES)
    assert json.loads(path.read_text())["metrics"] == {"image_auroc": None}
    assert records.load(path).metrics == {"image_auroc": None}
