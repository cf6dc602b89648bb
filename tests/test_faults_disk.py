"""Disks that are full, read-only or gone, clocks that jump, versions that share a folder."""

import errno
import json
import os
import shutil
import time

import pytest
from made_records import made, saved
from made_runs import run_jobs

from adbench.cli import job
from adbench.errors import AdbenchError
from adbench.results import records
from adbench.results.raw import RecordError
from adbench.results.record import SCHEMA
from adbench.system import files
from adbench.system.settings import digest

SMALL = (
    "backbone.weights=random geometry.resize=[32,32] geometry.crop=null "
    "method.embedding.patch=1 method.layers=[1] method.ratio=0.5"
)
UNWRITABLE = "/proc/adbench"
"""A place where no user can make a folder."""
linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder of the kernel")


def numbers(outcome):
    return {r.category: r.metrics for r in outcome.records}


class FullDisk:
    """Writes to the disk fail from the k-th on; ``writes`` counts them."""

    def __init__(self, monkeypatch, first):
        self.writes = 0

        def fsync(descriptor):
            self.writes += 1
            if self.writes >= first:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", fsync)


# a full disk


@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_disk_that_fills_up_while_a_record_is_written_leaves_no_half_of_it(
    tmp_path, monkeypatch, first
):
    record = saved(tmp_path / "other", made("method=patchcore", "bottle", counts=(10, 12)))
    scores = records.load_scores(tmp_path / "other", record)
    pixels = records.load_pixels(tmp_path / "other", record)
    folder = tmp_path / "records"
    with monkeypatch.context() as full:
        FullDisk(full, first)
        with pytest.raises(AdbenchError) as caught:
            records.save(folder, record, scores, pixels)
    assert str(caught.value) == (
        f"cannot write the record {folder / record.name}.json: No space left on device; free "
        "space or set results=DIR"
    )
    assert not list(folder.glob("*.json"))
    assert not list(folder.glob(".*.tmp"))
    records.save(folder, record, scores, pixels)
    (found,) = records.load_all(folder)
    assert records.load_scores(folder, found) == scores


@pytest.mark.slow
@pytest.mark.fault("results folder", shows="kept")
def test_a_disk_that_fills_up_at_any_write_of_a_run_costs_no_finished_record(
    tmp_path, make_category, monkeypatch
):
    for category in ("bottle", "grid"):
        make_category(tmp_path / "data", category)
    words = f"dataset=mvtec dataset.root={tmp_path}/data {SMALL}"
    (whole,) = run_jobs(tmp_path / "whole", words)
    first, writes = 1, 1
    while first <= writes:
        folder = tmp_path / str(first)
        with monkeypatch.context() as full:
            disk = FullDisk(full, first)
            try:
                (outcome,) = run_jobs(folder, words)
            except AdbenchError as error:
                assert "No space left on device" in str(error)  # noqa: PT017
            else:
                assert all("No space left" in why for why in outcome.failures.values())
        writes = max(writes, disk.writes) if disk.writes >= first else 0
        assert not list((folder / "records").glob(".*.tmp"))
        (again,) = run_jobs(folder, words)
        assert numbers(again) == numbers(whole)
        assert len(records.load_all(folder / "records")) == 2
        first += 1
    assert first > 3


# read-only


@linux
@pytest.mark.fault("results folder", shows="error")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("run", "dataset=demo", f"results={UNWRITABLE}"),
            f"cannot write records to {UNWRITABLE}/records: No such file or directory; set "
            "results=DIR",
        ),
        (
            (
                "fit",
                "dataset=demo",
                "dataset.categories=[denim]",
                f"out={UNWRITABLE}/x.safetensors",
            ),
            f"out={UNWRITABLE}/x.safetensors: cannot be written: No such file or directory",
        ),
        (
            ("run", "-m", "seed=0,1", f"results={UNWRITABLE}"),
            f"cannot write to {UNWRITABLE}/",
        ),
        (("report", "results=RUNS", f"out={UNWRITABLE}/x.html"), f"{UNWRITABLE}"),
    ],
    ids=["run", "fit", "sweep", "report"],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path, command, words, message):
    saved(tmp_path / "RUNS" / "records", made("method=patchcore", "bottle", counts=(10, 12)))
    told = command(*words)
    assert told.status in (1, 2)
    assert message in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "cache" / "features").exists()


