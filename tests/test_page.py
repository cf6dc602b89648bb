import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from commands import SMALL, adbench
from hypothesis import given
from hypothesis import strategies as st
from made_records import CONFIGS, made, saved
from PIL import Image
from sklearn.metrics import f1_score

from adbench.cli.main import main
from adbench.errors import AdbenchError
from adbench.evaluation.intervals import paired_auroc
from adbench.evaluation.jackknife import paired_pixel_auroc
from adbench.reports.matching import Matching
from adbench.reports.page.about import about
from adbench.reports.page.board import board, shared
from adbench.reports.page.curves import curves
from adbench.reports.page.decisions import by_best, defect_lines
from adbench.reports.page.gallery import Wanted, gallery
from adbench.reports.page.gather import gather
from adbench.reports.page.labels import DIGIT, HALF, TALL, places
from adbench.reports.page.published import claim_lines, published
from adbench.reports.page.record_view import record_view, stages
from adbench.reports.page.repeat import Repeats
from adbench.reports.page.scale import Axis
from adbench.reports.page.scores import scores_of
from adbench.reports.page.speed import FRONT, speed
from adbench.reports.page.subjects import looks_of, subjects, usual
from adbench.reports.page.svg import Mark, Panel, Series, drawing
from adbench.reports.page.sweeps import sweeps
from adbench.reports.page.thresholds import threshold_lines
from adbench.results import raw
from adbench.results.heatmaps import in_order, picture_name
from adbench.results.judged import Judged
from adbench.results.records import ImageScore, load, load_pixels, load_scores, save

HOSTILE = "<img src=x onerror=alert(1)>"
LITE = "backbone=efficientnet_lite0"
PADIM, CRD = f"method=padim {LITE}", f"method=crd {LITE}"


def rows(found, category):
    return {row.setting: row for row in found.rows if row.category == category}


def scored(found, folder):
    """The raw scores of records, as all parts of the page get them."""
    return scores_of(subjects(found), folder)[0]


# Names of settings


def test_names_tell_settings_apart_and_leave_out_what_most_have():
    records = [
        *(made(f"{PADIM} method.dims={dims}", "bottle") for dims in (50, 100)),
        made(CRD, "bottle"),
        made("method=crd backbone=wide_resnet50", "bottle"),
    ]
    names = [subject.name for subject in subjects(records)]
    assert names == ["crd", "crd, wide_resnet50", "padim, dims 100", "padim, dims 50"]
    assert usual(records) == {"backbone": "efficientnet_lite0"}
    assert "backbone efficientnet_lite0" in " ".join(about(subjects(records), []))


def test_seeds_and_categories_are_one_setting_and_datasets_are_several():
    records = [
        *(made(f"{PADIM} dataset=mvtec", "bottle", seed=seed) for seed in (0, 1)),
        made(f"{PADIM} dataset=mvtec", "grid"),
        made(f"{PADIM} dataset=demo geometry=crop224", "denim"),
    ]
    one, other = sorted(subjects(records), key=lambda s: len(s.found))
    assert one.key == other.key
    assert (list(one.found), list(other.found)) == (["denim"], ["bottle", "grid"])
    assert len(other.found["bottle"]) == 2


# The leaderboard


def test_a_tie_with_the_best_is_a_paired_difference_inside_the_noise(tmp_path):
    settings = {f"{PADIM} method.dims={d}": g for d, g in ((25, 3.0), (50, 2.5), (75, 0.2))}
    records = [
        saved(tmp_path, made(words, "bottle", image=0.9 - n / 10, pixel=0.9 - n / 10), gap, noise=n)
        for n, (words, gap) in enumerate(settings.items())
    ]
    best, *others = records
    own = rows(board(subjects(records), tmp_path), "bottle")
    cells = [own[f"padim, dims {dims}"].cells for dims in (25, 50, 75)]
    assert cells[0]["image_auroc"].best
    assert not cells[0]["image_auroc"].within
    labels, ours = raw.arrays(load_scores(tmp_path, best))
    for other, found in zip(others, cells[1:], strict=True):
        d = paired_auroc(labels, ours, raw.arrays(load_scores(tmp_path, other))[1])
        assert found["image_auroc"].within == (d.low <= 0 <= d.high)
        p = paired_pixel_auroc(load_pixels(tmp_path, best), load_pixels(tmp_path, other))
        assert found["pixel_auroc"].within == (p.low <= 0 <= p.high)
    assert {found["image_auroc"].within for found in cells[1:]} == {True, False}


