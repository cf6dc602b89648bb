"""Standard error as JSON lines: every line is an event, whoever writes it."""

import io
import json
import logging
import sys
import time

import pytest
from commands import adbench
from made_runs import plans

from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.cli.process import take_progress
from adbench.system import progress
from adbench.system.events import EventHandler, Events, events_on


def events_in(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def stream():
    return io.StringIO()


def test_a_run_is_told_with_its_place_and_what_is_left(stream):
    with events_on(stream), progress.progress(progress.kind_for(sys.stderr), total=2):
        progress.at("bottle", [3])
        with progress.doing("fit"), progress.steps(5, "training", "step") as step:
            step()
        progress.finished()
        progress.happened("record", "bottle", jobs=[3], record="a-b")
        progress.at("grid")
        progress.happened("failure", "grid", jobs=[], message="why")
    told = events_in(stream.getvalue())
    names = ["start", "category", "stage", "stage", "stage", "record", "category", "failure", "end"]
    assert [event["event"] for event in told] == names
    assert [event["stage"] for event in told if event["event"] == "stage"] == [
        "fit",
        "training",
        "fit",
    ]
    first, record, failure, last = told[0], told[5], told[7], told[8]
    assert (first["done"], first["total"], first["eta"]) == (0, 2, None)
    assert (record["category"], record["jobs"], record["record"]) == ("bottle", [3], "a-b")
    assert (failure["category"], failure["jobs"], failure["message"]) == ("grid", [], "why")
    assert last["done"] == 1
    assert last["eta"] == pytest.approx(last["seconds"], abs=0.002)  # half is done


def test_a_long_stage_is_told_again_with_its_steps(stream):
    with (
        events_on(stream),
        progress.progress("events", total=1, interval=0),
        progress.doing("images"),
        progress.bar(9, "features", "img") as bar,
    ):
        bar.update(4)
        while '"step": 4' not in stream.getvalue():
            time.sleep(0.01)  # it is told by a thread
    again = [e for e in events_in(stream.getvalue()) if e.get("step") == 4]
    assert again[0]["steps"] == 9
    assert again[0]["stage"] == "images"


def test_every_other_text_becomes_an_event(stream):
    with events_on(stream) as events:
        print("adbench: a line", file=sys.stderr)
        sys.stderr.write("half a ")
        sys.stderr.write("line\n\n\x1b[31m10%\x1b[0m\r20%\rthe rest")
        logger = logging.getLogger("adbench.test")
        logger.addHandler(EventHandler(events))
        logger.propagate = False
        logger.warning("bad\n\x1b[2J %s", "b\u00f6ttle")
    told = events_in(stream.getvalue())
    assert [e["text"] for e in told if e["event"] == "message"][:4] == [
        "a line",
        "half a line",
        "10%",
        "20%",
    ]
    (warning,) = [e for e in told if e["event"] == "warning"]
    assert (warning["level"], warning["text"]) == ("warning", "bad\n\x1b[2J b\u00f6ttle")
    assert (told[-1]["event"], told[-1]["text"]) == ("message", "the rest")
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()


def test_an_event_of_another_process_stays_one_and_what_only_looks_like_one_does_not(stream):
    theirs = json.dumps({"event": "record", "process": 7, "record": "a-b"})
    with events_on(stream):
        print(f"\x1b[36m(_run_job pid=7)\x1b[0m {theirs}", file=sys.stderr)
        for forged in (
            '{"event": "record", "process": 7, "record": }',
            '{"event": "exit", "process": 7, "status": 0}',
            'bottle: no image {"event": "record", "process": 7}',
        ):
            print(forged, file=sys.stderr)
    told = events_in(stream.getvalue())
    assert [event["event"] for event in told] == ["record", "message", "message", "message"]
    assert told[0] == json.loads(theirs)


@pytest.mark.parametrize("flag", [["--config-dir", "DIR"], ["--config-dir=DIR"], ["-cd", "DIR"]])
def test_the_word_is_found_behind_a_folder_of_configs(flag):
    assert take_progress([*flag, "run", "progress=json"]) == ([*flag, "run"], True)
    assert take_progress([*flag, "list", "progress=json"])[1] is False


def test_a_number_that_json_lacks_is_null_and_a_closed_stream_costs_the_lines_alone(stream):
    events = Events(stream)
    events.event("record", value=float("nan"))
    assert events_in(stream.getvalue())[0]["value"] is None
    stream.close()
    events.event("record")
    print("lost", file=events)


def test_without_the_word_nothing_changes(stream):
    before = sys.stderr
    with events_on(stream, wanted=False) as events:
        assert events is None
        assert sys.stderr is before
    with events_on(None) as events:
        assert events is None


@pytest.mark.slow
def test_a_run_tells_records_and_failures_of_each_category(tmp_path, make_category, stream):
    for name in ("bottle", "grid"):
        make_category(tmp_path / "images", name, edge=64)
    for path in (tmp_path / "images" / "grid" / "train" / "good").glob("*.png"):
        path.write_bytes(b"no image")
    words = f"dataset=mvtec dataset.root={tmp_path / 'images'} geometry.resize=[64,64] "
    words += "geometry.crop=null timing.enabled=false"
    made = plans(tmp_path, words, common=["dataset.categories=[bottle,grid]"])
    for measured in (True, False):
        stream.seek(0)
        stream.truncate()
        with events_on(stream):
            (outcome,) = run(Session(made, progress.kind_for(sys.stderr)), lambda line: None)
        told = events_in(stream.getvalue())
        (record,) = [e for e in told if e["event"] == "record"]
        (failure,) = [e for e in told if e["event"] == "failure"]
        assert (record["category"], record["record"]) == ("bottle", outcome.records[0].name)
        assert record["measured"] is measured
        assert (failure["category"], failure["message"]) == ("grid", outcome.failures["grid"])
        assert (told[0]["event"], told[0]["total"]) == ("start", 2)
        assert (told[-1]["event"], told[-1]["done"]) == ("end", 2)


def test_the_command_writes_json_lines_alone_and_ends_with_its_status(tmp_path):
    done = adbench(tmp_path, "fit", "progress=json", "method=crd", check=False)
    assert done.returncode == 2
    message, end = events_in(done.stderr)
    assert message["text"] == "fit: where to? give out=FILE.safetensors"
    assert (end["event"], end["status"]) == ("exit", 2)
    assert message["process"] == end["process"]


@pytest.mark.parametrize("name", ["run", "fit", "reproduce"])
def test_another_kind_of_progress_is_refused(command, name):
    told = command(name, "progress=xml")
    assert told.status == 2
    assert "progress=xml: is progress=json, or leave it out" in told.err


def test_a_command_that_tells_no_progress_refuses_the_word(command):
    told = command("list", "progress=json")
    assert told.status == 2
    assert "progress=json" in told.err
