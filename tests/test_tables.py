import csv
import io
import json
from argparse import Namespace

import pytest
import yaml
from made_records import CONFIGS, hub_file, made, saved

from adbench.cli import table as table_command
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports import tables
from adbench.reports import text as table_text
from adbench.reports.cells import filled
from adbench.reports.latex import escaped, to_latex
from adbench.reports.matching import Source
from adbench.reports.measures import MEASURES
from adbench.reports.printed import PEERS, Library
from adbench.reports.spec import Row, printed

TABLES = CONFIGS.choices("table")
LIBRARY = Library()
LITE = "backbone=efficientnet_lite0"


def table(name, records, overrides=(), configs=CONFIGS):
    return tables.table(name, records, overrides, configs)


def load_spec(name):
    return tables.load_spec(name, CONFIGS)


def cell(built, row, category, metric="image_auroc"):
    return built.cells[row, metric, category]


def grid(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_its_printed_numbers_and_nothing_is_invented(name):
    spec = load_spec(name)
    built = table(name, [])
    for row in spec.rows:
        numbers = printed(spec, row, LIBRARY)
        assert bool(numbers) == bool(row.published)
        assert row.quoted == "" or row.published
        for metric in {metric for metric, _ in numbers}:
            assert metric in MEASURES
            places = {category for name, category in numbers if name == metric} - {"average"}
            # A printed mean over some of the categories would be another mean.
            assert places in (set(), set(spec.categories))
    assert all(c.measured is None and c.difference is None for c in built.cells.values())
    measurable = sum(not row.quoted for row in spec.rows)
    assert (built.present, built.possible) == (0, measurable * len(spec.categories))
    assert "not run" in table_text.to_csv(built)


def test_each_printed_number_of_the_sources_stands_in_a_table():
    shown = set()
    for spec in map(load_spec, TABLES):
        for row in spec.rows:
            for place in row.published:
                key = place.source or spec.source, place.table or spec.table, place.system
                shown.add(key)
    assert {key for key in LIBRARY.systems if key[0] != PEERS} <= shown


def test_measured_beside_published_with_bands_and_the_mean_of_the_same_categories():
    records = [
        made(
            "experiment=belloni2023_resnet50", "bottle", image=0.985, pixel=0.961
        ),  # printed 100.0 and 97.0
        made(
            "experiment=belloni2023_resnet50", "grid", image=0.935, pixel=0.90
        ),  # printed 91.0 and 95.0
    ]
    built = table("belloni2023_table4", records)
    bottle, mean = cell(built, "ResNet50", "bottle"), cell(built, "ResNet50", "mean")
    assert (bottle.measured.mean, bottle.published, bottle.words) == (
        pytest.approx(98.5),
        100.0,
        "outside ±1",
    )
    assert bottle.difference == pytest.approx(-1.5)
    assert bottle.interval == pytest.approx((96.5, 99.5))
    assert cell(built, "ResNet50", "bottle", "pixel_auroc").words == "within ±1"
    assert cell(built, "ResNet50", "grid").words == "within ±3"
    assert cell(built, "ResNet50", "grid", "pixel_auroc").words == "outside ±3"
    assert cell(built, "ResNet50", "cable").verdict == "not run"
    assert (mean.measured.mean, mean.published, mean.categories) == (pytest.approx(96.0), 95.5, 2)
    assert mean.words == "within ±1.6"  # the square root of 0.1 + (0.9 + 8.9) / 4
    assert mean.images == 83 + 78
    assert mean.interval == pytest.approx(
        (96 - 2**0.5, 96 + 0.5**0.5)
    )  # reaches of 2 and 1 in each of two categories
    time = cell(built, "ResNet50", "bottle", "inference_time_s")
    assert (time.verdict, "another machine" in time.reason) == ("not comparable", True)
    assert (built.present, built.possible) == (2, 14)


def test_a_mean_of_which_only_all_categories_are_printed_is_not_compared():
    built = table(
        "han2024_table3", [made("experiment=han2024 method.lambda_=5", "bottle", image=0.966)]
    )
    mean = cell(built, "lambda = 5", "mean")
    assert (mean.published, mean.categories) == (96.6, 1)
    assert (mean.verdict, mean.reason) == (
        "not comparable",
        "only the mean over 15 categories is printed",
    )
    complete = [
        made("experiment=han2024 method.lambda_=5", c, image=0.97)
        for c in load_spec("han2024_table3").categories
    ]
    mean = cell(table("han2024_table3", complete), "lambda = 5", "mean")
    assert mean.words == "within ±0.58"  # ten categories of 0.9 and five hard ones of 8.9


@pytest.mark.parametrize(
    ("printed_of", "verdict"),
    [(["bottle"], "not comparable"), (["bottle", "grid"], "within"), ([], "not comparable")],
)
def test_a_mean_is_compared_where_each_of_its_categories_has_a_printed_number(printed_of, verdict):
    words = "experiment=belloni2023_resnet50"
    values = {"bottle": 0.99, "grid": 0.80}
    own = Source({c: [made(words, c, image=value)] for c, value in values.items()})
    numbers = {("image_auroc", c): 100 * values[c] for c in printed_of}
    numbers["image_auroc", "average"] = 89.5
    shown = ("bottle", "grid", "screw", "pill")
    mean = filled(Row("mine"), "image_auroc", shown, own, Source(), numbers, 4)[-1]
    assert (mean.members, mean.published, mean.verdict) == (("bottle", "grid"), 89.5, verdict)
    if verdict != "within":
        assert mean.reason == "only the mean over 4 categories is printed"


def test_seeds_are_repeats():
    words = "experiment=zhang2021 backbone=resnet18 method.dims=100"
    values = {"bottle": (0.97, 0.98, 0.99), "grid": (0.92, 0.90, 0.94)}
    records = [
        made(words, c, seed=s, pixel=v) for c, found in values.items() for s, v in enumerate(found)
    ]
    built = table("zhang2021_table1", records)
    bottle, mean = (
        cell(built, "ResNet18, 100 projected", c, "pixel_auroc") for c in ("bottle", "mean")
    )
    assert (bottle.measured.mean, bottle.measured.std, bottle.measured.n) == (
        pytest.approx(98),
        pytest.approx(1),
        3,
    )
    assert bottle.interval == pytest.approx((96, 99))
    assert mean.measured.mean == pytest.approx(95)  # per seed 94.5, 94.0, 96.5
    assert (mean.measured.std, mean.measured.n) == (pytest.approx(1.75**0.5), 3)
    assert mean.published == pytest.approx((98.4 + 95.2) / 2)
    assert "98.00 ± 1.00 (3) / 98.4" in table_text.to_markdown(built)


def test_another_backbone_stands_in_marked_and_only_alone():
    published = "experiment=han2024"
    records = [made(f"{published} {LITE}", "bottle", image=0.9)]
    built = table("han2024_table1", records)
    bottle = cell(built, "CRD", "bottle")
    mark = "backbone efficientnet_lite0 in place of wide_resnet50"
    assert (bottle.verdict, bottle.reason) == ("not comparable", f"measured with {mark}")
    assert bottle.measured.mean == pytest.approx(90)
    assert "| CRD*" in table_text.to_markdown(built)
    assert (
        r"{\footnotesize * CRD: measured with backbone efficientnet\_lite0 in place of "
        r"wide\_resnet50; not comparable with the printed numbers.} \\"
    ) in to_latex(built)
    other = made(f"{published} backbone=resnet18 method=patchcore method.ratio=0.01", "bottle")
    with pytest.raises(
        AdbenchError, match=r"2 other backbones would fit: efficientnet_lite0, resnet18; choose one"
    ):
        table("han2024_table1", [*records, other])
    assert table("han2024_table1", [*records, other], [LITE]).present == 1
    exact = [made(published, "bottle", image=0.99), *records]
    assert cell(table("han2024_table1", exact), "CRD", "bottle").measured.mean == pytest.approx(99)
    assert table("han2024_table1", exact).marks == {}


def test_what_an_override_changes_is_said():
    words = "geometry=crop224 method.ratio=0.02 backbone=efficientnet_lite0"
    record = made(
        f"experiment=belloni2023_resnet50 method.coreset.projection=gaussian {words}", "grid"
    )
    built = table("belloni2023_table4", [record], words.split())
    assert built.marks["ResNet50"] == (
        "geometry crop224 in place of official, backbone efficientnet_lite0 in place of "
        "resnet50_a1, method.ratio=0.02 in place of 0.25, method.coreset.projection=gaussian in "
        "place of jl_sparse"
    )


def test_an_override_that_a_row_does_not_have_is_refused():
    with pytest.raises(AdbenchError, match=r"experiment=han2024 method=stfpm .*method.ratio"):
        table("han2024_table1", [], ["method.ratio=0.02"])
    with pytest.raises(AdbenchError, match="nowhere"):
        table("han2024_table1", [], ["backbone=nowhere"])


def test_an_override_that_changes_nothing_measured_leaves_the_table_alone():
    records = [made(f"experiment=belloni2023_resnet50 {LITE}", "bottle")]
    plain = table("belloni2023_table4", records)
    assert (
        table(
            "belloni2023_table4", records, ["dataset.root=elsewhere", "seed=3", "threads=1"]
        ).cells
        == plain.cells
    )


def test_random_weights_stand_in_for_times_and_never_for_accuracy():
    random = "backbone=wide_resnet50 backbone.weights=random"
    records = [
        made(f"experiment=han2024 {random}", "bottle", distance=0.004, state=30_000_000),
        made(
            f"experiment=han2024 method=patchcore method.ratio=0.01 {random}",
            "bottle",
            distance=0.01,
            state=40_000_000,
        ),
        made(f"experiment=han2024 {LITE}", "bottle", distance=1.0),
    ]
    times = table("han2024_figure3", records)
    random_mark = "backbone wide_resnet50 with random weights in place of wide_resnet50"
    assert times.marks == {"CRD": random_mark, "Nearest neighbour 1%": random_mark}
    assert cell(times, "CRD, EfficientNet-Lite0", "bottle", "distance_time_s").measured.mean == 1.0
    assert cell(times, "CRD", "bottle", "distance_speedup_x").measured.mean == pytest.approx(2.5)
    assert cell(times, "CRD", "mean", "memory_saved_percent").measured.mean == pytest.approx(25)
    assert ("Nearest neighbour 1%", "distance_speedup_x", "bottle") not in times.cells
    assert table("han2024_table1", records).marks["CRD"].startswith("backbone efficientnet_lite0")
    assert table("han2024_table1", records[:2]).present == 0
    asked = table("han2024_table1", records[:2], random.split())
    crd = cell(asked, "CRD", "bottle")
    assert (crd.measured, crd.interval, crd.reason) == (
        None,
        None,
        "not shown because the weights are random",
    )
    assert "| - / 100.0" in table_text.to_markdown(asked)
    reason = "- not shown because the weights are random: PatchCore 1%, CRD (bottle)."
    assert reason in table_text.to_markdown(asked)


def test_a_record_of_one_row_does_not_stand_in_for_another():
    built = table("han2024_figure3", [made(f"experiment=han2024 {LITE}", "bottle")])
    assert built.marks == {}
    assert cell(built, "CRD", "bottle", "state_mb").verdict == "not run"
    assert cell(built, "CRD, EfficientNet-Lite0", "bottle", "state_mb").measured is not None


def test_rows_that_an_override_makes_the_same_are_one():
    built = table("han2024_figure3", [], ["backbone=wide_resnet50", "backbone.weights=random"])
    assert [row.label for row in built.spec.rows] == ["CRD", "Nearest neighbour 1%"]
    assert [
        row.label for row in table("belloni2023_table2", [], ["method.ratio=0.1"]).spec.rows
    ] == ["1%"]
    assert len(table("han2024_table1", [], [LITE]).spec.rows) == 7  # quoted rows stay


def test_where_everything_lacks_the_backbone_at_hand_is_asked_whether_it_can():
    other = made(f"method=padim {LITE}", "bottle")
    lacking = cell(
        table("zhang2021_table1", [other]), "WideResNet50, 550 selected", "bottle", "pixel_auroc"
    )
    assert lacking.verdict == "not possible"
    why = "not possible with this backbone: more dimensions than its 176 channels"
    assert lacking.reason == why
    more = [other, made("method=padim backbone=wide_resnet50_racm", "bottle")]
    assert (
        cell(
            table("zhang2021_table1", more), "WideResNet50, 550 selected", "mean", "pixel_auroc"
        ).verdict
        == "not run"
    )


def test_a_row_may_need_more_on_another_backbone():
    record = made(
        f"experiment=roth2022 method.ratio=0.1 method.embedding.kind=concat {LITE}", "grid"
    )
    for overrides in ([], [LITE]):
        built = table("roth2022_s1", [record], overrides)
        assert built.present == 1
        assert "embedding.kind=concat" in built.marks["PatchCore 10%"]


def test_more_dimensions_than_channels_are_not_possible():
    record = made(f"experiment=zhang2021 method.dims=150 {LITE}", "bottle")
    for overrides in ([], [LITE]):
        built = table("zhang2021_figure3", [record], overrides)
        reason = cell(built, "200 projected", "bottle", "pixel_auroc").reason
        assert reason == "not possible with this backbone: more dimensions than its 176 channels"
        assert cell(built, "175 projected", "bottle", "pixel_auroc").verdict == "not run"
        assert "not possible" in table_text.to_csv(built)


def test_two_records_for_one_cell_are_named():
    one, other = (
        made("experiment=belloni2023_resnet50", "bottle", images=copy)
        for copy in ("original", "scaled")
    )
    with pytest.raises(AdbenchError, match="claim the same cell") as error:
        table("belloni2023_table4", [one, other])
    assert one.id in str(error.value)
    assert other.id in str(error.value)
    assert "they differ in their images" in str(error.value)


def test_records_of_another_dataset_or_category_are_no_cells():
    records = [
        made("experiment=belloni2023_resnet50 dataset=demo dataset.categories=[denim]", "bottle"),
        made("experiment=belloni2023_resnet50", "hazelnut"),
    ]
    assert table("belloni2023_table4", records).present == 0


def test_the_overview_has_a_line_per_table():
    lite, other = (
        made(f"experiment=han2024 method.lambda_=1 backbone={b}", "grid")
        for b in ("efficientnet_lite0", "clip")
    )
    found = tables.overview([lite], [], CONFIGS)
    lines = {name: (state, title) for name, state, title in found}
    assert sorted(lines) == sorted(TABLES)
    assert lines["han2024_table3"] == (
        "1 of 75 cells have records",
        "CRD over lambda (Han & Yan, table 3)",
    )
    assert lines["belloni2023_table4"][0] == "0 of 14 cells have records"
    both = {name: state for name, state, _ in tables.overview([lite, other], [], CONFIGS)}
    assert "choose one" in both["han2024_table3"]


def test_an_unknown_table_is_refused_with_the_nearest():
    with pytest.raises(
        AdbenchError, match=r"no table 'report_tabel4'; did you mean belloni2023_table4"
    ):
        table("report_tabel4", [])
    with pytest.raises(AdbenchError, match=r"no table 'zzz'.* `adbench list tables` shows all"):
        table("zzz", [])


def test_text_formats(tmp_path):
    records = [
        made("experiment=belloni2023_resnet50 method.ratio=0.01", c, image=0.975, seconds=0.01)
        for c in ("bottle", "grid")
    ]
    built = table("belloni2023_table2", records)
    head, first, second, *_ = grid(table_text.to_csv(built))
    assert head[:3] == ["coreset in percent", "image AUROC, %", "image AUROC, % published"]
    assert first == ["1%", "97.50", "97.5", "80.00", "96.2", "0.0100", "0.01", "2 of 14"]
    assert second[:2] == ["25%", "not run"]
    long = {
        (r["row"], r["category"], r["metric"]): r
        for r in csv.DictReader(io.StringIO(table_text.comparison_csv(built)))
    }
    mean = long["1%", "mean", "pixel_auroc"]
    assert (mean["measured"], mean["published"], mean["difference"]) == (
        "80.0000",
        "96.2",
        "-16.2000",
    )
    assert (mean["low"], mean["high"]) == (f"{-16.2 - 2**0.5:.4f}", f"{-16.2 + 0.5**0.5:.4f}")
    assert long["25%", "bottle", "pixel_auroc"]["verdict"] == "not run"
    markdown = table_text.to_markdown(built)
    assert "| 1% " in markdown
    assert "97.50 / 97.5" in markdown
    assert "hazelnut is missing" in markdown
    paths = table_text.write(built, tmp_path)
    assert [p.name.removeprefix("belloni2023_table2") for p in paths] == [
        ".csv",
        ".comparison.csv",
        ".md",
        ".tex",
    ]
    before = [p.read_bytes() for p in paths]
    table_text.write(table("belloni2023_table2", records[::-1]), tmp_path)
    assert [p.read_bytes() for p in paths] == before


def test_rows_that_reproduce_leaves_out_stay_as_printed():
    lines = grid(
        table_text.to_csv(
            table("han2024_table1", [made("experiment=han2024", "bottle", image=0.99)])
        )
    )
    column = lines[0].index("CFA published")
    assert [lines[1][column], lines[1][column - 1]] == ["99.8", "not run"]
    assert [line[column] for line in lines if line[0] == "mean"] == ["95.6"]


def test_several_rows_of_several_metrics_are_a_table_each():
    built = table("han2024_figure3", [made(f"experiment=han2024 {LITE}", "bottle", state=10**6)])
    heads = [line for line in table_text.to_markdown(built).splitlines() if "| CRD " in line]
    assert [head.split("|")[1].strip() for head in heads] == [
        *("distance, s/image", "s/image", "state, MB", "distance, times faster", "memory saved, %")
    ]
    assert to_latex(built).count(r"\bottomrule") == 5
    assert len(grid(table_text.to_csv(built))) == 1 + 15 + 2


def test_means_say_what_they_are_over_until_nothing_lacks():
    categories = load_spec("belloni2023_table4").categories
    some, every = (
        [made("experiment=belloni2023_resnet50", c) for c in names]
        for names in (categories[:2], categories)
    )
    said = "A mean is over the categories measured, the published mean too"
    assert said in table_text.to_markdown(table("belloni2023_table4", some))
    assert said not in table_text.to_markdown(table("belloni2023_table4", every))


# ------------------------------------------------------------------- which weights a record is of


def bottle_of(records, overrides=()):
    return cell(table("han2024_table1", records, overrides), "CRD", "bottle").measured


def test_weights_are_told_apart_by_their_content_not_by_how_they_were_given(tmp_path):
    published = hub_file("wide_resnet50_2.tv_in1k")
    same, other = tmp_path / "downloaded.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(published.read_bytes())
    other.write_text("other weights")
    words = "experiment=han2024 backbone.weights={}"
    by_name = made(words.format("pretrained"), "grid", image=0.5)
    record = made(words.format(same), "bottle", image=0.9)
    foreign = made(words.format(other), "bottle", image=0.1)
    built = table("han2024_table1", [by_name, record])
    assert (bottle_of([by_name, record]).mean, built.marks) == (90, {})
    assert bottle_of([by_name, foreign]) is None
    # The same two files, asked for by their paths.
    assert bottle_of([record, foreign], [f"backbone.weights={other}"]).mean == pytest.approx(10)
    assert bottle_of([record, foreign], [f"backbone.weights={same}"]).mean == 90
    marks = table("han2024_table1", [by_name, record], [f"backbone.weights={same}"]).marks
    assert marks == {}, "the same file by another way is no other setting"
    assert "other.safetensors in place of pretrained" in str(
        table("han2024_table1", [foreign], [f"backbone.weights={other}"]).marks
    )


def test_weights_of_a_package_are_known_without_a_record_of_them(tmp_path):
    lite = "experiment=han2024 backbone=efficientnet_lite0"
    package = made(lite, "bottle").identity["backbone"]["sha256"]
    changed = tmp_path / "mine.pth"
    changed.write_text("other weights")
    foreign = made(f"{lite} backbone.weights={changed}", "bottle")
    assert foreign.identity["backbone"]["sha256"] != package
    assert bottle_of([foreign], [LITE]) is None
    assert bottle_of([made(lite, "bottle")], [LITE]) is not None


def test_random_weights_are_those_of_their_seed():
    words = "experiment=han2024 backbone.weights=random backbone.seed={}"
    record = made(words.format(3), "bottle")
    present = [
        table("han2024_table1", [record], words.format(seed).split()[1:]).present for seed in (3, 4)
    ]
    assert present == [1, 0]
    assert table("han2024_table1", [record]).present == 0


def test_a_stand_in_of_the_same_preset_is_told_by_its_weights(tmp_path):
    mine = tmp_path / "mine.safetensors"
    mine.write_text("other weights")
    built = table("han2024_table1", [made(f"experiment=han2024 backbone.weights={mine}", "bottle")])
    assert built.marks["CRD"] == (
        "backbone wide_resnet50 with the weights mine.safetensors in place of wide_resnet50"
    )


# ------------------------------------------------------------------------- what bears on a match


@pytest.mark.parametrize(
    "words",
    [
        "method.layers=[3,2]",  # their order bears on nothing
        "method.coreset.eps=0.5",  # read with another projection alone
        "seed=7",
    ],
)
def test_what_does_not_bear_on_the_numbers_does_not_keep_a_record_from_its_cell(words):
    record = made(f"experiment=han2024 method=patchcore method.ratio=0.01 {words}", "bottle")
    built = table("han2024_table1", [record])
    assert cell(built, "PatchCore 1%", "bottle").measured is not None


def test_what_bears_on_the_numbers_does():
    words = "experiment=han2024 method=patchcore method.ratio=0.01 method.coreset.dim=64"
    assert table("han2024_table1", [made(words, "bottle")]).present == 0


def test_engine_and_precision_are_part_of_a_setting():
    record = made(f"experiment=han2024 {LITE} backbone.precision=bf16", "bottle")
    assert bottle_of([record], [LITE]) is None
    assert bottle_of([record], [LITE, "backbone.precision=bf16"]) is not None
    record.identity["backbone"].update(precision="fp32", engine="openvino")
    assert bottle_of([record], [LITE]) is None
    assert bottle_of([record], [LITE, "backbone.engine=openvino"]) is not None


def test_times_that_were_not_measured_alone_leave_their_cells_empty():
    record = made("experiment=han2024", "bottle")
    record.time.clear()
    record.memory["state"] = None
    built = table("han2024_figure3", [record])
    assert built.present == 1
    assert cell(built, "CRD", "bottle", "inference_time_s").measured is None
    assert "not run" in table_text.to_csv(built)


# --------------------------------------------------------------------------- tables of the user's

MINE = """
title: Three numbers of my own
base: [dataset=mvtec, geometry=square256, backbone=efficientnet_lite0]
varies: system
lines: categories
metrics: [image_auroc]
categories: [bottle, grid]
rows:
  - label: Mine
    run: [method=plain]
    published: [{numbers: {image_auroc: {bottle: 91.0, grid: 80.0, average: 85.5}}}]
"""
PLAIN = """
_target_: adbench.methods.padim.PaDiM
name: plain
reduction: none
"""


@pytest.fixture
def mine(tmp_path):
    """Configs with a table and a preset of the user's, which leaves defaults to the class."""
    for name, text in (("table/mine", MINE), ("method/plain", PLAIN)):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Configs([tmp_path])


def test_a_table_of_the_users_is_built_listed_and_run_like_ours(mine):
    words = f"geometry=square256 dataset=mvtec {LITE} method=padim_full"
    record = made(words, "bottle", image=0.905)
    built = table("mine", [record], configs=mine)
    bottle = cell(built, "Mine", "bottle")
    assert (bottle.measured.mean, bottle.published) == (90.5, 91.0)
    assert bottle.words == "within ±1"
    assert cell(built, "Mine", "mean").published == 91.0
    assert ("mine", "1 of 2 cells have records", "Three numbers of my own") in tables.overview(
        [record], [], mine
    )
    base = ("dataset=mvtec", "geometry=square256", LITE)
    assert tables.runs("mine", ["seed=1"], mine) == [("seed=0", *base, "method=plain", "seed=1")]
    assert tables.results_folder("mine", ["results=there"], mine).name == "there"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metrics: [image_auroc]", "metrics: [image_auroc, speed]", "metrics: unknown speed"),
        ("categories: [bottle, grid]", "categories: nowhere", "no list 'nowhere'"),
        ("categories: [bottle, grid]\n", "", "categories: missing"),
        ("varies: system\n", "", "varies: must be given"),
        ("varies:", "vary:", "vary: unknown setting"),
        ("title:", "title: [", "table/mine.yaml: while parsing"),
    ],
)
@pytest.mark.fault("YAML", shows="error")
def test_a_wrong_table_file_is_refused_by_name(mine, old, new, message):
    path = mine.user_folders[0] / "table" / "mine.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(AdbenchError, match=message):
        table("mine", [], configs=mine)


