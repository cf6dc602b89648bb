import csv
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from adbench.results import raw, thresholds
from adbench.results.records import Record
from adbench.results.spreadsheet import safe
from adbench.results.summary import (
    COLUMNS,
    lines,
    rivals_to_screen,
    to_csv,
    to_screen,
)
from adbench.results.sweep import sweep_csv, sweep_to_screen

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"


def record(category, auroc, seed=0, **more):
    return Record(
        identity={
            "category": category,
            "method": {"class": "PatchCore", "settings": {"seed": seed}},
        },
        labels={"method": "patchcore"},
        counts={"train": 3, "test": 2, "anomalous": 1},
        metrics={"image_auroc": auroc, "pixel_auroc": None},
        intervals={"image_auroc": [0.5, 1.0], "pixel_auroc": None},
        time={"total": {"p50": 0.0125, "p95": 0.02}},
        seconds={"fit": 1.5},
        memory={"state": 2_000_000},
        **more,
    )


def test_the_mean_row_is_over_the_categories():
    first, second, mean = lines([record("a", 0.5), record("b", 1.0)])
    assert [line["category"] for line in (first, second, mean)] == ["a", "b", "mean"]
    assert mean["image_auroc"] == 0.75
    assert mean["total_p50"] == 0.0125
    assert mean["image_auroc_low"] is None, "a mean of interval ends is no interval"
    assert first["pixel_auroc"] is None


def test_the_csv_is_plain_numbers_with_empty_cells():
    written = to_csv([record("a", 0.5)]).splitlines()
    assert written[0].split(",") == list(COLUMNS)
    cells = dict(zip(COLUMNS, written[1].split(","), strict=True))
    assert (cells["image_auroc"], cells["pixel_auroc"], cells["train"]) == ("0.500000", "", "3")
    assert (cells["state_bytes"], cells["total_p50"]) == ("2000000", "0.012500")


def test_the_screen_shows_percent_and_milliseconds():
    line = to_screen([record("a", 0.9512)]).splitlines()[2].split()
    assert line == ["a", "95.12", "-", "-", "12.5", "1.50", "2.0"]


def test_a_sweep_aggregates_seeds_and_counts_those_that_mattered():
    jobs = [
        ({"method": "x", "seed": str(s)}, [record("a", 0.90 + 0.02 * s, seed=s)]) for s in range(3)
    ]
    jobs += [({"method": "y", "seed": str(s)}, [record("a", 0.5)]) for s in range(3)]
    rows = [line.split() for line in sweep_to_screen(jobs).splitlines()[2:]]
    assert rows[0][:6] == ["x", "1", "3", "92.00", "±", "2.00"]
    assert rows[1][:4] == ["y", "1", "1", "50.00"]


def test_a_sweep_mixes_no_categories_where_a_seed_lacks_one():
    jobs = [
        ({"seed": "0"}, [record("a", 0.99), record("b", 0.60)]),
        ({"seed": "1"}, [record("a", 0.97, seed=1)]),
    ]
    jobs[0][1][0].time["total"]["p50"] = 0.010
    jobs[1][1][0].time.clear()
    head, _, line, *_ = sweep_to_screen(jobs).splitlines()
    found = dict(zip(re.split(r"  +", head.strip()), re.split(r"  +", line.strip()), strict=True))
    assert found["image AUROC"] == "79.00", "the mean of 98 and 60, over other images in each seed"
    assert found["pixel AUROC"] == "-"
    assert found["ms/image"] == "11.2", "the mean of 10 and 12.5"
    jobs[1][1].append(record("b", 0.64, seed=1))
    assert "80.00 ± 0.71" in sweep_to_screen(jobs)  # 79.5 and 80.5


def test_thresholds_of_any_size_lose_no_digit():
    found = {"kind": "folds", "value": 3.2123456789012e-8, "pixel_value": None, "alpha": 0.05}
    small = record("a", 0.9, threshold=found, folds={"number": 5})
    large = record("b", 0.9, threshold={**found, "value": 1234.5, "pixel_value": 1e-9})
    for text in (to_csv([small, large]), sweep_csv([({"x": "1"}, [small, large])])):
        first, second = itertools.islice(csv.DictReader(io.StringIO(text)), 2)
        assert float(first["threshold"]) == 3.2123456789012e-8
        assert (first["threshold_pixel"], first["threshold_alpha"]) == ("", "0.050000")
        assert (second["threshold"], second["threshold_pixel"]) == ("1234.5", "1e-09")


def test_a_sweep_shows_what_the_thresholds_give():
    rates = {"kind": "folds", "alpha": 0.05, "false_positive_rate": 0.1, "true_positive_rate": 0.73}
    jobs = [({"method": "x"}, [record("a", 0.9, threshold=rates, folds={"number": 5})])]
    jobs += [({"method": "y"}, [record("b", 0.9)])]
    head, _, first, second, *_ = sweep_to_screen(jobs).splitlines()
    assert head.split()[-5:] == ["false", "alarms", "%", "found", "%"]
    assert first.split()[-2:] == ["10.0", "73.0"]
    assert second.split()[-2:] == ["-", "-"]


