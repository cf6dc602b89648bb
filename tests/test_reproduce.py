import pytest
from made_records import CONFIGS, made, saved

from adbench.bench.plan import plan
from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.cli.main import main
from adbench.cli.reproduce import reproduce
from adbench.errors import AdbenchError
from adbench.reports import tables

LITE = "backbone=efficientnet_lite0"


def runs(name, overrides=()):
    return tables.runs(name, overrides, CONFIGS)


def test_the_runs_of_a_table_are_its_rows_and_seeds():
    base = "experiment=belloni2023_resnet50"
    assert runs("belloni2023_table1", ["dataset.root=D"]) == [
        ("seed=0", base, f"method.k={k}", "dataset.root=D") for k in (3, 5)
    ]
    assert len(runs("zhang2021_table1")) == 4 * 5
    assert runs("han2024_table1") == [
        ("seed=0", "experiment=han2024", *words)
        for words in (
            ["method=padim", "method.dims=550"],
            ["method=patchcore", "method.ratio=0.01"],
            [],
        )
    ]


def test_what_another_backbone_needs_is_added():
    assert runs("roth2022_s1", [LITE])[0][-2:] == ("method.embedding.kind=concat", LITE)
    assert runs("roth2022_s1")[0] == ("seed=0", "experiment=roth2022", "method.ratio=0.25")


@pytest.mark.slow
def test_reproduce_runs_what_lacks_and_builds_the_table(tmp_path, make_category, capsys):
    make_category(tmp_path / "data", "bottle")
    make_category(tmp_path / "data", "grid", edge=48)
    words = [
        LITE,
        f"dataset.root={tmp_path / 'data'}",
        "dataset.categories=[bottle,grid]",
        f"cache={tmp_path / 'cache'}",
        "timing.enabled=false",
        "heatmaps=0",
        "threshold=none",
        f"results={tmp_path / 'results'}",
    ]
    name = "belloni2023_table1"
    done = reproduce(name, words, CONFIGS)
    assert done.failures == {}
    assert (done.table.present, done.table.possible) == (4, 4)  # narrowed to two categories
    one = done.table.cells["k = 3", "image_auroc", "mean"]
    assert one.measured is not None
    assert one.verdict == "not comparable"
    assert one.reason.startswith("measured with backbone efficientnet_lite0")
    assert capsys.readouterr().out.count(f"{name}: run ") == 2
    again = reproduce(name, words, CONFIGS)
    assert again.table.cells == done.table.cells
    assert capsys.readouterr().out.count("has a record") == 4
    assert tables.results_folder(name, words, CONFIGS) == tmp_path / "results"

    alone = [*words[:-1], f"results={tmp_path / 'alone'}", "experiment=belloni2023_resnet50"]
    planned = plan(CONFIGS.compose([*alone, "method.coreset.projection=gaussian"]))
    (lone,) = run(Session([planned]))
    swept = done.table.sources["k = 5"].found
    assert len(lone.records) == 2
    for record in lone.records:  # what the runs of a sweep share changes nothing
        assert swept[record.category][0].metrics == pytest.approx(record.metrics, abs=1e-6)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


BAD_RECORDS = [
    (lambda text: text[: len(text) // 2], "not a whole record"),
    (
        lambda text: text.replace('"image_auroc": 0.9', '"image_auroc": 0.99', 1),
        "was changed after it was written",
    ),
    (
        lambda text: text.replace('"schema": 2', '"schema": 0'),
        "schema 0, this adbench reads 2; move it out of the folder and run again",
    ),
]


@pytest.mark.parametrize("command", ["table", "reproduce", "claims", "list"])
@pytest.mark.parametrize(("edit", "message"), BAD_RECORDS)
@pytest.mark.fault("record", shows="error")
def test_a_bad_record_stops_the_command_before_any_work_and_nothing_is_overwritten(
    tmp_path, capsys, command, edit, message
):
    record = saved(
        tmp_path / "records",
        made(
            f"experiment=belloni2023_resnet50 method.coreset.projection=gaussian {LITE}", "bottle"
        ),
    )
    words = {
        "table": ["belloni2023_table4"],
        "reproduce": ["belloni2023_table4", "dataset.root=."],
        "list": ["tables"],
    }
    words = [command, *words.get(command, []), f"results={tmp_path}"]
    with pytest.raises(SystemExit):
        main(["table", "belloni2023_table4", f"results={tmp_path}"])
    path = tmp_path / "records" / f"{record.name}.json"
    path.write_text(edit(path.read_text()))
    before = contents(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(words)
    told = capsys.readouterr()
    assert end.value.code == 2
    assert f"{record.name}.json: {message}" in told.err
    assert "run 1 of" not in told.out
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", [["table", "han2024_table1"], ["table", "all"], ["claims"]])
@pytest.mark.fault("results folder", shows="error")
def test_an_empty_results_folder_says_what_to_do_and_stays_empty(tmp_path, capsys, command):
    with pytest.raises(SystemExit):
        main([*command, f"results={tmp_path}"])
    assert (
        f"{tmp_path}/records: no records there; run `adbench run` first or set results=DIR"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["table", "reproduce"])
def test_an_unknown_table_is_refused_by_name(tmp_path, capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "han2024_tabel1", f"results={tmp_path}"])
    assert (end.value.code, "did you mean han2024_table1" in capsys.readouterr().err) == (2, True)


def test_two_records_for_one_cell_are_said_before_any_work(tmp_path, capsys):
    pair = [
        saved(tmp_path / "records", made("experiment=belloni2023_resnet50", "bottle", images=copy))
        for copy in ("one", "two")
    ]
    before = contents(tmp_path)
    with pytest.raises(SystemExit):
        main(["reproduce", "belloni2023_table4", f"results={tmp_path}", f"dataset.root={tmp_path}"])
    told = capsys.readouterr()
    assert "claim the same cell" in told.err
    assert all(record.id in told.err for record in pair)
    assert (told.out, contents(tmp_path)) == ("", before)


def test_list_tables_counts_the_cells_of_every_table(tmp_path, capsys):
    record = made(f"experiment=han2024 method.lambda_=1 {LITE}", "grid")
    saved(tmp_path / "records", record)
    with pytest.raises(SystemExit) as end:
        main(["list", "tables", f"results={tmp_path}"])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    assert end.value.code == 0
    assert [name for name, _ in lines] == CONFIGS.choices("table")
    state = "CRD over lambda (Han & Yan, table 3): 1 of 75 cells have records"
    assert ["han2024_table3", state] in lines


def test_a_missing_dataset_is_said_before_any_work(tmp_path):
    with pytest.raises(AdbenchError, match="missing"):
        reproduce("belloni2023_table1", [LITE, f"dataset.root={tmp_path}/missing"], CONFIGS)
