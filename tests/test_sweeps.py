"""Sweeps: all jobs together by default, one by one under other launchers, one table at the end."""

import csv
import itertools
import json

import pytest
from commands import SMALL, adbench, mvtec, rows, table
from hydra.core.utils import JobStatus
from made_plugin import install
from made_records import made, saved
from omegaconf import OmegaConf

from adbench.cli.job import Task, contradicts
from adbench.cli.run import _possible, _told
from adbench.cli.run_words import SKIP, own_words
from adbench.cli.sweep import finish, jobs_of, new_folder
from adbench.config.compose import Configs
from adbench.errors import AdbenchError, DataError
from adbench.results.records import load_all

CALLBACK = '''
import json
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback


class Told(Callback):
    """Writes what Hydra tells of every job."""

    def __init__(self, file):
        self.file = Path(file)

    def on_job_end(self, config, job_return, **rest):
        here = HydraConfig.get()
        told = {
            "number": here.job.num,
            "overrides": list(here.overrides.task),
            "choice": here.runtime.choices["method"],
            "value": job_return.return_value,
            "status": job_return.status.name,
            "seed": config.seed,
        }
        with self.file.open("a") as file:
            file.write(json.dumps(told) + "\\n")
'''


@pytest.fixture
def words(tmp_path, make_category):
    """Words for a small dataset without times."""
    make_category(tmp_path / "images", "bottle", edge=64)
    rest = ["timing.enabled=false", "heatmaps=0", "threshold=train"]
    return [*mvtec(tmp_path / "images"), *SMALL, *rest]


def swept(folder, where="runs/sweeps"):
    """The rows of the only sweep's table."""
    (path,) = (folder / where).rglob("sweep.csv")
    return rows(path)


@pytest.mark.slow
def test_a_sweep_extracts_and_selects_once_and_ends_with_a_table(tmp_path, words):
    done = adbench(tmp_path, "run", "-m", *words, "method.ratio=0.05,0.2", "method.k=1,3")
    assert "sweep.csv" in done.stdout
    found = swept(tmp_path)
    expected = list(itertools.product(("0.05", "0.2"), ("1", "3")))
    assert [(r["method.ratio"], r["method.k"]) for r in found] == expected
    assert len({r["record"] for r in found}) == 4
    features = list((tmp_path / "cache" / "features").iterdir())
    assert len(features) == 2  # of the training and of the test images