def test_numbers_are_percents_milliseconds_and_megabytes(tmp_path):
    record = saved(tmp_path, made(PADIM, "bottle", image=0.876, seconds=0.0123, state=4_560_000))
    (row,) = board(subjects([record]), tmp_path).rows
    texts = {name: cell.text for name, cell in row.cells.items()}
    assert texts["image_auroc"] == "87.6"
    assert (texts["inference_time_s"], texts["state_mb"]) == ("12.3", "4.6")
    assert row.cells["image_auroc"].low == pytest.approx(85.6)
    assert texts["aupro"] == "\N{EN DASH}"
    assert not any(cell.best for cell in row.cells.values())  # one setting is no contest
    assert row.anchor == record.id


def test_times_of_several_machines_are_not_ranked(tmp_path):
    here, there = made(PADIM, "bottle", seconds=0.02), made(CRD, "bottle", seconds=0.001)
    here = replace(here, environment={"processor": "A", "device": "cpu", "threads": 1})
    there = replace(there, environment={"processor": "B", "device": "cuda:0", "threads": 8})
    settings = subjects([saved(tmp_path, here), saved(tmp_path, there)])
    shown = board(settings, tmp_path)
    assert not any(row.cells["inference_time_s"].best for row in shown.rows)
    head, (line,) = shown.choices
    assert dict(zip(head, line, strict=True))["fastest of these"] == "\N{EN DASH}"
    chart = speed(settings)
    assert FRONT not in str(chart.table[1])
    assert "A (cpu, 1 thread); B (cuda:0, 8 threads)" in " ".join(chart.notes)


def test_a_mean_is_over_what_most_settings_have_not_over_what_one_has():
    many = [f"c{n}" for n in range(15)]
    wide = [made(CRD, c) for c in many]
    narrow = [made(f"{PADIM} method.dims={dims}", c) for dims in (10, 20, 30) for c in ("c3", "c4")]
    assert shared(subjects([*wide, *narrow])) == {"demo": ("c3", "c4")}
    three = [
        made(words, c)
        for words, own in ((CRD, "abc"), (PADIM, "bcd"), (f"method=spade {LITE}", "bc"))
        for c in own
    ]
    assert shared(subjects(three)) == {"demo": ("b", "c")}


def test_a_category_that_is_called_mean_is_a_category(tmp_path):
    records = [saved(tmp_path, made(CRD, c, image=v)) for c, v in (("mean", 0.9), ("b", 0.7))]
    found = {(row.category, row.is_mean): row for row in board(subjects(records), tmp_path).rows}
    texts = {key: row.cells["image_auroc"].text for key, row in found.items()}
    assert texts == {
        ("mean over categories", True): "80.0",
        ("mean", False): "90.0",
        ("b", False): "70.0",
    }
    assert found["mean", False].anchor == records[0].id


def test_the_best_setting_of_a_method_is_so_in_the_mean_of_its_seeds(tmp_path):
    jl = f"method=padim_jl {LITE}"
    records = [
        saved(tmp_path, made(f"{jl} method.dims={dims}", "grid", seed=n, image=value))
        for dims, values in ((20, (0.99, 0.5, 0.5)), (30, (0.8, 0.8, 0.8)))
        for n, value in enumerate(values)
    ]
    (chart,), _ = curves(subjects(records), scored(records, tmp_path))
    assert [line[0] for line in chart.table[1]] == ["padim_jl, dims 30, seed 0"]


def test_raw_scores_that_cannot_be_read_are_told_once(tmp_path):
    folder = tmp_path / "records"
    good, bad = saved(folder, made(PADIM, "bottle")), saved(folder, made(CRD, "bottle"))
    with (folder / f"{bad.name}.scores.csv").open("ab") as file:
        file.write(b"x")
    page = gather(tmp_path, Wanted(), "adbench report", CONFIGS)
    (told,) = [text for text in page.about if f"{bad.name}.scores.csv" in text]
    assert told.startswith("The raw scores of 1 records cannot be read")
    assert [line[0] for line in page.curves[0].table[1]] == ["padim"]
    assert good.id != bad.id


def test_weights_tell_settings_apart_by_the_word_that_chose_them():
    own = made(CRD, "bottle")
    other = replace(
        own,
        weights={**own.weights, "setting": "w1.pth", "sha256": "00"},
        identity={**own.identity, "backbone": {**own.identity["backbone"], "sha256": "00"}},
    )
    names = {subject.name for subject in subjects([own, other])}
    assert names == {f"crd, weights {own.weights['setting']}", "crd, weights w1.pth"}


