import csv
from dataclasses import replace
from pathlib import Path

import pytest
from made_records import CONFIGS, made, saved

import adbench
from adbench.evaluation.intervals import Difference
from adbench.reports import claims
from adbench.reports.claims import load_claims, to_markdown
from adbench.reports.verdicts import of_difference

LITE = "backbone=efficientnet_lite0"
CLAIMS = {claim.id: claim for claim in load_claims()}


def judge(claim, records, folder, overrides=()):
    return claims.judge(claim, records, folder, overrides, CONFIGS)


def both(folder, name, gaps, extra=LITE, **sides):
    """Records of the two sides of a claim on bottle and grid."""
    test = CLAIMS[name].test
    return [
        saved(
            folder,
            made(
                f"{words} {test.elsewhere if extra else ''} {extra}",
                category,
                **sides.get(side, {}),
            ),
            gap=gap,
            noise=noise,
        )
        for noise, (side, words, gap) in enumerate(
            (("a", test.a, gaps[0]), ("b", test.b[0], gaps[1]))
        )
        for category in ("bottle", "grid")
    ]


def test_every_claim_has_a_test_and_its_printed_values():
    with (Path(adbench.__file__).parent / "reports" / "published" / "claims.csv").open(
        newline=""
    ) as file:
        assert [line["id"] for line in csv.DictReader(file)] == list(CLAIMS)
    assert CLAIMS["crd_time"].printed == (1.0, 274.0)
    assert all(claim.test.b or claim.test.missing for claim in CLAIMS.values())


@pytest.mark.parametrize("name", CLAIMS)
def test_without_records_nothing_is_run(name, tmp_path):
    finding = judge(CLAIMS[name], [], tmp_path)
    assert finding.verdict == "not run"
    assert finding.effect == ""


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [((5.0, 0.0), "supported"), ((0.0, 5.0), "contradicted"), ((1.0, 1.0), "inconclusive")],
)
def test_a_direction_needs_more_than_the_noise(tmp_path, gaps, verdict):
    finding = judge(CLAIMS["jl_resnet18"], both(tmp_path, "jl_resnet18", gaps), tmp_path)
    assert finding.verdict == verdict
    assert (
        finding.why
        == "on bottle, grid; measured with backbone efficientnet_lite0 in place of resnet18"
    )


def test_close_needs_the_whole_interval_inside_the_margin(tmp_path):
    assert (
        judge(CLAIMS["one_percent"], both(tmp_path, "one_percent", (9.0, 0.0)), tmp_path).verdict
        == "contradicted"
    )
    assert (
        judge(CLAIMS["one_percent"], both(tmp_path, "one_percent", (1.0, 1.0)), tmp_path).verdict
        == "inconclusive"
    )


@pytest.mark.parametrize(
    ("expect", "verdicts"),
    [
        ("equal", ["supported", "contradicted"]),
        ("close", ["contradicted", "supported"]),
    ],  # printed: 97.5 and 96.7
)
def test_equal_is_about_zero_and_close_about_the_printed_difference(expect, verdicts):
    claim = replace(
        CLAIMS["coreset_flat"], test=replace(CLAIMS["coreset_flat"].test, expect=expect, margin=0.3)
    )
    measured = [Difference(d, d - 0.001, d + 0.001, 0.5) for d in (0.0, 0.008)]
    assert [of_difference(claim, d) for d in measured] == verdicts
    assert CLAIMS["coreset_flat"].test.expect == "equal"
    assert CLAIMS["crd_image"].expected == "a - b within 1 point of the printed -1.4"


def test_each_claim_says_what_it_needs():
    assert CLAIMS["clip_time"].expected == "a below b"
    assert CLAIMS["jl_150"].expected == "a and b within 0.4 points of each other"
    assert CLAIMS["crd_lambda"].expected == "a above each b, beyond the noise"
    assert CLAIMS["crd_memory"].expected == "b / a at least 0.9 of the printed 1.54"


@pytest.mark.parametrize(
    ("own", "verdict", "effect"),
    [
        (0.001, "contradicted", "b / a 200 (200 to 200)"),
        (0.0005, "supported", "b / a 400 (400 to 400)"),
    ],
)
def test_a_ratio_must_reach_the_printed_one(tmp_path, own, verdict, effect):
    extra = "backbone=wide_resnet50 backbone.weights=random"
    records = both(tmp_path, "crd_time", (1, 1), extra, a={"distance": own}, b={"distance": 0.2})
    finding = judge(CLAIMS["crd_time"], records, tmp_path)
    assert (finding.verdict, finding.effect) == (verdict, effect)
    assert "random weights" in finding.why


