import argparse
import itertools
from dataclasses import replace

import numpy as np
import pytest
from made_records import CONFIGS, made, saved
from matplotlib.figure import Figure
from matplotlib.text import Text

from adbench.cli import main, plot
from adbench.errors import AdbenchError
from adbench.reports import plots, sweeps, tables
from adbench.reports.jl import fit_jl_curve, jl_curve
from adbench.reports.labels import Marked, place, short_names
from adbench.reports.repeats import by_category
from adbench.reports.sides import Side, named, roc_pr, speed_accuracy
from adbench.reports.sweeps import sweep_figure
from adbench.reports.swept import Point, axis_of, line_names, narrowed, of_jobs, of_records
from adbench.results.style import DARK, LIGHT, drawn_in

LITE = "backbone=efficientnet_lite0"


def table(name, records, overrides=()):
    return tables.table(name, records, overrides, CONFIGS)


def sweep():
    return [
        made(f"experiment=zhang2021 method.dims={dims} {LITE}", category, pixel=0.9 + dims / 5000)
        for dims in (25, 50, 75, 100, 150)
        for category in ("bottle", "grid")
    ]


def test_the_predicted_curve_is_that_of_equation_15():
    assert jl_curve(np.array([4.0]), p=0.5, q=1.0, k=0.25)[0] == pytest.approx(
        2 * 0.5 * 0.25 / 0.75 + 0.5
    )
    assert jl_curve(np.array([16.0]), p=0.5, q=1.0, k=0.25)[0] == pytest.approx(1)  # x = q / k^2


def test_the_fit_finds_the_curve_that_made_the_points():
    x = np.array([50.0, 100, 150, 250, 400, 550])
    y = jl_curve(x, p=0.2, q=20.0, k=0.1)
    assert jl_curve(x, *fit_jl_curve(x, y)) == pytest.approx(y, abs=1e-4)
    with pytest.raises(AdbenchError, match="needs at least 4 points, got 3"):
        fit_jl_curve([1, 2, 3], [0.1, 0.2, 0.3])