def test_names_of_earlier_versions_are_understood():
    renamed = yaml.safe_load((CONFIGS.folders[0] / "renamed.yaml").read_text())
    for old, new in renamed["table"].items():
        assert table(old, []).name == new
    for old, new in renamed["experiment"].items():
        assert CONFIGS.compose([f"experiment={old}"]) == CONFIGS.compose([f"experiment={new}"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  - label: Mine\n",
            "  - label: Mine\n    run: [method=plain]\n  - label: Mine\n",
            "row 'Mine': two rows have this label",
        ),
        (
            "image_auroc: {",
            "image_aurc: {",
            "'image_aurc' is no metric of this table; it has image",
        ),
        ("bottle: 91.0", "bottel: 91.0", "no category 'bottel'; the table has bottle, grid, and"),
        ("run: [method=plain]", "run: [method=plain]\n    against: Yours", "no row 'Yours'"),
    ],
)
@pytest.mark.fault("YAML", shows="error")
def test_what_would_be_dropped_silently_is_refused(mine, old, new, message):
    path = mine.user_folders[0] / "table" / "mine.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(AdbenchError, match=message):
        table("mine", [], configs=mine)


@pytest.mark.fault("YAML", shows="kept")
def test_one_broken_table_does_not_hide_the_others(mine):
    (mine.user_folders[0] / "table" / "broken.yaml").write_text("title: [")
    found = {name: (state, title) for name, state, title in tables.overview([], [], mine)}
    assert found["mine"] == ("0 of 2 cells have records", "Three numbers of my own")
    state, title = found["broken"]
    assert ("broken.yaml" in state, title) == (True, "cannot be read")