@pytest.mark.slow
def test_the_order_of_flags_and_of_swept_settings_changes_no_number(tmp_path, words):
    """Each job of the sweep has the numbers of a run by itself, too."""
    found = []
    for number, sweep in enumerate(
        (
            ["-m", "method.ratio=0.05,0.2", "method.k=1,3"],
            ["method.k=3,1", "method.ratio=0.2,0.05", "--multirun"],
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        adbench(folder, "run", *words, *sweep)
        key = ("method.ratio", "method.k")
        found.append(
            {
                tuple(r[k] for k in key): (
                    r["record"],
                    r["image_auroc"],
                    r["pixel_auroc"],
                    r["threshold"],
                )
                for r in swept(folder)
            }
        )
    assert found[0] == found[1]
    (tmp_path / "alone").mkdir()
    adbench(tmp_path / "alone", "run", *words, "method.ratio=0.05", "method.k=3")
    alone = table(tmp_path / "alone")[0]
    names = ("record", "image_auroc", "pixel_auroc", "threshold")
    assert found[0]["0.05", "3"] == tuple(alone[n] for n in names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["hydra.sweep.dir=elsewhere"],
        ["hydra.sweep.dir=elsewhere", "hydra/launcher=basic", "hydra/sweeper=basic"],
    ],
)
def test_a_sweep_whose_job_fails_says_so_and_keeps_the_rest(tmp_path, words, more):
    swept_words = [*words, "method.ratio=0.00001,0.1", *more]
    done = adbench(tmp_path, "run", "-m", *swept_words, check=False)
    assert done.returncode == 1
    assert "keeps 0 of" in done.stderr
    assert [r["category"] for r in table(tmp_path)] == ["bottle", "mean"]
    assert [r["method.ratio"] for r in swept(tmp_path)] == ["0.1"]


@pytest.mark.slow
def test_a_job_whose_settings_contradict_each_other_fails_alone(tmp_path, words):
    """With b 1 and the nearest item itself, re-weighting means nothing; b 1 alone does."""
    words += ["method.reweight=paper", "method.b=1,2", "method.include_self=true,false"]
    done = adbench(tmp_path, "run", "-m", *words, check=False)
    assert done.returncode == 1
    assert "job 0: " in done.stderr
    assert "every score 0" in done.stderr
    found = [(r["method.b"], r["method.include_self"]) for r in swept(tmp_path)]
    assert found == [("1", "False"), ("2", "True"), ("2", "False")]


@pytest.mark.slow
def test_hydra_is_told_the_result_of_every_job(tmp_path, words):
    site = install(tmp_path / "site", "told")  # Hydra is given no other code
    (site / "told" / "__init__.py").write_text(CALLBACK)
    callback = f"+hydra.callbacks.told={{_target_:told.Told,file:'{tmp_path}/told.jsonl'}}"
    where = {"PYTHONPATH": str(site)}
    adbench(tmp_path, "run", "-m", *words, callback, "seed=0,1", env=where)
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    by_record = [float(r["image_auroc"]) for r in swept(tmp_path)]
    assert [t["number"] for t in told] == [0, 1]
    assert [t["overrides"][-1] for t in told] == ["seed=0", "seed=1"]
    assert [t["seed"] for t in told] == [0, 1]
    assert {t["status"] for t in told} == {JobStatus.COMPLETED.name}
    assert [t["value"] for t in told] == pytest.approx(by_record, abs=1e-6)
    shown = adbench(tmp_path, "run", "--cfg", "job").stdout
    assert {t["choice"] for t in told} == {OmegaConf.create(shown).method.name}


@pytest.mark.slow
def test_odd_signs_in_the_results_folder_are_no_trouble(tmp_path, words):
    adbench(tmp_path, "run", "-m", *words, "seed=0,1", "results='it\\'s = (1)'")
    assert len(swept(tmp_path, "it's = (1)")) == 2


def test_the_table_shows_what_varies_and_counts_failures(tmp_path, capsys):
    jobs = [
        {"overrides": ["seed=0", "a=1"], "failures": {"bottle": "is empty"}},
        {"overrides": ["seed=0", "a=2"], "failures": {}},
    ]
    for number, job in enumerate(jobs):
        content = json.dumps({**job, "records": [], "folder": "."})
        (tmp_path / f"job-{number}.json").write_text(content)
    finish(tmp_path, jobs_of(tmp_path))
    assert "1 failure in this sweep" in capsys.readouterr().err
    (tmp_path / "job-0.json").unlink()
    finish(tmp_path, jobs_of(tmp_path))
    assert capsys.readouterr().err == ""


@pytest.mark.fault("record", shows="kept")
def test_a_record_that_is_gone_at_the_end_costs_its_own_row_alone(tmp_path, capsys):
    kept = saved(tmp_path / "records", made("method.ratio=0.1", "bottle"))
    for number, name in enumerate((f"{kept.name}.json", "gone-0123456789abcdef.json")):
        content = {"overrides": [f"seed={number}"], "records": [name], "folder": "records"}
        (tmp_path / f"job-{number}.json").write_text(json.dumps({**content, "failures": {}}))
    first, second = jobs_of(tmp_path)
    assert [record.id for record in first.records] == [kept.id]
    assert not second.records
    assert "gone-0123456789abcdef.json: is not there any more; run again" in capsys.readouterr().err
    assert list(second.failures) == ["gone-0123456789abcdef.json"]


def test_sweeps_of_the_same_second_and_process_number_have_folders_of_their_own(tmp_path):
    assert len({new_folder(tmp_path) for _ in range(5)}) == 5


def test_jobs_come_in_the_order_of_their_numbers(tmp_path):
    folder = tmp_path / "records"
    for number in range(11):
        record = saved(folder, made(f"method.ratio={(number + 1) / 20}", "bottle"))
        content = {
            "overrides": [f"method.ratio={(number + 1) / 20}"],
            "records": [f"{record.name}.json"],
            "folder": "../records",
            "failures": {},
        }
        (tmp_path / "sweep").mkdir(exist_ok=True)
        (tmp_path / "sweep" / f"job-{number}.json").write_text(json.dumps(content))
    finish(tmp_path / "sweep", jobs_of(tmp_path / "sweep"))
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        found = [float(row["method.ratio"]) for row in csv.DictReader(file)]
    assert found == sorted(found)
    assert len(load_all(folder)) == len(found) == 11


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("job-0.json", "{}", "job-0.json: is not what a job of a sweep leaves .*'folder'"),
        ("job-0.json", "[]", "job-0.json: is not what a job"),
        ("job-0.json", "null", "job-0.json: is not what a job"),
        ("job-0.json", "cut {", "job-0.json: is not what a job"),
        ("job-0.json", '{"folder": ".", "records": []}', "job-0.json: is not what a job"),
        ("job-0.json", '{"folder": ".", "records": [], "overrides": [], "x": 1}', "argument 'x'"),
    ],
)
@pytest.mark.fault("results folder", shows="error")
def test_a_file_that_no_job_left_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(AdbenchError, match=said):
        jobs_of(tmp_path)