def test_a_time_from_a_busy_machine_is_marked_with_its_reason(tmp_path):
    machine = {"cores": 2, "threads": 2}
    quiet = replace(made(PADIM, "bottle"), environment={**machine, "load": {"others": 0.0}})
    busy = replace(made(CRD, "bottle"), environment={**machine, "load": {"others": 1.9}})
    settings = subjects([saved(tmp_path, quiet), saved(tmp_path, busy)])
    shown = board(settings, tmp_path)
    cells = {row.method: row.cells["inference_time_s"] for row in shown.rows}
    assert (cells["padim"].busy, cells["crd"].busy, shown.busy) == (False, True, True)
    assert "busy" in cells["crd"].note
    (note,) = speed(settings).notes
    assert "too long: crd" in note


@given(
    st.lists(st.tuples(st.floats(60, 400), st.floats(30, 250)), min_size=1, max_size=20),
    st.booleans(),
)
def test_numbers_beside_marks_cover_no_mark_and_no_other_number(points, wide):
    numbers = [str(n + (100 if wide else 1)) for n in range(len(points))]
    boxes = [
        (x, y - TALL, x + DIGIT * len(number), y)
        for number, place in zip(numbers, places(points, numbers), strict=True)
        if place is not None
        for x, y in [place]
    ]
    boxes += [(x - HALF, y - HALF, x + HALF, y + HALF) for x, y in points]
    shown = len(boxes) - len(points)
    assert places(points[:1], numbers[:1]) != [None]
    for number, a in enumerate(boxes[:shown]):
        for b in boxes[number + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_mean_is_over_the_categories_that_most_settings_have(tmp_path):
    records = [
        saved(tmp_path, made(words, category, image=image))
        for words, values in (
            (PADIM, {"bottle": 0.9, "grid": 0.8}),
            (CRD, {"bottle": 0.7, "grid": 0.6, "screw": 0.1}),
            (f"method=spade {LITE}", {"bottle": 0.99}),
        )
        for category, image in values.items()
    ]
    means = rows(board(subjects(records), tmp_path), "mean")
    assert {name: row.cells["image_auroc"].text for name, row in means.items()} == {
        "padim": "85.0",
        "crd": "65.0",
    }
    assert "bottle, grid" in means["crd"].cells["image_auroc"].reason


def test_accuracies_with_random_weights_are_not_shown(tmp_path):
    random = saved(tmp_path, made(f"{PADIM} backbone.weights=random", "bottle"))
    good = saved(tmp_path, made(CRD, "bottle"))
    own = rows(board(subjects([random, good]), tmp_path), "bottle")
    (cells,) = (row.cells for row in own.values() if row.method == "padim")
    assert cells["image_auroc"].value is None
    assert "never trained" in cells["image_auroc"].reason
    assert cells["inference_time_s"].value == pytest.approx(20)
    assert curves(subjects([random]), scored([random], tmp_path)) == ([], "")
    assert "random weights" in about(subjects([random, good]), [])[-1]


def test_other_images_are_compared_by_intervals_and_the_reason_is_said(tmp_path):
    a = saved(tmp_path, made(PADIM, "bottle", image=0.95))
    b = saved(tmp_path, made(CRD, "bottle", image=0.94, images="other"))
    own = rows(board(subjects([a, b]), tmp_path), "bottle")
    cell = own["crd"].cells["image_auroc"]
    assert cell.within  # 0.92 to 0.95 meets 0.93 to 0.96
    assert "different images" in cell.reason


def test_the_choice_is_the_fastest_of_those_that_the_noise_does_not_tell_apart(tmp_path):
    settings = (
        (PADIM, 0.95, 3.0, 0.08),
        (CRD, 0.94, 2.9, 0.02),
        (f"method=spade {LITE}", 0.5, 0.0, 0.01),
    )
    records = [
        saved(tmp_path, made(words, "grid", image=image, seconds=seconds), gap, noise=1)
        for words, image, gap, seconds in settings
    ]
    head, (line,) = board(subjects(records), tmp_path).choices
    found = dict(zip(head, line, strict=True))
    assert found["by"] == "padim"
    assert found["not told from it"] == "2 of 3"
    assert (found["fastest of these"], found["ms"]) == ("crd", "20.0")
    assert "found, %" not in head  # no run had a threshold


def test_what_thresholds_promise_and_give_is_shown_beside_the_choice(tmp_path):
    threshold = {
        "kind": "folds",
        "value": 1.5,
        "alpha": 0.05,
        "promised": {"mean": 0.048, "low": 0.023, "high": 0.08},
        "false_positive_rate": 0.1,
        "false_positive_interval": [0.01, 0.32],
        "true_positive_rate": 0.75,
        "true_positive_interval": [0.6, 0.9],
    }
    first, second = made(PADIM, "grid", image=0.95), made(CRD, "grid", image=0.94)
    first = replace(first, threshold=threshold, folds={"number": 5, "wanted": 5})
    settings = subjects([saved(tmp_path, first), saved(tmp_path, second)])
    head, (line,) = threshold_lines(settings)
    assert line == [
        *("demo: grid", "padim", "5 folds, alpha 0.05", "4.8% (2.3 to 8.0)"),
        f"10.0% (1.0 to 32.0) of {first.counts['test'] - first.counts['anomalous']}",
        f"75.0% (60.0 to 90.0) of {first.counts['anomalous']}",
    ]
    assert len(head) == len(line)
    head, (choice,) = board(settings, tmp_path).choices
    found = dict(zip(head, choice, strict=True))
    taken = {"padim": ("75.0", "10.0"), "crd": ("\N{EN DASH}",) * 2}
    assert (found["found, %"], found["false alarms, %"]) == taken[found["fastest of these"]]


# Charts


def test_the_front_holds_what_no_other_setting_beats_in_both(tmp_path):
    points = {"padim": (0.010, 0.90), "spade": (0.020, 0.80), "crd": (0.030, 0.95)}
    records = [
        made(f"method={name} {LITE}", category, seconds=s, image=v)
        for name, (s, v) in points.items()
        for category in ("bottle", "grid")
    ]
    chart = speed(subjects(records))
    assert chart is not None
    head, lines = chart.table
    found = [dict(zip(head, line, strict=True)) for line in lines]
    image = {row["setting"]: FRONT in row["image AUROC, %"] for row in found}
    assert image == {"padim": True, "spade": False, "crd": True}
    assert [row["ms per image"] for row in found[:3]] == ["10.0", "20.0", "30.0"]
    assert speed(subjects([replace(r, time={}) for r in records])) is None


def test_a_setting_that_was_swept_is_an_axis_with_a_line_for_each_other_setting():
    records = [
        made(f"{words} method.ratio={ratio}", "bottle", image=0.9 + ratio / 10)
        for words in (f"method=patchcore {LITE}", f"method=patchcore {LITE} method.layers=[2]")
        for ratio in (0.01, 0.1, 0.5)
    ]
    (chart,) = sweeps(subjects([*records, made(CRD, "bottle")]))
    head, lines = chart.table
    assert head[:3] == ["line", "method.ratio", "image AUROC, %"]
    assert [line[1] for line in lines] == ["0.01", "0.1", "0.5"] * 2
    assert {line[0] for line in lines} == {"patchcore, layers [2,3]", "patchcore, layers [2]"}
    assert lines[2][2] == "95.0 (93.0 to 96.0)"
    assert not sweeps(subjects(records[:2]))  # two values make no curve
    labels = dict(reversed(records[1].labels.items()))
    turned = [records[0], replace(records[1], labels=labels), *records[2:]]
    assert sweeps(subjects([*turned, made(CRD, "bottle")])) == [chart]
    apart = [made(f"{CRD} method.lambda_={v}", c) for v, c in ((1, "bottle"), (2, "grid"))]
    assert not sweeps(subjects([*apart, made(f"{CRD} method.lambda_=3", "bottle")]))


def test_curves_draw_the_best_setting_of_each_method(tmp_path):
    records = [
        saved(tmp_path, made(f"{PADIM} method.dims={dims}", "bottle", image=image))
        for dims, image in ((25, 0.7), (50, 0.8))
    ]
    records.append(saved(tmp_path, made(CRD, "bottle", image=0.6)))
    (chart,), left = curves(subjects(records), scored(records, tmp_path))
    assert not left
    assert [line[0] for line in chart.table[1]] == ["padim, dims 50", "crd"]
    assert chart.svg.count("<svg") == 2 + 2  # two panels, two entries of the key


def test_a_method_has_one_look_and_perfect_categories_have_no_curves(tmp_path):
    records = [
        saved(tmp_path, made(f"method={name} {LITE}", category, image=value))
        for category, values in (("bottle", (1.0, 1.0)), ("grid", (0.7, 0.9)))
        for name, value in zip(("crd", "padim"), values, strict=True)
    ]
    settings = subjects(records)
    (chart,), left = curves(settings, scored(records, tmp_path))
    assert (chart.title, left) == (
        "grid (demo)",
        "Every method reaches an image AUROC of 100 on bottle (demo).",
    )
    keys = re.findall(r'line s(\d)"[^>]*/><path class="mark s\1"[^>]*/></svg> (\w+)', chart.svg)
    assert dict(keys) == {"1": "padim", "0": "crd"}
    assert looks_of(settings) == {"crd": 0, "padim": 1}


def test_a_long_title_is_cut_and_told_whole():
    long = "dataset " * 20
    svg = drawing("a", "", [Panel(long, Axis("x", [1, 2]), Axis("y", [1, 2]), [])], [])
    shown = ET.fromstring(f"<div>{svg}</div>").find(".//text[@class='label head']").text
    assert len(shown) < 60
    assert shown.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert f'<title id="a-0-t">{long}</title>' in svg


@pytest.mark.fault("name", shows="inert")
def test_a_drawing_is_sound_and_every_text_stays_text():
    series = Series(9, [Mark(1, 2, 1, 3, HOSTILE, "1"), Mark(1000, 4, 3, 5, HOSTILE)])
    panel = Panel(HOSTILE, Axis(HOSTILE, [1, 1000]), Axis(HOSTILE, [1, 5]), [series])
    svg = drawing("a", HOSTILE, [panel], [(9, HOSTILE)])
    root = ET.fromstring(f"<div>{svg}</div>")
    assert not list(root.iter("img"))
    texts = [element.text for element in root.iter() if element.text]
    assert (
        texts.count(HOSTILE) == 6 + 1
    )  # title, desc, heading, two axes, two marks; the key is a tail
    (picture,) = (s for s in root.iter("svg") if s.get("role") == "img")
    ids = picture.get("aria-labelledby").split()
    assert [e.get("id") for e in picture.iter() if e.get("id")] == ids


def test_marks_lie_where_the_axes_say():
    series = Series(0, [Mark(x, y) for x, y in ((0, 0), (1, 1), (0.5, 0.25))], joined=False)
    ends = (0.0, 1.0)
    panel = Panel("p", Axis("x", ends, ends=ends), Axis("y", ends, ends=ends), [series])
    places = re.findall(
        r"translate\(([\d.]+) ([\d.]+)\)\" d=\"M-4 0a4", drawing("a", "b", [panel], [])
    )
    (left, low), (right, high), (x, y) = [(float(a), float(b)) for a, b in places]
    assert low > high  # pictures count down
    assert x == pytest.approx((left + right) / 2, abs=0.1)
    assert y == pytest.approx(low + 0.25 * (high - low), abs=0.1)


# Decisions and pictures


def test_the_best_threshold_has_the_largest_f1_of_all():
    random = np.random.default_rng(3)
    labels = random.random(60) < 0.4
    values = np.round(random.normal(size=60) + labels, 1)  # with ties
    scores = [
        ImageScore(str(i), "cut", bool(a), float(v))
        for i, (a, v) in enumerate(zip(labels, values, strict=True))
    ]
    judged = by_best(scores)
    best = max(f1_score(labels, values >= t) for t in values)
    assert f1_score(labels, values > judged.threshold) == pytest.approx(best)
    assert by_best([s for s in scores if s.anomalous]).threshold is None


def test_missed_defects_are_counted_by_type(tmp_path):
    record = made(PADIM, "bottle", counts=(5, 7))
    scores = {"good": [0.1, 0.2, 0.3], "cut": [0.9, 0.8], "dent": [0.7, 0.0]}
    every = [
        ImageScore(f"test/{d}/{i}.png", d, d != "good", v)
        for d, values in scores.items()
        for i, v in enumerate(values)
    ]
    record = load(save(tmp_path, replace(record, counts={**record.counts, "anomalous": 4}), every))
    dent, cut = defect_lines(subjects([record]), scored([record], tmp_path))
    assert (dent.defect, dent.images, dent.missed) == ("dent", 2, 0.5)
    assert (cut.defect, cut.missed, cut.least_by) == ("cut", 0.0, "padim")


def pictures(results, record, count, plan="12345678"):
    """Pictures as a run leaves them, of the first images in their order."""
    scores = load_scores(results / "records", record)
    labels, values = raw.arrays(scores)
    judged = Judged(values, labels, record.threshold.get("value"))
    names = (record.labels[part] for part in ("dataset", "method", "backbone"))
    folder = results / "heatmaps" / "-".join([*names, plan]) / record.category
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number, place in enumerate(in_order(judged)[:count], 1):
        name = picture_name(number, judged.verdict(place).word, scores[place].name)
        noise = random.integers(0, 255, (40, 80, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def with_threshold(record, value):
    return replace(record, threshold={"value": value, "kind": "folds", "alpha": 0.05})


def test_pictures_are_those_of_the_record_with_wrong_decisions_first(tmp_path):
    records = [
        saved(
            tmp_path / "records",
            with_threshold(made(f"{PADIM} method.dims={d}", "bottle"), 0.5),
            noise=d,
        )
        for d in (25, 50)
    ]
    for record in records:  # two settings with the same presets, and so folders of the same kind
        pictures(tmp_path, record, 10, plan=record.id[:8])
    groups, note = gallery(
        subjects(records),
        tmp_path,
        Wanted(pictures=8, size=64),
        scored(records, tmp_path / "records"),
    )
    assert {group.anchor for group in groups} == {record.id for record in records}
    for group in groups:
        assert len(group.pictures) == 8
        record = next(r for r in records if r.id == group.anchor)
        scores = {s.name: s for s in load_scores(tmp_path / "records", record)}
        for picture in group.pictures:
            score = scores[picture.name]
            assert picture.defect == score.defect
            assert picture.wrong == ((score.score > 0.5) != score.anomalous)
            assert picture.src.startswith("data:image/webp;base64,")
            assert (picture.width, picture.height) == (64, 32)
        wrong = [picture.wrong for picture in group.pictures]
        assert wrong == sorted(wrong, reverse=True)
    assert "16 of the 20 pictures" in note


def test_the_limit_takes_equally_from_all_records(tmp_path):
    records = [
        saved(tmp_path / "records", made(PADIM, c), noise=n)
        for n, c in enumerate(("bottle", "grid"))
    ]
    for record in records:
        pictures(tmp_path, record, 12)
    groups, note = gallery(
        subjects(records),
        tmp_path,
        Wanted(size=80, limit=0.02),
        scored(records, tmp_path / "records"),
    )
    taken = [len(group.pictures) for group in groups]
    assert max(taken) - min(taken) <= 1
    assert 0 < sum(len(p.src) for g in groups for p in g.pictures) <= 20_000
    assert f"{sum(taken)} of the 24" in note
    assert "limit=MB" in note


def test_pictures_of_another_run_are_not_taken(tmp_path):
    record = saved(tmp_path / "records", made(PADIM, "bottle"), noise=1)
    folder = pictures(tmp_path, record, 5)
    first = min(folder.iterdir())
    first.rename(folder / "001_defect_of_another.png")
    assert (
        gallery(subjects([record]), tmp_path, Wanted(), scored([record], tmp_path / "records"))[0]
        == []
    )


def test_files_that_no_run_wrote_are_not_looked_at(tmp_path):
    record = saved(tmp_path / "records", made(PADIM, "bottle"), noise=1)
    folder = pictures(tmp_path, record, 5)
    for name in ("._001_defect_a.png", "my notes.png"):
        (folder / name).write_bytes(b"")
    (group,), _ = gallery(
        subjects([record]), tmp_path, Wanted(), scored([record], tmp_path / "records")
    )
    assert len(group.pictures) == 5


@pytest.mark.parametrize("damage", ["text", "chunk"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, damage):
    record = saved(tmp_path / "records", made(PADIM, "bottle"))
    broken = min(pictures(tmp_path, record, 2).iterdir())
    content = b"no picture"
    if damage == "chunk":  # Pillow raises SyntaxError
        content = broken.read_bytes().replace(b"IDAT", b"ID\0T", 1)
    broken.write_bytes(content)
    with pytest.raises(AdbenchError, match=re.escape(broken.name)):
        gallery(subjects([record]), tmp_path, Wanted(), scored([record], tmp_path / "records"))


# Verdicts


def test_a_number_beside_the_printed_one_has_a_verdict_in_words(tmp_path):
    words = "experiment=roth2022 method.ratio=0.25"
    record = saved(tmp_path, made(words, "grid", image=0.5))
    tables, left = published([record], CONFIGS)
    table = next(t for t in tables if t.name == "roth2022_s1")
    line = next(line for line in table.lines if line.category == "grid")
    assert line.measured == "50.00"
    assert float(line.difference) == pytest.approx(50 - float(line.published))
    assert (line.kind, line.symbol) == ("outside", "✗")
    assert line.verdict.startswith("outside ±3")
    assert "zhang2021_table1" in left
    assert "no measured one" in table.left


def test_numbers_with_another_backbone_say_where_the_reason_stands(tmp_path):
    words = f"experiment=roth2022 method.ratio=0.25 {LITE} method.embedding.kind=concat"
    tables, _ = published([saved(tmp_path, made(words, "grid"))], CONFIGS)
    table = next(t for t in tables if t.name == "roth2022_s1")
    assert {line.kind for line in table.lines} == {"none"}
    assert all(line.row.endswith("*") for line in table.lines)
    assert any("efficientnet_lite0 in place of wide_resnet50" in note for note in table.notes)
    assert "can be compared, because they are measured with another setting" in " ".join(
        about(subjects([]), tables)
    )


def test_claims_without_a_record_come_last(tmp_path):
    lines = claim_lines([saved(tmp_path, made(PADIM, "bottle"))], tmp_path, CONFIGS)
    assert lines
    assert {line.symbol for line in lines if line.verdict == "not run"} == {"\N{EN DASH}"}
    assert [line.verdict == "not run" for line in lines] == sorted(
        line.verdict == "not run" for line in lines
    )


# Records


@pytest.mark.parametrize(
    "words",
    [
        PADIM,
        f"{PADIM} method.dims=25 geometry=crop224_lanczos",
        f"method=patchcore {LITE} method.layers=[2] method.ratio=0.5",
        f"method=crd {LITE} method.lambda_=0.5 backbone.precision=bf16",
        f"{PADIM} backbone.weights=random",
        "method=spade backbone=wide_resnet50",
    ],
)
def test_the_command_of_a_record_repeats_its_setting(words):
    record = made(words, "bottle", seed=3)
    command, doubt = Repeats(CONFIGS).command(record)
    assert not doubt
    program, run, *typed = shlex.split(command)
    assert (program, run) == ("adbench", "run")
    matching = Matching([record], CONFIGS)
    assert matching.measured(matching.setting(typed), record)
    assert "dataset.categories=[bottle]" in typed
    assert ("seed=3" in typed) == ("seed" in str(record.identity))
    threshold = {"kind": "folds", "alpha": 0.05}
    dealt = replace(record, threshold=threshold, folds={"wanted": 5, "seed": 3})
    assert "seed=3" in shlex.split(Repeats(CONFIGS).command(dealt)[0])


def test_a_tool_is_named_and_its_command_is_that_which_scores_it(tmp_path):
    run = saved(tmp_path, made(PADIM, "bottle"))
    tool = {"name": HOSTILE, "version": "1.0", "note": "", "sha256": "1234"}
    parts = {n: v for n, v in run.identity.items() if n in ("dataset", "category", "geometry")}
    labels = {**run.labels, "method": HOSTILE, "backbone": "given"}
    given = saved(tmp_path, replace(run, identity={**parts, "given": tool}, labels=labels, time={}))
    names = {s.method: s.name for s in subjects([run, given])}
    assert names[HOSTILE] == f"{HOSTILE}, given"
    command, doubt = Repeats(CONFIGS).command(given)
    assert shlex.split(command)[1:3] == ["score", "FOLDER"]
    assert {f"name={HOSTILE}", "version=1.0"} <= set(shlex.split(command))
    assert not doubt
    assert len(board(subjects([run, given]), tmp_path).rows) == 2
    assert "through 1 backbone gave 2 records" in about(subjects([run, given]), [])[0]


def test_the_command_of_a_tool_says_how_its_maps_are_read(tmp_path):
    run = made(PADIM, "null")
    rule = {"maps": "of the crop, resized bilinearly", "scores": "given", "more anomalous": "lower"}
    tool = {"name": "a", "version": "1", "rule": rule, "sha256": "12"}
    parts = {n: v for n, v in run.identity.items() if n in ("dataset", "category", "geometry")}
    record = replace(run, identity={**parts, "given": tool})
    words = shlex.split(Repeats(CONFIGS).command(record)[0])
    assert {"scores=FILE", "sign=lower", "covers=crop", "geometry=crop224"} <= set(words)
    assert "dataset.categories=['null']" in words  # null alone would be no text


def test_the_command_of_a_saved_detector_names_its_file():
    run = made(PADIM, "bottle")
    for runtime, more in (("torch", set()), ("openvino", {"runtime=openvino"})):
        own = {"saved": {"training": "1", "runtime": runtime}}
        command, doubt = Repeats(CONFIGS).command(replace(run, identity={**run.identity, **own}))
        words = set(shlex.split(command))
        assert not doubt
        assert {"detector=FILE", "dataset.categories=[bottle]"} | more <= words
        assert not any(word.startswith("method=") for word in words)


def test_a_record_of_another_version_is_no_match_and_breaks_nothing():
    run = made(PADIM, "bottle")
    for part in ("method", "geometry"):
        own = dict(run.identity[part])
        place = own.get("settings", own)
        changed = {**place, "of_another_version": 1}
        other = {**own, "settings": changed} if "settings" in own else changed
        record = replace(run, identity={**run.identity, part: other})
        _, doubt = Repeats(CONFIGS).command(record)
        assert doubt
        published([record], CONFIGS)


def test_a_preset_that_changed_is_said():
    record = made(PADIM, "bottle")
    identity = {**record.identity, "method": {**record.identity["method"], "class": "Another"}}
    changed = replace(record, identity=identity)
    view = record_view(changed, "padim", Repeats(CONFIGS))
    assert "method" in dict(view.facts)["the command"]


def test_stages_are_milliseconds_and_shares_of_one_image():
    seconds = {
        "decode": 9.0, "preprocess": 0.002, "backbone": 0.003, "distance": 0.004, "score": 0.005,
        "total": 0.010, "batched": 1.0,
    }  # fmt: skip
    record = replace(
        made(PADIM, "bottle"), time={n: {"p50": s, "p95": s} for n, s in seconds.items()}
    )
    assert stages(record) == [
        ("preprocess", pytest.approx(2), pytest.approx(0.2)),
        ("backbone", pytest.approx(3), pytest.approx(0.3)),
        ("distance", pytest.approx(4), pytest.approx(0.4)),
        ("rest of the method", pytest.approx(1), pytest.approx(0.1)),
    ]
    assert stages(replace(record, time={})) == []


# The commands


def hostile(folder):
    """Records whose category and image are named like markup."""
    record = made(PADIM, HOSTILE, counts=(4, 10))
    return saved(folder / "records", record)


@pytest.mark.fault("name", shows="inert")
def test_report_writes_one_file_in_which_names_are_text_and_nothing_is_loaded(tmp_path, capsys):
    hostile(tmp_path)
    out = tmp_path / "page" / "own.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", f"results={tmp_path}", f"out={out}", "pictures=0"])
    assert ended.value.code == 0
    assert str(out) in capsys.readouterr().out
    text = out.read_text()
    assert HOSTILE not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert f"adbench report results={tmp_path}" in text


def test_the_page_lies_with_the_results_where_no_file_is_named(tmp_path, monkeypatch):
    hostile(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["report", "results=own", "pictures=0"])
    assert ended.value.code == 0
    assert [path.parent for path in tmp_path.rglob("*.html")] == [tmp_path / "own"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("outt=a.html", "did you mean out=?"),
        ("pictures=-1", "pictures=-1: is a whole number from 0"),
        ("pictures=1.5", "is a whole number"),
        ("picture_size=8", "from 64 to 4096"),
        ("limit=nan", "limit=nan: is a number from 0"),
        ("out=", "must be followed by a value"),
        ("out=.", "is a folder"),
        ("out=records/one.json", "the name of a page ends in .html"),
        ("out=page", "the name of a page ends in .html"),
        ("results=nowhere", "no records there"),
    ],
)
def test_wrong_words_of_report_are_named(tmp_path, monkeypatch, capsys, word, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["report", word])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_report_true_or_false_is_said_before_any_work(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "report=maybe"])
    assert ended.value.code == 2
    assert "report=true or report=false" in capsys.readouterr().err