@pytest.mark.parametrize("name", ["a_broken", "z_broken"])
@pytest.mark.fault("YAML", shows="error")
def test_all_tables_but_a_broken_one_are_built_and_the_status_tells(
    tmp_path, tmp_path_factory, mine, monkeypatch, capsys, name
):
    (tmp_path / "table" / f"{name}.yaml").write_text("title: [")
    choices = [name, "mine"] if name < "mine" else ["mine", name]
    monkeypatch.setattr(Configs, "choices", lambda self, group: choices)
    results = tmp_path_factory.mktemp("results")
    saved(results / "records", made(LITE, "bottle"))  # none of the table's
    words = [f"results={results}", f"cache={results / 'cache'}"]
    given = Namespace(table="all", overrides=words, json=True, check=False, measured=False)
    assert table_command.command(given, mine) == 1
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert [built["table"] for built in document["tables"]] == ["mine"]
    assert f"{name}.yaml" in document["failures"][name]
    assert f"{name}.yaml" in told.err
    monkeypatch.setattr(Configs, "choices", lambda self, group: ["mine"])
    assert table_command.command(given, mine) == 0  # though it has no record at all
    assert json.loads(capsys.readouterr().out)["failures"] == {}


def test_a_category_that_some_tables_lack_fails_none(tmp_path_factory, mine, monkeypatch, capsys):
    monkeypatch.setattr(Configs, "choices", lambda self, group: ["mine", "wang_table1"])
    results = tmp_path_factory.mktemp("results")
    saved(results / "records", made(LITE, "bottle"))
    words = [f"results={results}", f"cache={results / 'cache'}", "dataset.categories=[bottle]"]
    given = Namespace(table="all", overrides=words, json=True, check=False, measured=False)
    assert table_command.command(given, mine) == 0
    document = json.loads(capsys.readouterr().out)
    assert [built["table"] for built in document["tables"]] == ["mine"]
    assert "has no bottle" in document["failures"]["wang_table1"]
    given.overrides[-1] = "dataset.categories=[bottel]"  # which none of them has
    assert table_command.command(given, mine) == 1


