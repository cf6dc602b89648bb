import pytest
from made_records import made, saved

from adbench.cli import main
from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.fitting import Fits
from adbench.reports import tables
from adbench.reports.reproduce import reproduce, runs
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


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


BAD_RECORDS = [
    (lambda text: text[: len(text) // 2], "not a whole record"),
    (lambda text: text.replace('"image_auroc": 0.9', '"image_auroc": 0.99', 1), "was changed after it was written"),
    (
        lambda text: text.replace('"schema": 1', '"schema": 0'),
        "schema 0, this adbench reads 1; delete it and run again",
    ),
]


@pytest.mark.parametrize("command", ["table", "reproduce", "claims", "list"])
@pytest.mark.parametrize(("edit", "message"), BAD_RECORDS)
def test_a_bad_record_stops_the_command_before_any_work_and_nothing_is_overwritten(
    tmp_path, capsys, command, edit, message
):
    record = saved(tmp_path / "records", made(f"experiment=report_table4 method.projection=gaussian {LITE}", "bottle"))
    words = {"table": ["report_table4"], "reproduce": ["report_table4", "dataset.root=."], "list": ["tables"]}
    words = [command, *words.get(command, []), f"results={tmp_path}"]
    with pytest.raises(SystemExit):
        main(["table", "report_table4", f"results={tmp_path}"])
    path = tmp_path / "records" / f"{record.id}.json"
    path.write_text(edit(path.read_text()))
    before = contents(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(words)
    told = capsys.readouterr()
    assert end.value.code == 2
    assert f"{record.id}.json: {message}" in told.err
    assert "run 1 of" not in told.out
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", [["table", "crd_table1"], ["table", "all"], ["claims"]])
def test_an_empty_results_folder_says_what_to_do_and_stays_empty(tmp_path, capsys, command):
    with pytest.raises(SystemExit):
        main([*command, f"results={tmp_path}"])
    assert (
        f"{tmp_path}/records: no records there; run `adbench run` first or set results=DIR" in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["table", "reproduce"])
def test_an_unknown_table_is_refused_by_name(tmp_path, capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "crd_tabel1", f"results={tmp_path}"])
    assert (end.value.code, "did you mean crd_table1" in capsys.readouterr().err) == (2, True)


def test_two_records_for_one_cell_are_said_before_any_work(tmp_path, capsys):
    pair = [
        saved(tmp_path / "records", made("experiment=report_table4", "bottle", images=copy)) for copy in ("one", "two")
    ]
    before = contents(tmp_path)
    with pytest.raises(SystemExit):
        main(["reproduce", "report_table4", f"results={tmp_path}", f"dataset.root={tmp_path}"])
    told = capsys.readouterr()
    assert "claim the same cell" in told.err
    assert all(record.id in told.err for record in pair)
    assert (told.out, contents(tmp_path)) == ("", before)


def test_list_tables_counts_the_cells_of_every_table(tmp_path, capsys):
    saved(tmp_path / "records", made(f"experiment=crd_table3 method.lambda_=1 {LITE}", "grid"))
    with pytest.raises(SystemExit) as end:
        main(["list", "tables", f"results={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert (end.value.code, len(lines)) == (0, 1 + 15)
    assert "  crd_table3        CRD over lambda (Han & Yan, table 3): 1 of 75 cells have records" in lines


def test_a_missing_dataset_is_said_before_any_work(tmp_path):
    with pytest.raises(AdbenchError, match="missing"):
        reproduce("report_table1", [LITE, f"dataset.root={tmp_path}/missing"], progress=False, report=lambda line: None)