def test_figures_have_the_same_bytes_every_time(tmp_path):
    records = sweep()
    first = plots.table_figure(table("zhang2021_figure3", records), tmp_path / "a")
    second = plots.table_figure(table("zhang2021_figure3", records[::-1]), tmp_path / "b")
    assert [p.name for p in first] == ["zhang2021_figure3.png", "zhang2021_figure3.svg"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    svg = first[1].read_text()
    assert "predicted" in svg
    assert "published" in svg
    assert "<dc:date>" not in svg


def test_a_figure_is_drawn_again_only_where_its_content_changed(tmp_path):
    records = sweep()
    paths = plots.table_figure(table("zhang2021_figure3", records), tmp_path)
    written = [path.stat().st_mtime_ns for path in paths]
    assert plots.table_figure(table("zhang2021_figure3", records[::-1]), tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in paths] == written
    paths[0].unlink()
    plots.table_figure(table("zhang2021_figure3", records), tmp_path)
    assert paths[0].is_file()
    before = paths[1].read_bytes()
    plots.table_figure(table("zhang2021_figure3", records[2:]), tmp_path)
    assert paths[1].read_bytes() != before


def said(path):
    """The texts of an SVG, which matplotlib leaves as comments; wrapped lines are joined."""
    return path.read_text().replace(" -->", "").replace("<!-- ", "").replace("\n", " ")


def test_a_line_names_its_category_and_what_stands_in(tmp_path):
    records = [made(f"experiment=han2024 {LITE}", category) for category in ("bottle", "grid")]
    svg = plots.table_figure(table("han2024_table1", records), tmp_path)[1]
    assert all(f"<!-- {word} -->" in svg.read_text() for word in ("bottle", "grid", "mean", "CRD"))
    assert "efficientnet_lite0 in place of wide_resnet50" in said(svg)
    assert "<!-- tile -->" not in svg.read_text()


def test_a_figure_names_what_it_leaves_out_with_the_reason(tmp_path):
    records = [made(f"experiment=han2024 {LITE}", category) for category in ("bottle", "grid")]
    built = table("han2024_table1", records)
    (line,) = plots.left_out(built)
    assert "tile" in line
    assert "no record" in line
    assert all(row.label in line for row in built.spec.rows if row.apart)
    assert "Left out:" in said(plots.table_figure(built, tmp_path)[1])


def test_nothing_measured_draws_nothing(tmp_path):
    assert plots.table_figure(table("han2024_table1", []), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


# Labels and names.


def crowd(count):
    random = np.random.default_rng(0)
    x, y = random.uniform(20, 60, count), random.uniform(95, 99, count)
    return [
        Marked(a, b, (b - 1, b + 0.5), f"setting {i}", "black")
        for i, (a, b) in enumerate(zip(x, y, strict=True))
    ]


@pytest.mark.parametrize("count", [2, 12])
def test_labels_cover_neither_marks_nor_each_other(count):
    with drawn_in(LIGHT):
        figure = Figure(figsize=(8, 6), layout="constrained")
        axes, points = figure.subplots(), crowd(count)
        for point in points:
            axes.plot(point.x, point.y, "o")
        axes.margins(0.2)
        assert place(figure, axes, points)
        renderer = figure.canvas.get_renderer()
        boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
        marks = [axes.transData.transform((p.x, p.y)) for p in points]
    assert len(boxes) == count
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert not any(box.contains(*mark) for box in boxes for mark in marks)


def test_where_labels_find_no_place_none_is_written():
    figure = Figure(figsize=(2, 1.5), layout="constrained")
    axes, points = figure.subplots(), [Marked(1, 1, (0, 2), "x" * 300, "black")]
    axes.plot(1, 1, "o")
    assert not place(figure, axes, points)
    assert not axes.texts


def test_names_are_short_and_tell_settings_apart():
    texts = ["method=padim backbone=clip", "method=crd method.lambda_=3 backbone=clip"]
    assert short_names(texts) == (["padim", "crd, lambda_ 3"], ["backbone=clip"])
    # Nothing but what all share is no name.
    assert short_names(["method=padim", "method=padim seed=1"])[0] == ["padim", "padim, 1"]
    # Short names that are the same keep their words.
    twins = ["method.coreset.dim=3", "method.dim=3"]
    assert short_names([f"method=crd {t}" for t in twins])[0] == twins


def test_a_long_name_is_cut_only_where_it_stays_the_only_one():
    long = [f"method.{'x' * 60}={end}" for end in "ab"]
    assert all(
        len(name) <= 40 and name.endswith(end)
        for name, end in zip(short_names(long)[0], "ab", strict=True)
    )
    middle = [f"method.x={'y' * 40}{end}{'z' * 40}" for end in "ab"]
    assert len(set(short_names(middle)[0])) == 2


def test_series_differ_in_more_than_colour():
    for style in (LIGHT, DARK):
        looks = [style.look(i) for i in range(40)]
        assert len({(look["color"], look["marker"]) for look in looks}) == 40
        assert len({look["marker"] for look in looks[:8]}) == 8


# Settings side by side.


def sides(*records):
    """A side for each setting among the records, named by its words."""
    found = {}
    for words, record in records:
        found.setdefault(words, []).append(record)
    return [Side(words, by_category(own)) for words, own in found.items()]


def measured(words, category, **more):
    return words, made(f"{words} {LITE}", category, **more)


def test_speed_against_accuracy_takes_common_categories(tmp_path):
    given = sides(
        measured("method=padim", "bottle", seconds=0.02),
        measured("method=crd", "bottle", seconds=0.01),
        measured("method=padim", "grid"),
    )
    drawn = speed_accuracy(given, tmp_path)
    text = said(drawn.files[1])
    assert "Mean of bottle" in text
    assert "method=crd" in text
    assert drawn.left_out == [
        "Speed against image_auroc leaves out grid: not there for every setting."
    ]
    assert drawn.left_out[0] in text


def test_a_side_without_a_time_is_named_with_the_reason_and_has_its_roc(tmp_path):
    with_time = measured("method=padim", "bottle")
    words, record = measured("method=crd", "bottle")
    saved(tmp_path, with_time[1])
    record = saved(tmp_path, replace(record, time={}, reasons={"time": "jobs ran side by side"}))
    given = sides(with_time, (words, record))
    drawn = speed_accuracy(given, tmp_path)
    assert drawn.files
    assert drawn.left_out == [
        "Speed against image_auroc leaves out method=crd: it has no time per image (jobs ran side "
        "by side)."
    ]
    assert drawn.left_out[0] in said(drawn.files[1])


def test_without_any_time_the_curves_are_still_drawn(tmp_path):
    words, record = measured("method=crd", "bottle")
    record = saved(tmp_path, replace(record, time={}))
    given = sides((words, record))
    speed = speed_accuracy(given, tmp_path)
    assert speed.files == []
    assert "run it with timing.enabled=true" in speed.left_out[0]
    assert "is not drawn" in speed.left_out[1]
    assert len(roc_pr(given, tmp_path, tmp_path / "figures").files) == 2


def test_settings_without_a_common_category_are_named(tmp_path):
    given = sides(measured("method=padim", "grid"), measured("method=crd", "bottle"))
    drawn = speed_accuracy(given, tmp_path)
    assert drawn.files == []
    assert "no common category (method=padim has grid; method=crd has bottle)" in drawn.left_out[0]


def test_settings_without_masks_are_left_out_of_a_figure_of_pixels(tmp_path):
    words, record = measured("method=crd", "bottle")
    record = replace(
        record,
        metrics=record.metrics | {"pixel_auroc": None},
        reasons={"pixel_auroc": "3 anomalous test images have no mask"},
    )
    given = sides((words, record), measured("method=padim", "bottle"))
    drawn = speed_accuracy(given, tmp_path, "pixel_auroc")
    assert drawn.left_out == [
        "Speed against pixel_auroc leaves out method=crd: 3 anomalous test images have no mask."
    ]


def test_roc_and_pr_curves_from_raw_scores(tmp_path):
    records = [
        (f"method={m}", saved(tmp_path, made(f"method={m} {LITE}", "bottle"), noise=i))
        for i, m in enumerate(("padim", "crd"))
    ]
    records.append(("method=crd", saved(tmp_path, made(f"method=crd {LITE}", "grid"))))
    drawn = roc_pr(sides(*records), tmp_path, tmp_path / "figures")
    assert [p.name for p in drawn.files] == [
        "roc-bottle.png",
        "roc-bottle.svg",
        "roc-grid.png",
        "roc-grid.svg",
    ]
    assert "method=padim: 90.0 (88.0 to 91.0)" in said(drawn.files[1])
    assert drawn.left_out == ["The curves of grid leave out method=padim: it has no record."]
    assert drawn.left_out[0] in said(drawn.files[3])


def test_random_weights_have_no_accuracy_to_draw(tmp_path):
    words = "method=padim backbone.weights=random"
    given = sides((words, saved(tmp_path, made(f"{words} {LITE}", "bottle"))))
    for drawn in (speed_accuracy(given, tmp_path), roc_pr(given, tmp_path, tmp_path)):
        assert drawn.files == []
        assert "the weights are random" in drawn.left_out[0]


def test_the_id_of_a_record_gets_a_name_for_people():
    record = made(f"method=crd {LITE}", "bottle")
    (side,), _ = named([record.id], [by_category([record])])
    assert side.name == f"crd, efficientnet_lite0, {record.id[:6]}"


# Sweeps.


def ratios(categories=("bottle", "grid")):
    return [
        made(f"method=patchcore method.ratio={r} method.k={k} {LITE}", c, image=0.9 + r / 2)
        for r in (0.001, 0.01, 0.1)
        for k in (1, 3)
        for c in categories
    ]


def test_a_setting_is_the_axis_and_the_others_are_lines(tmp_path):
    points = of_records(ratios(), "method.ratio", CONFIGS)
    assert axis_of(points, None) == "method.ratio"
    drawn = sweep_figure(points, "method.ratio", tmp_path)
    assert [p.name for p in drawn.files] == ["sweep-method.ratio.png", "sweep-method.ratio.svg"]
    text = said(drawn.files[1])
    for expected in ("mean of bottle, grid", "map_k 1", "map_k 3", "image AUROC, %", "s/image"):
        assert expected in text
    for tick in ("0.001", "0.01", "0.1"):  # at equal distances, since they span decades
        assert f"<!-- {tick} -->" in drawn.files[1].read_text()


def test_settings_that_a_point_does_not_read_part_no_line(tmp_path):
    """The whole bank has no sampler, so that its record names none."""
    whole = made(f"method=patchcore method.ratio=1 {LITE}", "bottle")
    points = of_records([*ratios(["bottle"]), whole], "method.ratio", CONFIGS)
    assert {name for point in points for name in point.settings} == {
        "method.ratio",
        "method.map_k",
    }


def test_the_order_in_which_records_hold_their_settings_parts_no_line():
    names = ["method", "backbone", "method.ratio"]
    points = []
    for number, ratio in enumerate(("0.01", "0.1", "0.25")):
        settings = dict(zip(names, ("patchcore", "efficientnet_lite0", ratio), strict=True))
        ordered = {name: settings[name] for name in (names[::-1] if number == 1 else names)}
        record = made(f"method=patchcore method.ratio={ratio} {LITE}", "bottle")
        points.append(Point(ordered, record))
    (lines,) = sweeps._curves(points, "method.ratio", None).values()
    assert [list(values) for values in lines.values()] == [["0.01", "0.1", "0.25"]]


def test_a_short_word_of_a_preset_can_be_the_axis():
    points = of_records(ratios(), "method.k", CONFIGS)
    assert {point.settings["method.k"] for point in points} == {"1", "3"}
    assert {point.settings["method.ratio"] for point in points} == {"0.001", "0.01", "0.1"}


def test_a_panel_for_each_category(tmp_path):
    points = of_records(ratios(), "method.ratio", CONFIGS)
    svg = sweep_figure(points, "method.ratio", tmp_path, per="category").files[1].read_text()
    assert "<!-- bottle -->" in svg
    assert "<!-- grid -->" in svg
    assert "mean of" not in svg


def test_a_category_that_one_point_lacks_is_named(tmp_path):
    points = of_records(ratios()[:-1], "method.ratio", CONFIGS)
    drawn = sweep_figure(points, "method.ratio", tmp_path)
    assert "Left out: grid: not measured at every point." in drawn.left_out
    assert "mean of bottle" in said(drawn.files[1])


def test_a_sweep_over_names_has_no_line_between_them(tmp_path):
    records = {m: made(f"method={m} {LITE}", "bottle") for m in ("padim", "crd")}
    points = of_jobs([({"method": m, "seed": "0"}, [r]) for m, r in records.items()])
    assert axis_of(points, None) == "method"
    text = sweep_figure(points, "method", tmp_path).files[1].read_text()
    assert "<!-- padim -->" in text
    with pytest.raises(AdbenchError, match=r"--x method.k: it does not vary in this sweep"):
        axis_of(points, "method.k")


def test_lines_are_named_by_what_tells_them_apart():
    lines = [
        {"method": "padim", "method.dims": "50"},
        {"method": "padim", "method.dims": "100"},
        {"method": "crd"},
    ]
    assert line_names(lines) == ["padim, dims 50", "padim, dims 100", "crd"]


def test_words_narrow_the_records_and_a_wrong_one_is_named():
    records = [*ratios(), made(f"method=padim {LITE}", "bottle")]
    assert len(narrowed(records, ["method=patchcore", "method.k=3"], CONFIGS)) == 6
    assert len(narrowed(records, ["dataset.categories=[grid]"], CONFIGS)) == 6
    with pytest.raises(AdbenchError, match=r"method.k=9: no record has it.*there are: 1, 3"):
        narrowed(records, ["method.k=9"], CONFIGS)
    with pytest.raises(AdbenchError, match=r"--x method.nothing: no record has this setting"):
        of_records(records, "method.nothing", CONFIGS)


# The command.


def command(*words):
    return main._parser().parse_args(["plot", *main._flags_first(words)])


@pytest.fixture
def results(tmp_path):
    for record in [*ratios(), made(f"method=crd {LITE}", "bottle")]:
        saved(tmp_path / "records", record)
    return tmp_path


def test_results_is_a_word_as_in_every_command(results, capsys):
    words = ["method=crd", "method=patchcore method.ratio=0.1 method.k=1"]
    assert plot.command(command(*words, f"results={results}"), CONFIGS) == 0
    out, err = capsys.readouterr()
    assert str(results / "figures" / "speed-image_auroc.png") in out
    assert "leaves out grid" in err


def test_flags_may_stand_anywhere(results, capsys):
    given = command(
        "method=patchcore", "--x", "method.ratio", f"results={results}", "--dark", "--format=pdf"
    )
    assert isinstance(given, argparse.Namespace)
    assert plot.command(given, CONFIGS) == 0
    assert capsys.readouterr().out.split() == [
        str(results / "figures" / "sweep-method.ratio-dark.pdf")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "plot needs settings"),
        (["method=crd", "--format", "gif"], "--format gif: unknown; there are png, svg, pdf"),
        (["method=crd", "--metric", "auc"], "--metric auc: unknown"),
        (["sweep=nowhere"], "sweep=nowhere: no job-0.json"),
        (["--x", "method.ratio", "--per", "method.b"], "--per method.b: it does not vary"),
    ],
)
def test_wrong_words_of_plot_are_named(results, words, message):
    with pytest.raises(AdbenchError, match=message):
        plot.command(command(*words, f"results={results}"), CONFIGS)