@pytest.mark.fault("YAML", shows="inert")
def test_a_table_is_named_and_no_path_is_followed(mine):
    with pytest.raises(AdbenchError, match=r"table '\.\./table/mine': the name of a table"):
        table("../table/mine", [], configs=mine)


def test_numbers_of_other_images_are_compared_where_the_table_says_so(mine):
    words = f"geometry=square256 dataset=mvtec {LITE} method=padim_full"
    record = made(words, "bottle", image=0.905, counts=(8, 18))
    assert cell(table("mine", [record], configs=mine), "Mine", "bottle").verdict == "incomplete"
    path = mine.user_folders[0] / "table" / "mine.yaml"
    path.write_text(path.read_text() + "own_images: true\n")
    assert cell(table("mine", [record], configs=mine), "Mine", "bottle").verdict == "within"


@pytest.mark.parametrize(
    ("metric", "row"),
    [("image_auroc", "quoted: nobody can run it"), ("distance_speedup_x", "run: [method=padim]")],
    ids=["quoted without numbers", "compared with no other row"],
)
def test_a_setting_without_any_cell_has_an_empty_line(mine, metric, row):
    path = mine.user_folders[0] / "table" / "mine.yaml"
    text = path.read_text().replace("lines: categories", "lines: settings")
    text = text.replace("metrics: [image_auroc]", f"metrics: [{metric}]")
    text = text[: text.index("    published")]
    path.write_text(f"{text}    against: Empty\n  - label: Empty\n    {row}\n")
    built = table("mine", [], configs=mine)
    assert grid(table_text.to_csv(built))[2] == ["Empty", "", "", "0 of 2"]
    for write in (table_text.comparison_csv, table_text.to_markdown, to_latex, table_text.to_json):
        assert write(built)


