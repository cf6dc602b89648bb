"""YAML files and records that are wrong, hostile or of another version, under the commands."""

import json
import os

import pytest
from made_faults import executed
from made_records import made, saved

from adbench.results.record import SCHEMA
from adbench.system.settings import digest

HEAD = "# @package _global_\n"
ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
)
NOWHERE = ("dataset=mvtec", "dataset.root=nowhere")
"""So that a fault that is not noticed fails here, before any work."""
MEND = "; mend it or move it out of the folder\n"
BAD_YAML = {
    "an open list": (f"{HEAD}method: [", "FILE, line 2, column 10: expected the node content, but"),
    "a tab": (
        f"{HEAD}method:\n\tname: x\n",
        "FILE, line 3, column 1: found character '\\t' that cannot start any token; indent with "
        "spaces\n",
    ),
    "not a text": (b"\xff\xfe\x00m", f"FILE: is not a text in UTF-8{MEND}"),
    "latin": ("größe: 1".encode("latin-1"), f"FILE: is not a text in UTF-8{MEND}"),
    "a sign that is none": (f"{HEAD}x\0y: 1", "unacceptable character #x0000: special characters"),
    "an object": (
        f"{HEAD}a: !!python/object/apply:os.mkdir [PWNED]",
        "FILE, line 2, column 4: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.mkdir'\n",
    ),
    "a name of a program": (
        f"{HEAD}a: !!python/name:os.system",
        "FILE, line 2, column 4: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/name:os.system'\n",
    ),
    "aliases that grow": (
        HEAD + ALIASES,
        f"FILE: holds more than 100,000 values, with those that its aliases repeat{MEND}",
    ),
    "an anchor in itself": (
        f"{HEAD}a: &a\n  b: *a\n",
        f"FILE: the anchor &a holds itself{MEND}",
    ),
    "deep lists": (
        f"{HEAD}method: {'[' * 2000}{']' * 2000}",
        f"FILE: is nested deeper than 100 levels{MEND}",
    ),
    "deep mappings": (
        f"{HEAD}method: {'{a: ' * 2000}1{'}' * 2000}",
        f"FILE: is nested deeper than 100 levels{MEND}",
    ),
    "a number of many signs": (
        f"{HEAD}seed: {'9' * 5000}",
        f"FILE: holds a number of 5,000 signs{MEND}",
    ),
    "a large file": (
        f"{HEAD}# {'x' * 2**20}\n",
        f"FILE: has 1,048,599 bytes, and a config file has at most 1,048,576{MEND}",
    ),
    "a key twice": (
        f"{HEAD}seed: 0\nseed: 1\n",
        "FILE, line 3, column 1: found duplicate key seed\n",
    ),
    "a list": (f"{HEAD}- 1\n- 2\n", "Cannot merge DictConfig with ListConfig"),
    "a list as a key": (f"{HEAD}? [1,2]\n: 3\n", "FILE, line 2, column 3: found unhashable key\n"),
    "two documents": (
        f"{HEAD}---\na: 1\n---\nb: 2\n",
        "FILE, line 4, column 1: but found another document\n",
    ),
    "another YAML": (
        f"{HEAD}%YAML 9.9\n---\na: 1",
        "FILE, line 2, column 1: found incompatible YAML document (version 1.* is required)\n",
    ),
    "itself": (
        f"{HEAD}defaults:\n  - evil\n",
        "a file of the config leads back to itself through its defaults list; take it out of the "
        "list\n",
    ),
    "a preset that is not there": (
        f"{HEAD}defaults:\n  - override /method: nothere\n",
        "no method 'nothere'; did you mean",
    ),
    "a file outside": (f"{HEAD}defaults:\n  - /../../etc/passwd\n", "experiment/evil.yaml: no "),
    "a preset outside": (
        f"{HEAD}defaults:\n  - override /method: ../../etc\n",
        "no method '../../etc'; `adbench list methods` shows all",
    ),
    "a class of Python": (
        f"{HEAD}method:\n  _target_: os.system\n",
        "method._target_: got 'os.system'; only classes inside adbench are built, and those of "
        "installed packages with an entry point of the group adbench.plugins\n",
    ),
    "a number as a word": (f"{HEAD}method:\n  ratio: 0x\n", "method.ratio: must be a number"),
    "a seed that is no number": (f"{HEAD}seed: .nan\n", "seed: must be an integer, got nan"),
    "a seed without end": (f"{HEAD}seed: .inf\n", "seed: must be an integer, got inf"),
    "a ratio without end": (
        f"{HEAD}method:\n  coreset:\n    eps: .inf\n",
        "method.coreset.eps: must be a finite number, got inf",
    ),
    "a date as a seed": (f"{HEAD}seed: 2020-01-01\n", "seed: must be an integer"),
    "a setting that refers to itself": (f"{HEAD}seed: ${{seed}}\n", "seed"),
    "a setting that refers nowhere": (f"{HEAD}seed: ${{nothing.here}}\n", "seed: refers to a key"),
    "a secret in a name": (
        f"{HEAD}method:\n  name: ${{oc.env:HOME}}\n",
        "method.name: got '${oc.env:HOME}'; records keep this setting",
    ),
}


def written(folder, content, name="experiment/evil.yaml"):
    path = folder / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.fault("YAML", shows="error")