def test_rivals_stand_beside_the_method():
    rival = {
        "multiply_adds_per_patch": 10,
        "time": {"distance": {"p50": 0.002}, "total": {"p50": 0.004}},
    }
    measured = record(
        "a", 0.5, work={"multiply_adds_per_patch": 1234, "rivals": {"neighbours": rival}}
    )
    lines = rivals_to_screen([measured]).splitlines()
    assert lines[2].split() == ["a", "patchcore", "nan", "12.50", "1,234"]
    assert lines[3].split() == ["a", "neighbours", "2.00", "4.00", "10"]
    assert rivals_to_screen([record("a", 0.5)]) == ""


@pytest.mark.skipif(not REFERENCE.exists(), reason="not in a checkout")
def test_the_reference_documents_every_column():
    text = REFERENCE.read_text()
    assert [
        f"| `{name}` | {meaning} |"
        for name, meaning in COLUMNS.items()
        if f"| `{name}` | {meaning} |" not in text
    ] == []


def test_a_dash_has_its_reason_below_the_table():
    why = {"time": "timing.enabled=false", "pixel_auroc": "no masks", "aupro": "no masks"}
    first = record("a", 0.5, reasons=why)
    shown = to_screen([replace(first, time={}), record("b", 0.5, reasons=why)])
    assert shown.splitlines()[-2:] == [
        "- pixel AUROC, AUPRO of a, b: no masks",
        "- ms/image of a: timing.enabled=false",
    ]


def test_accuracies_of_random_weights_are_marked_everywhere():
    drawn = record("a", 0.9512, weights={"setting": "random"})
    lines = to_screen([drawn]).splitlines()
    assert [line.split()[1] for line in lines[2:4]] == ["95.12*", "95.12*"]
    assert lines[2].split()[4] == "12.5", "times mean something"
    assert lines[-1].startswith("* random weights")
    head, first, _ = csv.reader(io.StringIO(to_csv([drawn])))
    assert first[head.index("weights")] == "random"
    swept = sweep_to_screen([({"x": "1"}, [drawn])])
    assert "95.12*" in swept
    assert swept.splitlines()[-1].startswith("* random weights")
    assert "*" not in to_screen([record("a", 0.9512, weights={"setting": "pretrained"})])


@pytest.mark.parametrize("name", ["=SUM(A1)", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1"])
@pytest.mark.fault("name", shows="inert")
def test_no_text_of_a_csv_is_a_formula(name):
    for text in (to_csv([record(name, 0.5)]), sweep_csv([({"x": name}, [record(name, 0.5)])])):
        _, first, *_ = csv.reader(io.StringIO(text, newline=""))
        assert f"'{name}" in first
        assert name not in first


@pytest.mark.fault("name", shows="inert")
def test_no_text_of_a_csv_breaks_its_line():
    assert safe("a\r=1\nb") == "a =1 b"
    assert safe("a\n") == "a "


BREAKS = ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("sign", BREAKS, ids=repr)
def test_a_name_breaks_no_row_of_a_csv(sign):
    found = record(f"a{sign}b", 0.5)
    for text in (to_csv([found]), sweep_csv([({"x": f"1{sign}2"}, [found])])):
        assert "a b" in text
        for rows in (text.splitlines(), list(csv.reader(io.StringIO(text, newline="")))):
            assert len(rows) == 2 + text.count("mean,")


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("sign", [*BREAKS, "\t", "\x1b"], ids=repr)
def test_a_name_breaks_no_row_on_the_screen(sign):
    name, shown = f"a{sign}b", f"a{repr(sign)[1:-1]}b"
    plain = record("plain", 0.5)
    found = replace(record(name, 0.5), threshold={"kind": "train"}, notes=["adapted"])
    found.reasons["threshold"] = "too few images"
    rival = {"rivals": {name: {"multiply_adds_per_patch": 1}}}
    for write in (
        lambda one: to_screen([one]),
        lambda one: thresholds.to_screen([replace(one, threshold=found.threshold)]),
        lambda one: rivals_to_screen([replace(one, work=rival)]),
        lambda one: sweep_to_screen([({one.category: one.category}, [one])]),
    ):
        text = write(found)
        assert shown in text
        assert clean(text)
    screen = to_screen([found]).splitlines()
    assert len(screen) == len(to_screen([replace(plain, notes=["adapted"])]).splitlines())
    assert f"- {shown}: adapted" in screen
    assert f"{shown}: too few images" in thresholds.to_screen([found])


def clean(text):
    """Whether nothing in a text steers a terminal, or breaks a line for some of its readers."""
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("text", ["-0.5", "+1e-3", "bottle", "", "-inf", "a=b"])
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert safe(text) == text


@pytest.mark.fault("name", shows="inert")
@pytest.mark.parametrize("sign", [*BREAKS, "\r\n", '"', ","], ids=repr)
def test_raw_numbers_keep_any_name(tmp_path, sign):
    """Before Python 3.13, ``csv`` quotes no carriage return, and then refuses to read it."""
    name = f"a{sign}b{sign}"
    scores = [raw.ImageScore(name, name, True, 0.5), raw.ImageScore("c", "good", False, 0.25)]
    folds = [raw.FoldScore(name, 1, 0.5, None)]
    for content, read, rows in (
        (raw.scores_csv(scores), raw.read_scores, scores),
        (raw.folds_csv(folds), raw.read_folds, folds),
    ):
        path = tmp_path / "raw.csv"
        path.write_bytes(content)
        assert read(path, raw.sha256(content)) == rows
    plain = raw.scores_csv([raw.ImageScore("c", "good", False, 0.25)])
    assert plain == b"name,defect,anomalous,score\nc,good,0,0.25\n"