def test_a_preset_of_the_users_for_a_dataset_fills_the_same_cells(mine):
    folder = mine.user_folders[0]
    (folder / "dataset").mkdir()
    (folder / "dataset" / "line.yaml").write_text(
        "_target_: adbench.data.mvtec.MVTec\nname: line\nroot: .\ncategories: all\n"
    )
    record = made("experiment=belloni2023_resnet50", "bottle", image=0.99)
    record.labels["dataset"] = "line"
    built = table("belloni2023_table4", [record], configs=mine)
    assert cell(built, "ResNet50", "bottle").verdict == "within"
    other = made("experiment=belloni2023_resnet50", "bottle", image=0.5, images="others")
    built = table("belloni2023_table4", [record, other], configs=mine)
    assert cell(built, "ResNet50", "bottle").measured.mean == 50, "that of the table's own preset"
    asked = table("belloni2023_table4", [record, other], ["dataset=line"], configs=mine)
    assert cell(asked, "ResNet50", "bottle").measured.mean == 99


# --------------------------------------------------------------------------- what is left out


def two_of_fourteen():
    return [made("experiment=belloni2023_resnet50", c) for c in ("bottle", "grid")]


def test_a_table_is_narrowed_to_categories_by_name_or_to_what_was_measured():
    named = table("belloni2023_table4", two_of_fourteen(), ["dataset.categories=[grid]"])
    measured = tables.table("belloni2023_table4", two_of_fourteen(), [], CONFIGS, measured=True)
    assert (named.spec.categories, measured.spec.categories) == (("grid",), ("bottle", "grid"))
    whole = table("belloni2023_table4", two_of_fourteen())
    for category in ("grid", "mean"):
        assert cell(measured, "ResNet50", category) == cell(whole, "ResNet50", category)
    assert "published one is over all 14" in table_text.to_markdown(measured)
    with pytest.raises(AdbenchError, match="belloni2023_table4 has no hazelnut; it has bottle"):
        table("belloni2023_table4", [], ["dataset.categories=[hazelnut]"])


