import numpy as np
import pytest
from made_records import CONFIGS, made, saved

from adbench.errors import AdbenchError
from adbench.reports import plots, tables
from adbench.reports.jl import fit_jl_curve, jl_curve

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


def test_bars_name_the_categories_and_what_stands_in(tmp_path):
    records = [made(f"experiment=han2024 {LITE}", category) for category in ("bottle", "grid")]
    svg = plots.table_figure(table("han2024_table1", records), tmp_path)[1].read_text()
    assert all(f"<!-- {word} -->" in svg for word in ("bottle", "grid", "mean", "CRD"))
    assert "efficientnet_lite0 in place of wide_resnet50" in svg
    assert "<!-- tile -->" not in svg


def test_nothing_measured_draws_nothing(tmp_path):
    assert plots.table_figure(table("han2024_table1", []), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_speed_against_accuracy_takes_common_categories(tmp_path):
    records = [
        made(f"method={m} {LITE}", "bottle", seconds=s) for m, s in (("padim", 0.02), ("crd", 0.01))
    ]
    records.append(made(f"method=padim {LITE}", "grid"))
    svg = plots.speed_accuracy(records, tmp_path)[1].read_text()
    assert "<!-- bottle -->" in svg
    assert "<!-- crd, efficientnet_lite0 -->" in svg
    with pytest.raises(AdbenchError, match="no category in common"):
        plots.speed_accuracy(records[1:], tmp_path)
    with pytest.raises(AdbenchError, match="no record of trained weights has both"):
        plots.speed_accuracy([], tmp_path)


def test_roc_and_pr_curves_from_raw_scores(tmp_path):
    records = [
        saved(tmp_path, made(f"method={m} {LITE}", "bottle"), noise=i)
        for i, m in enumerate(("padim", "crd"))
    ]
    records.append(saved(tmp_path, made(f"method=crd {LITE}", "grid")))
    paths = plots.roc_pr(records, tmp_path, tmp_path / "figures")
    assert [p.name for p in paths] == [
        "roc-bottle.png",
        "roc-bottle.svg",
        "roc-grid.png",
        "roc-grid.svg",
    ]
    assert "<!-- padim, efficientnet_lite0 (90.0) -->" in paths[1].read_text()


def test_random_weights_have_no_accuracy_to_draw(tmp_path):
    random = saved(tmp_path, made(f"method=padim {LITE} backbone.weights=random", "bottle"))
    assert plots.roc_pr([random], tmp_path, tmp_path / "figures") == []
    with pytest.raises(AdbenchError, match="no record of trained weights"):
        plots.speed_accuracy([random], tmp_path)
