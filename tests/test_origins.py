"""A record tells which installed packages its parts come from."""

import sys

from made_plugin import install
from made_runs import run_jobs

from adbench.bench.origins import origins
from adbench.data.demo import Demo


def test_a_package_with_a_method_is_named_with_its_version(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path)))
    identity = {"method": {"class": "adbench_widget.Method", "settings": {}}}
    assert origins(Demo(), identity) == {"adbench_widget": "1.0"}
    nested = {"detector": {"class": "PatchCore", "head": identity["method"]}}
    assert origins(Demo(), nested) == {"adbench_widget": "1.0"}
    assert "adbench_widget" not in sys.modules, "nothing is imported for it"


def test_adbenchs_own_parts_add_nothing():
    identity = {"method": {"class": "PatchCore", "settings": {"coreset": {"class": "Greedy"}}}}
    assert origins(Demo(), identity) == {}


def test_the_record_of_a_run_holds_versions(tmp_path, make_category):
    make_category(tmp_path / "images", "bottle")
    words = f"dataset=mvtec dataset.root={tmp_path / 'images'} method=padim_full"
    (outcome,) = run_jobs(tmp_path / "runs", words)
    (record,) = outcome.records
    assert "torch" in record.environment["versions"]


def test_taking_the_time_keeps_the_versions_of_packages(tmp_path, make_category, monkeypatch):
    make_category(tmp_path / "images", "bottle")
    monkeypatch.setattr("adbench.bench.recording.origins", lambda dataset, identity: {"own": "1.0"})
    timed = "timing.enabled=true timing.repeats=2 timing.warmup=0"
    words = f"dataset=mvtec dataset.root={tmp_path / 'images'} method=padim_full {timed}"
    (outcome,) = run_jobs(tmp_path / "runs", words)
    (record,) = outcome.records
    assert record.time
    assert record.environment["versions"]["own"] == "1.0"