def test_a_narrowed_mean_is_not_compared_with_that_of_all_categories():
    record = made("experiment=han2024 method.lambda_=5", "bottle", image=0.966)
    built = table("han2024_table3", [record], ["dataset.categories=[bottle]"])
    mean = cell(built, "lambda = 5", "mean")
    assert (mean.verdict, mean.published) == ("not comparable", 96.6)
    assert "1 of 15" in table_text.to_markdown(built)


def test_rows_without_records_are_left_out_but_those_that_reproduce_leaves_out():
    built = tables.table(
        "han2024_table1", [made("experiment=han2024", "bottle")], [], CONFIGS, measured=True
    )
    labels = [row.label for row in built.spec.rows]
    assert "CRD" in labels
    assert "PatchCore 1%" not in labels
    assert "CFA" in labels


def test_each_reason_stands_once_below_the_table():
    records = two_of_fourteen()
    for record in records:
        record.time.clear()
        record.reasons["time"] = "timing.enabled=false"
    page = table_text.to_markdown(table("belloni2023_table4", records))
    assert page.count("timing.enabled=false") == 1
    assert "- timing.enabled=false: ResNet50 (s/image on bottle, grid)." in page
    (line,) = [line for line in page.splitlines() if line.startswith("- not run: ")]
    assert line == "- not run: ResNet50 (all categories but bottle, grid)."
    words = "experiment=belloni2023_resnet50 method.coreset.projection=gaussian"
    marked = table_text.to_markdown(
        table("belloni2023_table4", [made(f"{words} {LITE}", c) for c in ("bottle", "grid")])
    )
    assert marked.count("in place of resnet50_a1") == 1