# folders that vanish


@pytest.mark.slow
@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("gone", ["runs", "runs/records", "runs/cache", "data/grid", "data"])
def test_a_folder_that_vanishes_in_a_run_costs_what_needs_it_alone(tmp_path, make_category, gone):
    for category in ("bottle", "grid"):
        make_category(tmp_path / "data", category)
    words = f"dataset=mvtec dataset.root={tmp_path}/data {SMALL}"
    said = []

    def say(line):
        if not said:
            shutil.rmtree(tmp_path / gone, ignore_errors=True)
        said.append(line)

    (outcome,) = run_jobs(tmp_path / "runs", words, say=say)
    lost = gone.startswith("data")
    assert [r.category for r in outcome.records] == (["bottle"] if lost else ["bottle", "grid"])
    assert list(outcome.failures) == (["grid"] if lost else [])
    for why in outcome.failures.values():
        assert str(tmp_path / "data") in why
        assert "Traceback" not in why
    kept = {r.category for r in records.load_all(tmp_path / "runs" / "records")}
    assert kept == (
        {"grid"}
        if gone in ("runs", "runs/records")
        else {"bottle"} | {r.category for r in outcome.records}
    )


# clocks


@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("moment", [0, 4e9], ids=["1970", "2096"])
def test_the_times_of_files_decide_nothing(tmp_path, moment):
    record = saved(tmp_path, made("method=patchcore", "bottle", counts=(10, 12)))
    for path in tmp_path.iterdir():
        os.utime(path, (moment, moment))
    assert records.load_all(tmp_path) == [record]
    assert records.find(tmp_path, record.identity) == record


@pytest.mark.fault("results folder", shows="kept")
def test_a_clock_that_jumps_takes_no_file_from_a_process_that_still_writes(tmp_path, monkeypatch):
    now = time.time()
    path = tmp_path / "record.json"
    with files.whole_file(path) as file:
        file.write(b"first")
        for jump in (10 * files.STALE, -10 * files.STALE):
            monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
            files.write_whole(tmp_path / "other.json", "second")
    assert path.read_bytes() == b"first"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.json", "record.json"]


# two versions in one folder


@pytest.mark.fault("record", shows="kept")
@pytest.mark.parametrize("change", ["a newer schema", "a field that is new"])
def test_a_record_of_a_newer_version_stays_and_is_told(tmp_path, caplog, change):
    mine = saved(tmp_path, made("method.ratio=0.1", "bottle", counts=(10, 12)))
    other = saved(tmp_path, made("method.ratio=0.2", "bottle", counts=(10, 12)))
    path = tmp_path / f"{other.name}.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    if change == "a newer schema":
        content["schema"] = SCHEMA + 1
    else:
        content["field of the future"] = 1
    content["checksum"] = digest(content)
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    assert records.load_all(tmp_path) == [mine]
    assert caplog.text.count("1 records of a newer adbench are left out") == 1
    with pytest.raises(RecordError, match="brings a version that reads it"):
        records.find(tmp_path, other.identity)
    assert path.read_bytes() == before


@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_record_that_is_measured_again_without_room_stays_as_it_was(tmp_path, monkeypatch, first):
    folder = tmp_path / "records"
    record = saved(folder, made("method=patchcore", "bottle", counts=(10, 12)))
    scores, pixels = records.load_scores(folder, record), records.load_pixels(folder, record)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as full:
        FullDisk(full, first)
        with pytest.raises(AdbenchError, match="No space left on device"):
            records.save(folder, record, scores, pixels)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.fault("results folder", shows="error")
def test_a_table_without_room_ends_with_1_and_names_its_place(
    tmp_path, command, make_category, monkeypatch
):
    make_category(tmp_path / "images", "bottle")

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "write_whole", full)
    words = ("dataset=mvtec", "dataset.root=images", "timing.enabled=false", "heatmaps=0")
    told = command("run", *words, *SMALL.split())
    assert told.status == 1
    assert (
        "adbench: cannot write to runs: No space left on device; the records are kept" in told.err
    )
    assert len(records.load_all(tmp_path / "runs" / "records")) == 1