def test_costs_that_differ_by_category_are_within_noise(tmp_path):
    records = both(tmp_path, "coreset_time", (1, 1))
    seconds = {"bottle": (0.03, 0.01), "grid": (0.01, 0.03)}
    for i, record in enumerate(records):
        record.time["total"]["p50"] = seconds[record.category][i // 2]
    finding = judge(CLAIMS["coreset_time"], records, tmp_path)
    assert (finding.verdict, finding.effect) == ("inconclusive", "a / b 1 (0.333 to 3)")


def test_the_best_of_several_must_beat_each(tmp_path):
    test = CLAIMS["crd_lambda"].test
    records = [
        saved(tmp_path, made(f"{words} {LITE}", "bottle"), gap=gap, noise=noise)
        for noise, (words, gap) in enumerate(
            zip([test.a, *test.b], (1, -3, -3, -3, -3), strict=True)
        )
    ]
    assert judge(CLAIMS["crd_lambda"], records, tmp_path).verdict == "supported"
    records[3] = saved(tmp_path, records[3], gap=9, noise=9)  # lambda 3
    finding = judge(CLAIMS["crd_lambda"], records, tmp_path)
    assert finding.verdict == "contradicted"
    assert "weakest against `experiment=han2024 method.lambda_=3`" in finding.why


def test_a_claim_about_weights_needs_those_weights(tmp_path):
    finding = judge(CLAIMS["clip_pixel"], both(tmp_path, "clip_pixel", (2, 1)), tmp_path)
    assert (finding.verdict, finding.why) == (
        "not testable with these weights",
        "it compares clip and resnet50_a1",
    )
    exact = both(tmp_path, "clip_pixel", (5, 0), extra="")
    assert judge(CLAIMS["clip_pixel"], exact, tmp_path).verdict == "supported"


def test_sides_on_other_images_are_not_run(tmp_path):
    test = CLAIMS["jl_resnet18"].test
    records = [
        saved(tmp_path, made(f"{words} {LITE}", c))
        for words, c in ((test.a, "bottle"), (test.b[0], "grid"))
    ]
    finding = judge(CLAIMS["jl_resnet18"], records, tmp_path)
    assert (finding.verdict, finding.effect) == ("not run", "")
    assert "no category and seed in common" in finding.why


def test_more_dimensions_than_channels_are_not_testable(tmp_path):
    records = [saved(tmp_path, made(f"{CLAIMS['jl_150'].test.a} {LITE}", "bottle"))]
    finding = judge(CLAIMS["jl_150"], records, tmp_path)
    assert finding.verdict == "not testable with these weights"
    assert "more dimensions than its 176 channels" in finding.why


def test_the_page_counts_and_shows_every_claim(tmp_path):
    records = both(tmp_path, "jl_resnet18", (5.0, 0.0))
    findings = [judge(claim, records, tmp_path) for claim in CLAIMS.values()]
    page = to_markdown(findings)
    assert "Of 19 claims: ✔ 1 supported" in page
    assert all(claim.text in page for claim in CLAIMS.values())
    assert "| 96.9 against 96.7, pixel AUROC, % " in page
    assert "| 1 against 274, relative distance time " in page
    assert (
        "a: padim-jl resnet18 100; b: padim resnet18 100. Expected: a above b, beyond the noise."
        in page
    )


def test_incomplete_categories_give_no_verdict(tmp_path):
    test = CLAIMS["jl_resnet18"].test
    records = [
        saved(tmp_path, made(f"{words} {LITE}", category, counts=counts), gap=gap, noise=n)
        for n, (words, gap) in enumerate(((test.a, 5.0), (test.b[0], 0.0)))
        for category, counts in (("bottle", (8, 18)), ("grid", None))
    ]
    finding = judge(CLAIMS["jl_resnet18"], records, tmp_path)
    assert (finding.verdict, finding.why.partition(";")[0]) == ("supported", "on grid")
    finding = judge(CLAIMS["jl_resnet18"], records[::2], tmp_path)
    assert finding.verdict == "not run"
    assert finding.why.startswith("measured on 8 training and 18 test images; bottle of MVTec AD")