def test_plot_draws_a_published_table_in_every_format(tmp_path, capsys):
    saved(tmp_path / "records", made("experiment=roth2022 method.ratio=0.25", "grid"))
    words = ["plot", "table=roth2022_s1", f"results={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--format", "svg,pdf,png"])
    assert ended.value.code == 0
    files = capsys.readouterr().out.split()
    assert [file.rsplit(".", 1)[-1] for file in files] == ["svg", "pdf", "png"]
    assert (tmp_path / "figures" / "roth2022_s1.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--x", "method.ratio"])
    assert ended.value.code == 2
    assert "leave them out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_ends_with_its_page_and_a_run_names_the_command(tmp_path):
    words = ["dataset=demo", "dataset.categories=[denim]", *SMALL[1:], "method=patchcore"]
    done = adbench(tmp_path, "run", "-m", *words, "method.ratio=0.01,0.1", "report=true")
    assert "runs/report.html" in done.stdout.splitlines()[-1]
    page = gather(tmp_path / "runs", Wanted(), "again", CONFIGS)
    assert [len(group.pictures) for group in page.gallery] == [2, 2]
    assert len(page.records) == 2
    again = adbench(tmp_path, *shlex.split(page.records[0].command)[1:], *words[2:-1])
    assert again.stdout.splitlines()[-1] == "page of all results: adbench report results=runs"
    assert len(list((tmp_path / "runs" / "records").glob("*.json"))) == 2  # it was there
