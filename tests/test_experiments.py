import pytest

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.reports.matching import Matching
from adbench.reports.tables import load_spec
from adbench.system.settings import settings_of

CONFIGS = Configs()
PARTS = ("dataset", "geometry", "backbone", "method")


@pytest.mark.parametrize("name", CONFIGS.choices("experiment"))
def test_every_experiment_composes_and_builds(name):
    config = CONFIGS.compose([f"experiment={name}"])
    for part in PARTS:
        build(config[part], part)
    assert CONFIGS.describe("experiment", name)


@pytest.mark.parametrize("name", CONFIGS.choices("table"))
def test_every_row_builds_and_differs_from_the_others(name):
    spec, matching = load_spec(name, CONFIGS), Matching((), CONFIGS)
    wanted = [spec.wanted(row) for row in spec.rows if not row.quoted]
    settings = [matching.setting(want.run) for want in wanted]
    for want in wanted:
        for words in (want.run, (*want.run, *want.elsewhere)):
            config = CONFIGS.compose(words)
            for part in ("geometry", "backbone", "method"):
                build(config[part], part)
    assert all(settings[i] != settings[j] for i in range(len(settings)) for j in range(i))
    assert {row.against for row in spec.rows} <= {None, *(row.label for row in spec.rows)}


@pytest.mark.parametrize(
    ("experiment", "backbone", "geometry", "method"),
    [
        (
            "belloni2023_resnet50",
            "resnet50_a1",
            "official",
            {"ratio": 0.25, "b": 5, "map_k": 1, "reweight": "paper"},
        ),
        (
            "belloni2023_clip",
            "clip",
            "report_clip",
            {"ratio": 0.25, "b": 5, "map_k": 1, "reweight": "paper"},
        ),
        (
            "wang_anomalib",
            "wide_resnet50_racm",
            "square256",
            {"ratio": 0.1, "b": 9, "reweight": "paper"},
        ),
        ("roth2022", "wide_resnet50", "official", {"ratio": 0.1, "distance": "squared"}),
        (
            "zhang2021",
            "wide_resnet50",
            "crop224_lanczos",
            {"dims": 550, "reduction": "gaussian"},
        ),
        (
            "han2024",
            "wide_resnet50",
            "square256",
            {"lambda_": 5.0, "normalize": "none", "bank": "full"},
        ),
    ],
)
def test_experiments_hold_the_published_setting(experiment, backbone, geometry, method):
    config = CONFIGS.compose([f"experiment={experiment}"])
    assert (config.dataset.name, config.backbone.name) == ("mvtec", backbone)
    assert config.geometry.name == geometry
    settings = settings_of(build(config.method, "method"))
    assert {name: settings[name] for name in method} == method


def test_the_selection_of_the_reports_is_johnson_and_lindenstrauss():
    coreset = CONFIGS.compose(["experiment=belloni2023_resnet50"]).method.coreset
    assert (coreset.projection, coreset.eps) == ("jl_sparse", 0.9)
    embedding = CONFIGS.compose(["experiment=roth2022"]).method.embedding
    assert embedding.kind == "official"


def test_the_report_has_no_hazelnut():
    for name in ("belloni2023_resnet50", "belloni2023_clip"):
        categories = CONFIGS.compose([f"experiment={name}"]).dataset.categories
        assert "hazelnut" not in categories
        assert len(categories) == 14
