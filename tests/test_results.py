"""The committed results: pages rebuilt from the records byte for byte, an experiment run again."""

from pathlib import Path

import pytest

from adbench.bench.plan import plan
from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.config.compose import Configs
from adbench.reports import text as table_text
from adbench.reports.claims import judge, load_claims, to_markdown
from adbench.reports.compare import compare
from adbench.reports.compared import to_markdown as to_page
from adbench.reports.tables import table
from adbench.results import records

CONFIGS = Configs()
METHODS = ("patchcore", "padim", "padim_jl", "spade", "crd")
RESULTS = Path(__file__).parents[1] / "results"
pytestmark = pytest.mark.skipif(
    not RESULTS.is_dir(), reason="not in a checkout: there are no committed results"
)


@pytest.fixture(scope="module")
def measured():
    return records.load_all(RESULTS / "records")


@pytest.mark.parametrize("name", CONFIGS.choices("table"))
def test_a_committed_table_is_what_its_records_say(name, measured, tmp_path):
    built = table(name, measured, [], CONFIGS)
    assert built.present > 0
    for path in table_text.write(built, tmp_path):
        assert path.read_bytes() == (RESULTS / "published" / path.name).read_bytes(), path.name


def test_the_committed_claims_are_what_the_records_say(measured):
    page = to_markdown(
        [judge(c, measured, RESULTS / "records", [], CONFIGS) for c in load_claims()]
    )
    assert page == (RESULTS / "claims.md").read_text()


@pytest.mark.parametrize(
    ("page", "pairs"),
    [
        ("padim_against_padim_jl.md", [("method=padim", "method=padim_jl")]),
        ("bf16.md", [(f"method={m}", f"method={m} backbone.precision=bf16") for m in METHODS]),
    ],
)
def test_a_committed_comparison_is_what_the_records_say(page, pairs, measured):
    sides = [[f"{side} backbone=efficientnet_lite0" for side in pair] for pair in pairs]
    built = [to_page(compare([a, b], RESULTS / "records", measured, CONFIGS)) for a, b in sides]
    assert "".join(f"{text}\n" for text in built) == (RESULTS / page).read_text()


def test_every_record_has_its_raw_scores_and_says_what_it_was_measured_with(measured):
    for record in measured:
        assert len(records.load_scores(RESULTS / "records", record)) == record.counts["test"]
        assert records.load_pixels(RESULTS / "records", record).auroc() == pytest.approx(
            record.metrics["pixel_auroc"], abs=1e-6
        )
        assert record.environment["threads"]
        assert record.identity["backbone"]["sha256"]


@pytest.mark.slow
def test_a_committed_experiment_run_again_gives_its_numbers(measured, real_mvtec, tmp_path):
    overrides = [
        "dataset=mvtec",
        f"dataset.root={real_mvtec}",
        "dataset.categories=[bottle]",
        "method=padim",
    ]
    quick = [
        "timing.enabled=false",
        "heatmaps=0",
        f"results={tmp_path}",
        f"cache={tmp_path / 'cache'}",
    ]
    (outcome,) = run(Session([plan(CONFIGS.compose([*overrides, *quick]))], False))
    assert outcome.failures == {}
    (again,) = outcome.records
    committed = next(r for r in measured if r.identity == again.identity)
    for name in set(committed.metrics) - set(committed.reasons):
        value = committed.metrics[name]
        assert again.metrics[name] == pytest.approx(value, abs=1e-4), name
