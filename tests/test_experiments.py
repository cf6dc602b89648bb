import pytest

from adbench.build import build
from adbench.compose import choices, compose
from adbench.reports.matching import setting
from adbench.reports.tables import load_spec

PARTS = ("dataset", "geometry", "backbone", "method")


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_composes_and_builds(name):
    config = compose([f"experiment={name}", "dataset.root=there"])
    parts = {part: build(config[part], part) for part in PARTS}
    assert parts["dataset"].name == "mvtec"
    assert parts["dataset"].root == "there"


@pytest.mark.parametrize("name", choices("table"))
def test_every_row_builds_and_differs_from_the_others(name):
    rows = [row for row in load_spec(name).rows if row.run]
    settings = [setting(row.run) for row in rows]
    assert all(setting(row.run + row.elsewhere) for row in rows)
    assert all(row.run[0].startswith("experiment=") for row in rows)
    assert all(settings[i] != settings[j] for i in range(len(rows)) for j in range(i))
    assert {row.against for row in rows} <= {None, *(row.label for row in rows)}


@pytest.mark.parametrize(
    ("experiment", "backbone", "geometry", "method"),
    [
        ("report_table4", "resnet50_a1", "official", {"ratio": 0.25, "eps": 0.9, "k": 5, "reweight": "paper"}),
        ("report_table5", "clip", "report_clip", {"ratio": 0.25, "eps": 0.9, "k": 5, "reweight": "paper"}),
        ("anomalib_table1", "wide_resnet50_racm", "square256", {"ratio": 0.1, "reweight": "paper"}),
        ("patchcore_s1", "wide_resnet50", "official", {"embedding": "official", "distance": "squared"}),
        ("padim_jl_table1", "wide_resnet50", "crop224_lanczos", {"dims": 550, "reduction": "gaussian"}),
        ("crd_table1", "wide_resnet50", "square256", {"lambda_": 5.0, "normalize": "none", "bank": "full"}),
    ],
)
def test_experiments_hold_the_published_setting(experiment, backbone, geometry, method):
    chosen = setting((f"experiment={experiment}",))
    assert (chosen.labels["backbone"], chosen.labels["geometry"]) == (backbone, geometry)
    assert {name: chosen.method["settings"][name] for name in method} == method


def test_the_report_has_no_hazelnut():
    assert "hazelnut" not in compose(["experiment=report_table1"]).dataset.categories
    assert len(compose(["experiment=report_table5"]).dataset.categories) == 14