def test_a_metric_that_an_old_record_lacks_says_why():
    record = made("experiment=belloni2023_resnet50", "bottle")
    record.metrics["pixel_auroc"] = None
    record.reasons["pixel_auroc"] = "measured before adbench had this metric"
    built = table("belloni2023_table4", [record])
    lacking = cell(built, "ResNet50", "bottle", "pixel_auroc")
    assert (lacking.measured, lacking.reason) == (None, "measured before adbench had this metric")


# ------------------------------------------------------------------------------------ for a paper


def test_latex_has_columns_of_their_own_for_both_numbers_and_the_best_in_bold():
    records = [
        made("experiment=belloni2023_resnet50 method.ratio=0.01", c, image=0.975, seconds=0.01)
        for c in ("bottle", "grid")
    ]
    records += [
        made("experiment=belloni2023_resnet50 method.ratio=0.25", c, image=0.95, seconds=0.02)
        for c in ("bottle", "grid")
    ]
    latex = to_latex(table("belloni2023_table2", records))
    assert r"\begin{tabular}{lrrrrrr}" in latex
    assert r"\multicolumn{2}{c}{image AUROC, \%}" in latex
    lines = {line.split(" & ")[0]: line.rstrip("\\ ").split(" & ") for line in latex.splitlines()}
    one, quarter = lines[r"1\%"], lines[r"25\%"]
    assert (one[1], quarter[1]) == (r"\textbf{97.50}", "95.00")
    assert (one[3], quarter[3]) == ("80.00", "80.00"), "equal numbers are not bold"
    assert (one[5], quarter[5]) == (r"\textbf{0.0100}", "0.0200"), "a shorter time is better"
    assert one[2].startswith("97.5")


