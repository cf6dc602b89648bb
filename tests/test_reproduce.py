import pytest

from adbench import tables
from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.fitting import Fits
from adbench.reproduce import reproduce, runs
from adbench.run import plan, run

LITE = "backbone=efficientnet_lite0"


def test_the_runs_of_a_table_are_its_rows_and_seeds():
    assert runs("report_table1", ["dataset.root=D"]) == [
        ("seed=0", "experiment=report_table1", f"method.k={k}", "dataset.root=D") for k in (3, 5)
    ]
    assert len(runs("padim_jl_table1")) == 4 * 5
    assert runs("crd_table1") == [
        ("seed=0", "experiment=crd_table1", *words)
        for words in (["method=padim", "method.dims=550"], ["method=patchcore", "method.ratio=0.01"], [])
    ]


def test_what_another_backbone_needs_is_added_and_what_it_cannot_is_left_out():
    assert runs("patchcore_s1", [LITE])[0][-2:] == ("method.embedding=concat", LITE)
    dims = [words[2] for words in runs("padim_jl_figure3", [LITE])]
    assert dims == [f"method.dims={d}" for d in (25, 50, 75, 100, 125, 150, 175)]


def test_reproduce_runs_what_lacks_and_builds_the_table(tmp_path, make_category):
    make_category(tmp_path / "data", "bottle")
    make_category(tmp_path / "data", "grid", edge=48)
    words = [
        *(LITE, f"dataset.root={tmp_path / 'data'}", "dataset.categories=[bottle,grid]", f"cache={tmp_path / 'cache'}"),
        *("timing.enabled=false", "heatmaps=0", "threshold=none", f"results={tmp_path / 'results'}"),
    ]
    told = []
    done = reproduce("report_table1", words, progress=False, report=told.append)
    assert done.failures == {}
    assert (done.table.present, done.table.possible) == (4, 28)
    one = done.table.cells["k = 3", "image_auroc", "mean"]
    assert one.measured is not None
    assert one.verdict.startswith("not comparable because measured with backbone efficientnet_lite0")
    assert sum(line.startswith("report_table1: run ") for line in told) == 2
    told.clear()
    again = reproduce("report_table1", words, progress=False, report=told.append)
    assert again.table.cells == done.table.cells
    assert sum("has a record" in line for line in told) == 4
    assert tables.results_folder("report_table1", words) == tmp_path / "results"

    alone = [*words[:-1], f"results={tmp_path / 'alone'}", "experiment=report_table1", "method.projection=gaussian"]
    lone = run(plan(compose(alone)), Fits(), progress=False).records
    swept = done.table.sources["k = 5"].found
    for record in lone:  # what the runs of a sweep share changes nothing
        assert swept[record.category][0].metrics == pytest.approx(record.metrics, abs=1e-6)


def test_a_missing_dataset_is_said_before_any_work(tmp_path):
    with pytest.raises(AdbenchError, match="missing"):
        reproduce("report_table1", [LITE, f"dataset.root={tmp_path}/missing"], progress=False, report=lambda line: None)
