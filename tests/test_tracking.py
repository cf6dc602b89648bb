"""Records logged to trackers of experiments: each once and whole, and no record is lost by it."""

import errno
import importlib.util
import io
import json
import logging
import shlex
import shutil
import sys
import traceback
import types
from dataclasses import replace
from pathlib import Path

import pytest
from commands import mvtec
from hydra.core.utils import JobReturn
from made_records import made, saved

from adbench.cli.main import main
from adbench.cli.sides import results_of
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.results import records
from adbench.tracking.callback import Track, failures
from adbench.tracking.mlflow import MlflowTracker
from adbench.tracking.track import FailedError, Place, track
from adbench.tracking.wandb import WandbTracker


class Memory:
    """A tracker that keeps what it was told, and fails at the entry of a number."""

    def __init__(self, fails_at=None):
        self.entries, self.calls, self.fails_at = {}, 0, fails_at

    def in_folder(self, folder):
        return self

    def log(self, entry):
        self.calls += 1
        if self.calls == self.fails_at:
            raise ConnectionError("the server has gone\nmore")
        known = self.entries.get(entry.id)
        self.entries[entry.id] = entry
        return known is None or known.digest != entry.digest

    def held(self):
        return set(self.entries)


@pytest.fixture
def results(tmp_path):
    for category in ("bottle", "grid"):
        saved(tmp_path / "records", made("method=crd", category, counts=(10, 40)))
    return tmp_path


def log(results, memory, **place):
    return track(results, Place("mlflow", **place), memory.in_folder)


def test_an_entry_holds_settings_numbers_and_origins(results):
    memory = Memory()
    assert log(results, memory).logged == 2
    (entry,) = [e for e in memory.entries.values() if "bottle" in e.name]
    record = records.load(entry.file)
    assert entry.id == record.id
    assert entry.name == record.name == entry.file.stem
    assert entry.parameters["category"] == "bottle"
    assert entry.parameters["method.class"] == "CRD"
    assert (
        float(entry.parameters["method.settings.lambda_"])
        == (record.identity["method"]["settings"]["lambda_"])
    )
    assert json.loads(entry.parameters["method.settings.layers"]) == [2, 3]
    wanted = {
        "image_auroc": 0.9,
        "image_auroc_low": 0.88,
        "image_auroc_high": 0.91,
        "total_p50": 0.02,
        "total_p95": 0.04,
        "peak_bytes": 1e9,
        "train": 10,
    }
    assert {n: entry.metrics[n] for n in wanted} == pytest.approx(wanted)
    assert not {"category", "record", "fit_seconds"} & set(entry.metrics)  # no number, or none here
    tags = {n: entry.tags[f"adbench.{n}"] for n in ("dataset", "category", "method")}
    assert tags == {"dataset": "demo", "category": "bottle", "method": "crd"}
    assert entry.tags["adbench.weights_sha256"] == record.identity["backbone"]["sha256"]


@pytest.mark.fault("results folder", shows="error")
def test_a_folder_that_cannot_be_written_is_told_before_the_tracker_is_made(results):
    (results / "tracking").write_text("in the way")
    with pytest.raises(AdbenchError, match=r"cannot write to .*tracking: .*name it by results=DIR"):
        log(results, Memory())


def test_nothing_is_logged_twice_and_a_completed_record_once_more(results):
    memory = Memory()
    log(results, memory)
    again = log(results, memory)
    assert (again.logged, again.known, memory.calls) == (0, 2, 2)
    folder = results / "records"
    record = next(r for r in records.load_all(folder) if r.category == "grid")
    records.update(folder, record, replace(record, memory={"peak": 7, "state": 10**7}))
    renewed = log(results, memory)
    assert (renewed.logged, renewed.known, memory.calls) == (1, 1, 3)
    assert memory.entries[record.id].metrics["peak_bytes"] == 7


def test_without_the_list_of_what_was_logged_the_tracker_is_asked(results):
    memory = Memory()
    log(results, memory)
    (ledger,) = (results / "tracking").glob("*.json")
    for damage in (lambda: ledger.unlink(), lambda: ledger.write_text("{")):
        damage()
        found = log(results, memory)
        assert (found.logged, found.known) == (0, 2)
    assert memory.calls == 6


@pytest.mark.fault("results folder", shows="kept")
@pytest.mark.parametrize("store", [None, "sqlite:///x.db", "file:///x"])
def test_what_was_deleted_from_a_store_is_logged_again(results, store):
    memory = Memory()
    assert log(results, memory, store=store).logged == 2
    memory.entries.popitem()
    again = log(results, memory, store=store)
    assert (again.logged, again.known, memory.calls) == (1, 1, 3)
    memory.entries.clear()
    assert log(results, memory, store=store).logged == 2
    assert log(results, memory, store=store).known == 2