def test_means_over_other_categories_are_not_bold_against_each_other():
    words = "experiment=belloni2023_resnet50 method.ratio={}"
    records = [
        made(words.format(ratio), category, image=image)
        for ratio, category, image in (
            (0.01, "bottle", 0.97),
            (0.25, "bottle", 0.99),
            (0.25, "grid", 0.70),
        )
    ]
    assert r"\textbf" not in to_latex(table("belloni2023_table2", records))
    records.append(made(words.format(0.01), "grid", image=0.60))
    assert r"\textbf{84.50}" in to_latex(table("belloni2023_table2", records))


def test_digits_of_a_latex_column_stand_in_line():
    latex = to_latex(table("belloni2023_table4", two_of_fourteen()))
    printed = [line.split(" & ")[2] for line in latex.splitlines() if line.startswith("mean ")]
    assert printed == ["95.5"]
    measured = [line.split(" & ")[1] for line in latex.splitlines() if line.startswith("cable ")]
    assert measured == ["-"]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 50%", r"a\_b \& 50\%"),
        ("{x}^2 ~ $", r"\{x\}\textasciicircum{}2 \textasciitilde{} \$"),
        ("a\n\\b\u2028", r"a\textbackslash{}n\textbackslash{}b\textbackslash{}u2028"),
    ],
)
def test_signs_of_latex_are_escaped(text, latex):
    assert escaped(text) == latex


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("sign", ["\n", "\r", "\x85", "\u2028", "\t", "|"], ids=repr)
def test_a_name_breaks_no_row_of_a_table(mine, sign):
    path = mine.user_folders[0] / "table" / "mine.yaml"
    plain = table("mine", [], configs=mine)
    path.write_text(path.read_text().replace("label: Mine", f"label: {json.dumps(f'A{sign}B')}"))
    built = table("mine", [], configs=mine)
    writers = (table_text.to_csv, table_text.comparison_csv, table_text.to_markdown, to_latex)
    for write in writers:
        assert len(write(built).splitlines()) == len(write(plain).splitlines())
    shown = r"A\|B" if sign == "|" else f"A{repr(sign)[1:-1]}B"
    assert f"| {shown} " in table_text.to_markdown(built)


@pytest.mark.fault("name", shows="inert")
def test_cells_of_a_csv_are_no_formulas(mine):
    path = mine.user_folders[0] / "table" / "mine.yaml"
    path.write_text(path.read_text().replace("label: Mine", "label: '=SUM(A1)'"))
    built = table("mine", [], configs=mine)
    for text in (table_text.to_csv(built), table_text.comparison_csv(built)):
        assert "'=SUM(A1)" in text
        assert ",=SUM(A1)" not in text
        assert not text.startswith("=SUM(A1)")