def test_a_file_without_the_name_of_a_job_is_no_job(tmp_path):
    (tmp_path / "job-x.json").write_text("{}")
    (tmp_path / "job-10-old.json").write_text("{}")
    assert jobs_of(tmp_path) == []


@pytest.mark.slow
def test_a_job_file_holds_no_absolute_path_of_the_results(tmp_path, words):
    adbench(tmp_path, "run", "-m", *words, "seed=0,1")
    for file in (tmp_path / "runs" / "sweeps").rglob("job-*.json"):
        content = json.loads(file.read_text())
        assert not content["folder"].startswith("/")
        typed = content.pop("overrides")
        assert str(tmp_path) not in json.dumps(content), typed


@pytest.mark.slow
def test_impossible_jobs_are_named_and_left_out_where_the_user_says_so(tmp_path, words):
    """PaDiM has no k: without the flag the sweep is refused whole, before any work."""
    pairs = [*words, "method=patchcore,padim", "method.k=1,3"]
    refused = adbench(tmp_path, "run", "-m", *pairs, check=False)
    assert refused.returncode == 2
    assert "method=padim" in refused.stderr
    assert "--skip-impossible" in refused.stderr
    assert not list((tmp_path / "runs").rglob("records"))
    done = adbench(tmp_path, "run", "-m", *pairs, "--skip-impossible", "--json")
    jobs = json.loads(done.stdout)["jobs"]
    assert [bool(job["skipped"]) for job in jobs] == [False, False, True, True]
    assert [len(job["categories"]) for job in jobs] == [1, 1, 0, 0]
    assert all("method.k" in job["skipped"]["settings"] for job in jobs[2:])
    assert not any(job["failures"] for job in jobs)
    assert "2 skipped in this sweep" in done.stderr


@pytest.mark.slow
def test_a_sweep_without_a_possible_job_is_refused_all_the_same(tmp_path, words):
    impossible = [*words, "method=padim,spade", "method.ratio=0.1,0.2", "--skip-impossible"]
    done = adbench(tmp_path, "run", "-m", *impossible, check=False)
    assert done.returncode == 2
    assert "method.ratio" in done.stderr


CONTRADICTIONS = [
    ["method=padim", "method.k=3"],
    ["method=padim", "method.reduction=none", "method.dims=7"],
    ["method=patchcore", "method.distance=cosine", "method.reweight=paper", "method.k=3"],
    ["method=patchcore", "method.eps=0.5"],
    ["alpha=0.1"],
    ["detector=d.safetensors", "method=padim"],
]
WRONG_BY_THEMSELVES = [
    ["method=pdim"],
    ["method=patchcore", "method.ratio=much"],
    ["method=patchcore", "method.ratio=7"],
    ["existing=never"],
    ["detector=nowhere.safetensors"],
    ["dataset=folder", "dataset.normal=/nowhere"],
]


@pytest.mark.parametrize(
    ("words", "together"),
    [(w, True) for w in CONTRADICTIONS] + [(w, False) for w in WRONG_BY_THEMSELVES],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_that_cannot_be_had_together_are_told_from_wrong_ones(words, together):
    with pytest.raises(AdbenchError) as found:
        Task(Configs()).planned(["dataset=demo", *words])
    assert contradicts(found.value) is together


@pytest.mark.parametrize(
    "error", [AdbenchError("cannot write records"), DataError("no such folder")]
)
def test_what_is_no_contradiction_fails_its_job_though_such_jobs_are_skipped(error, capsys):
    task = Task(Configs(), skip=True)
    task.refuse(error, 0, ["seed=0"])
    (done,) = task.done
    assert (done.failures, done.skipped) == ({"settings": str(error)}, {})
    assert _told(task.done, own_words([SKIP])[1]) == 1
    assert "skipped" not in "".join(capsys.readouterr())


def test_a_value_that_is_wrong_by_itself_is_refused_though_such_jobs_are_skipped():
    words = ["dataset=demo", "method=patchcore,padim"]
    possible = _possible(Task(Configs(), skip=True), [*words, "method.k=1,3"])
    assert type(possible.detector.method).__name__ == "PatchCore"
    with pytest.raises(AdbenchError, match=r"method\.ratio: must be a number, got 'much'"):
        _possible(Task(Configs(), skip=True), ["dataset=demo", "method.ratio=0.1,much"])
    with pytest.raises(AdbenchError) as found:
        _possible(Task(Configs()), ["dataset=demo", "method.ratio=0.1,much"])
    assert SKIP not in str(found.value)