def test_a_server_is_not_asked_where_nothing_is_new(results):
    memory = Memory()
    log(results, memory, store="http://server:5000")

    def unreachable(folder):
        raise ConnectionError

    assert track(results, Place("mlflow", "http://server:5000"), unreachable).known == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pictures": "no"}, "pictures=no: is true or false"),
        ({"pictures": "maybe"}, "pictures=maybe: is true or false"),
        ({"tool": "numpy"}, "tool=numpy: is mlflow or wandb"),
        ({"project": 5}, "project=5: is no text; one that looks like a number is quoted twice"),
        ({"project": None}, "project=null: is no text"),
        ({"project": ""}, "project=: is no text"),
        ({"store": 5}, "store=5: is no text"),
    ],
)
@pytest.mark.fault("words", shows="error")
def test_the_callback_refuses_wrong_values(given, message):
    with pytest.raises(AdbenchError) as told:
        Track(**{"tool": "wandb", **given})
    assert str(told.value).startswith(message)


@pytest.mark.fault("words", shows="error")
def test_a_wrong_value_of_the_callback_is_told_in_one_line(capsys, monkeypatch):
    find = importlib.util.find_spec  # CI has no wandb
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda n, *a: types.SimpleNamespace(origin="x") if n == "wandb" else find(n, *a),
    )
    words = ["run", "hydra/callbacks=wandb", "hydra.callbacks.wandb.pictures=maybe"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "adbench: pictures=maybe: is true or false\n"


@pytest.mark.fault("words", shows="error")
def test_a_server_is_no_folder_for_wandb():
    with pytest.raises(AdbenchError, match=r"^store=http://h:9: is a folder for wandb; name one"):
        Place("wandb", "http://h:9")


def test_each_place_has_a_list_of_its_own(results):
    first, second = Memory(), Memory()
    log(results, first)
    assert log(results, second, project="other").logged == 2


def test_a_tracker_that_fails_costs_no_record_and_the_next_time_goes_on(results):
    memory = Memory(fails_at=2)
    with pytest.raises(FailedError) as told:
        log(results, memory, project="mine")
    assert str(told.value) == (
        "mlflow: 1 of 2 records were logged, then it failed: ConnectionError: the server has gone; "
        f"the records are kept, and `adbench track mlflow results={results} project=mine` logs the "
        "rest"
    )
    assert len(records.load_all(results / "records")) == 2
    found = log(results, memory, project="mine")
    assert (found.logged, found.known) == (1, 1)


def test_the_command_that_logs_the_rest_can_be_pasted(tmp_path):
    place = Place("wandb", "my runs", "ü/ x", pictures=True)
    for name in ("ro öd", "a,b [1] it's"):
        words = shlex.split(place.words(tmp_path / name))
        assert words[:3] == ["adbench", "track", "wandb"]
        assert words[4:] == ["store=my runs", "project=ü/ x", "pictures=true"]
        assert results_of(words[3:], Configs()) == tmp_path / name


def test_a_record_that_cannot_be_trusted_is_told_and_the_others_are_logged(results):
    path = min((results / "records").glob("*.json"))
    path.write_text(path.read_text().replace("0.9", "0.95"))
    memory = Memory()
    found = log(results, memory)
    assert found.logged == 1
    assert list(found.failures) == [path.name]
    assert "was changed after it was written" in found.failures[path.name]
    assert log(results, memory).failures == found.failures  # told until it is mended


def test_pictures_of_a_record_are_those_with_the_names_that_its_scores_give(results):
    record = next(r for r in records.load_all(results / "records") if r.category == "grid")
    scores = records.load_scores(results / "records", record)
    highest = max(scores, key=lambda score: score.score)
    word = "defect" if highest.anomalous else "normal"
    plan = "-".join([*(record.labels[p] for p in ("dataset", "method", "backbone")), "0123abcd"])
    name = f"001_{word}_{highest.name.replace('/', '_').removesuffix('.png')}.png"
    own = results / "heatmaps" / plan / "grid"
    own.mkdir(parents=True)
    (own / name).write_bytes(b"")
    memory = Memory()
    log(results, memory, pictures=True)
    assert memory.entries[record.id].pictures == [own / name]
    shutil.copytree(own.parent, own.parent.with_name(f"{plan[:-8]}89abcdef"))
    memory = Memory()
    log(results, memory, pictures=True, project="two")  # nobody can tell whose they are
    assert memory.entries[record.id].pictures == []


def test_a_folder_without_records_and_a_tracker_that_is_not_installed_are_named(
    tmp_path, results, monkeypatch
):
    with pytest.raises(AdbenchError, match="no records there"):
        track(tmp_path / "none", Place("wandb"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AdbenchError, match=r"^wandb: not installed; run pip install .*\[wandb\]'$"):
        track(results, Place("wandb"))


def test_the_callback_logs_the_folders_of_its_jobs_at_the_end(results, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(Place, "tracker", lambda self, folder: memory)
    callback = Track("mlflow")
    with failures() as untold:
        for folder in (results, results, results / "empty"):
            callback.on_job_end({"results": str(folder)}, JobReturn())
        callback.on_job_end({}, JobReturn())  # a job whose words were wrong
        assert memory.calls == 0
        callback.on_multirun_end({})
    assert (memory.calls, untold) == (2, [])
    memory.fails_at = memory.calls + 1
    with failures() as untold:
        callback = Track("mlflow", project="other")
        callback.on_job_end({"results": str(results)}, JobReturn())
        callback.on_run_end({})
    (line,) = untold
    assert "the records are kept" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mlflo"], "track: no 'mlflo'; did you mean mlflow?"),
        (["mlflow", "reslts=x"], "track: no 'reslts='; did you mean results=?"),
        (["mlflow", "runs"], "track: no 'runs'"),
        (["wandb", "store="], "track: store= must be followed by a value"),
        (["wandb", "pictures=yes"], "track: pictures=yes: is true or false"),
        ([], "track: the following arguments are required: mlflow|wandb"),
    ],
)
def test_wrong_words_of_track_are_named(command, words, message):
    told = command("track", *words)
    assert told.status == 2
    assert message in told.err


def test_the_command_counts_and_fails_with_the_tracker(results, command, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(Place, "tracker", lambda self, folder: memory.in_folder(folder))
    words = ("track", "mlflow", f"results={results}")
    assert command(*words).out == "mlflow: 2 logged, 0 were logged before\n"
    assert command(*words).out == "mlflow: 0 logged, 2 were logged before\n"
    memory.fails_at = 3
    told = command(*words, "project=other")
    assert told.status == 1
    assert f"`adbench track mlflow results={results} project=other` logs the rest" in told.err


def test_a_run_with_a_tracker_that_is_not_installed_is_refused_before_any_work(command):
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    told = command("run", "hydra/callbacks=wandb", "method=crd")
    assert told.status == 2
    assert "wandb: not installed; run pip install 'adbench-vision[wandb]'" in told.err


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_run_logs_at_its_end_and_ends_with_1_where_the_tracker_fails(
    tmp_path, make_category, command, monkeypatch, fails
):
    memory, find = Memory(fails_at=1 if fails else None), importlib.util.find_spec
    there = types.SimpleNamespace(origin="x")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: there if n == "mlflow" else find(n, *a)
    )
    monkeypatch.setattr(Place, "tracker", lambda self, folder: memory)
    root = make_category(tmp_path / "images", "bottle", edge=64).parent
    words = [*mvtec(root), "geometry.resize=[64,64]", "geometry.crop=null", "heatmaps=0"]
    words += ["method=crd", "timing.enabled=false", "hydra/callbacks=mlflow"]
    for sweep in ([], ["-m", "method.lambda_=1,5"]):
        told = command("run", *words, *sweep)
        assert told.status == (1 if fails else 0), told.err
        assert ("the records are kept, and `adbench track mlflow" in told.err) is fails
        memory.calls = 0
    found = records.load_all(tmp_path / "runs" / "records")
    assert {r.identity["method"]["settings"]["lambda_"] for r in found} >= {1.0, 5.0}
    assert set(memory.entries) == (set() if fails else {record.id for record in found})


class FakeRun:
    """What wandb gives: a folder, and what was logged there."""

    def __init__(self, root, id_, number, fails):
        self.dir = str(root / "wandb" / f"offline-run-20260102_{number:06}-{id_}" / "files")
        self.fails, self.metrics, self.files, self.exit_code = fails, {}, [], None
        Path(self.dir).mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            traceback.print_exception(kind, error, trace)
        self.finish(int(error is not None))

    def finish(self, exit_code):
        self.exit_code = exit_code

    def log(self, metrics):
        if self.fails:
            raise KeyboardInterrupt
        self.metrics = metrics

    def save(self, file, base_path, policy):
        self.files.append(file)


@pytest.fixture
def fake_wandb(monkeypatch, tmp_path):
    """A wandb whose runs are folders; ``fails`` kills the next one half-way."""
    library = types.ModuleType("wandb")
    library.fails, library.runs, library.modes = False, [], []

    def init(dir, id, settings, **other):
        library.runs.append(FakeRun(Path(dir), id, len(library.runs), library.fails))
        library.modes.append(settings["mode"])
        return library.runs[-1]

    library.init, library.Settings = init, lambda **given: given
    monkeypatch.setitem(sys.modules, "wandb", library)
    return library


def test_a_run_of_wandb_that_was_killed_or_has_changed_is_logged_again(results, fake_wandb):
    def log_it(project="p"):
        place = Place("wandb", project=project)
        return track(results, place, lambda folder: WandbTracker(None, project, folder))

    def ids():
        folders = (results / "tracking" / "wandb").iterdir()
        return sorted(folder.name.rpartition("-")[2] for folder in folders)

    fake_wandb.fails = True
    with pytest.raises(KeyboardInterrupt):
        log_it()
    fake_wandb.fails = False
    assert log_it().logged == 2
    next((results / "tracking").glob("*.json")).unlink()
    assert log_it().known == 2
    found = records.load_all(results / "records")
    assert ids() == sorted(record.id for record in found)
    renewed = replace(found[0], memory={"peak": 7, "state": 8})
    records.update(results / "records", found[0], renewed)
    assert log_it().logged == 1
    assert len(ids()) == 2
    assert log_it("other").logged == 2  # a project does not take those of another one
    assert (len(ids()), log_it().known) == (4, 2)
    assert set(fake_wandb.modes) == {"offline"}
    copies = {Path(f).name for run in fake_wandb.runs for f in run.files}
    assert copies == {path.name for path in (results / "records").glob("*.json")}


def test_runs_of_wandb_that_were_deleted_are_logged_again(results, fake_wandb):
    def log_it():
        return track(results, Place("wandb"), lambda folder: WandbTracker(None, "adbench", folder))

    assert (log_it().logged, log_it().known) == (2, 2)
    for folder in (results / "tracking" / "wandb").iterdir():
        shutil.rmtree(folder)
    assert (log_it().logged, log_it().known) == (2, 2)


@pytest.mark.fault("results folder", shows="error")
def test_a_full_disk_is_told_by_our_line_alone(results, fake_wandb, monkeypatch, capsys):
    closed = io.StringIO()
    closed.close()
    own_log = logging.StreamHandler(closed)  # that of wandb, which cannot be written to either

    def full(*given):
        own_log.emit(logging.makeLogRecord({"msg": "copies"}))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy", full)
    with pytest.raises(FailedError, match="No space left on device; the records are kept"):
        track(results, Place("wandb"), lambda folder: WandbTracker(None, "adbench", folder))
    assert capsys.readouterr().err == ""
    assert [run.exit_code for run in fake_wandb.runs] == [1]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_mlflow_itself_holds_one_whole_run_for_each_record(results):
    mlflow = pytest.importorskip("mlflow")
    assert track(results, Place("mlflow")).logged == 2
    folder = results / "tracking"
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("adbench").experiment_id
    run, _ = client.search_runs([experiment])
    client.delete_tag(run.info.run_id, "adbench.digest")  # as a killed process leaves it
    next(folder.glob("*.json")).unlink()
    again = track(results, Place("mlflow"), lambda f: MlflowTracker(None, "adbench", f))
    assert (again.logged, again.known) == (1, 1)
    found = {r.data.tags["adbench.record"]: r for r in client.search_runs([experiment])}
    assert set(found) == {r.id for r in records.load_all(results / "records")}
    assert len(found) == 2
    for one in found.values():
        assert one.info.status == "FINISHED"
        assert one.data.metrics["image_auroc"] == 0.9
        assert one.data.params["method.class"] == "CRD"
        (file,) = client.list_artifacts(one.info.run_id)
        assert file.path == f"{one.info.run_name}.json"
        assert len(client.get_metric_history(one.info.run_id, "image_auroc")) == 1
    assert track(results, Place("mlflow")).known == 2
    for one in found.values():
        client.delete_run(one.info.run_id)
    assert track(results, Place("mlflow")).logged == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_itself_leaves_one_offline_run_for_each_record(results):
    pytest.importorskip("wandb")
    assert track(results, Place("wandb")).logged == 2
    next((results / "tracking").glob("*.json")).unlink()
    assert track(results, Place("wandb")).known == 2
    for record in records.load_all(results / "records"):
        (folder,) = (results / "tracking" / "wandb").glob(f"offline-run-*-{record.id}")
        assert (folder / f"run-{record.id}.wandb").stat().st_size > 0
        assert (folder / "files" / f"{record.name}.json").is_file()