@pytest.mark.parametrize(("content", "message"), BAD_YAML.values(), ids=BAD_YAML.keys())
def test_a_wrong_config_file_is_named_and_nothing_is_run(tmp_path, command, content, message):
    path = written(tmp_path, content)
    told = command("run", "--config-dir", "mine", "experiment=evil", *NOWHERE)
    assert told.status == 2
    assert message.replace("FILE", str(path)) in told.err
    assert told.err.count("adbench: ") == 1
    assert not executed(tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.fault("YAML", shows="error")
@pytest.mark.parametrize("kind", ["pipe", "endless device"])
def test_a_config_file_that_is_no_file_is_never_opened(tmp_path, command, kind):
    path = tmp_path / "mine" / "table" / "evil.yaml"
    path.parent.mkdir(parents=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    told = command("table", "--config-dir", "mine", "evil")
    assert (told.status, told.err) == (2, f"adbench: {path}: is no regular file{MEND}")


# records whose checksum is right, because whoever wrote them computed it


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "runs"
    saved(folder / "records", made("method.ratio=0.1", "bottle", counts=(10, 12)))
    return folder


def edited(results, change):
    """The record with changed content and the checksum of it."""
    (path,) = (results / "records").glob("*.json")
    content = json.loads(path.read_text())
    del content["checksum"]
    change(content)
    content["checksum"] = digest(content)
    path.write_text(json.dumps(content))
    return path


def with_value(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


SHAPES = {
    **{
        f"{name} is missing": (lambda c, n=name: c.pop(n), f"the field {name} is missing")
        for name in ("identity", "labels", "counts", "metrics")
    },
    **{
        f"{name} is a list": (
            with_value(name, value=[1]),
            f"the field {name} does not hold what it should",
        )
        for name in (
            *("identity", "labels", "counts", "metrics", "intervals", "time", "files", "weights"),
            *("environment", "date", "threshold", "seconds"),
        )
    },
    "a metric has more digits than a float": (
        with_value("metrics", "image_auroc", value=10**400),
        "the field metrics does not hold what it should",
    ),
    **{
        f"identity.{part} holds {value!r}": (
            with_value("identity", part, value=value),
            "a part of its identity holds no settings",
        )
        for part in ("geometry", "backbone", "method")
        for value in (None, "x", [1])
    },
    **{
        f"{'.'.join(keys)} is {value!r}": (
            with_value(*keys, value=value),
            f"{'.'.join(keys)} does not hold what it should",
        )
        for keys, value in (
            (("identity", "method", "settings"), [1, 2]),
            (("identity", "method", "class"), None),
            (("weights", "setting"), {"a": 1}),
            (("environment", "versions"), None),
            (("environment", "threads"), "x"),
            (("threshold", "kind"), 3),
            (("threshold", "value"), "x"),
        )
    },
    "a time has no p50": (
        with_value("time", "total", value={}),
        "a time lacks its p50 or its p95",
    ),
    "an interval has one end": (
        with_value("intervals", "image_auroc", value=[0.1]),
        "an interval has not two ends",
    ),
    "a metric is a text": (
        with_value("metrics", "image_auroc", value="high"),
        "the field metrics does not hold what it should",
    ),
    "a metric is infinite": (
        with_value("metrics", "image_auroc", value=float("inf")),
        "the field metrics does not hold what it should",
    ),
    "a label is a mapping": (
        with_value("labels", "method", value={}),
        "the field labels does not hold what it should",
    ),
    "a category is a mapping": (
        with_value("identity", "category", value={}),
        "its identity names no dataset and category",
    ),
    "a dataset is a text": (
        with_value("identity", "dataset", value="x"),
        "its identity names no dataset and category",
    ),
    "a count is missing": (
        lambda c: c["counts"].pop("test"),
        "it lacks the counts of its images",
    ),
}


@pytest.mark.fault("record", shows="error")
@pytest.mark.parametrize(("change", "message"), SHAPES.values(), ids=SHAPES.keys())
def test_a_record_of_another_shape_is_named(results, command, change, message):
    path = edited(results, change)
    before = path.read_bytes()
    told = command("table", "han2024_table1", f"results={results}")
    assert told.status == 2
    assert told.err == f"adbench: {path}: {message}; move it out of the folder and run again\n"
    assert path.read_bytes() == before


@pytest.mark.fault("record", shows="error")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole record"),
        (b"[]", "not a whole record"),
        (b"null", "not a whole record"),
        (b"[" * 100_000, "not a whole record"),
        (b"\xff\xfe", "not a whole record"),
        (b'{"schema": 2}', "not a whole record"),
        (b'{"schema": 2, "checksum": ""}', "was changed after it was written"),
        (b'{"schema": null, "checksum": ""}', f"schema None, this adbench reads {SCHEMA}"),
        (b'{"schema": "2", "checksum": ""}', f"schema 2, this adbench reads {SCHEMA}"),
        (b"<html></html>", "not a whole record"),
    ],
)
def test_a_file_under_the_name_of_a_record_is_named(results, command, content, message):
    (path,) = (results / "records").glob("*.json")
    path.write_bytes(content)
    told = command("table", "han2024_table1", f"results={results}")
    assert told.status == 2
    assert told.err.startswith(f"adbench: {path}: {message}")
    assert told.err.endswith("; move it out of the folder and run again\n")
    assert path.read_bytes() == content
