import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from adbench.build import build, settings_of
from adbench.core import AdbenchError
from adbench.methods.patchcore import PatchCore

PATCHCORE = "adbench.methods.patchcore.PatchCore"


def node(**settings):
    return OmegaConf.create({"_target_": PATCHCORE, "name": "patchcore", **settings})


def test_builds_what_the_node_says():
    method = build(node(ratio=0.25, layers=[1, 2], anomaly_map={"sigma": 2}), "method")
    assert isinstance(method, PatchCore)
    assert (method.ratio, method.layers, method.anomaly_map.sigma) == (0.25, [1, 2], 2.0)


def test_settings_of_gives_back_every_setting():
    settings = settings_of(build(node(ratio=0.25), "method"))
    assert settings["ratio"] == 0.25
    assert settings["anomaly_map"] == {"upsample": "bilinear", "sigma": 4.0, "radius": 16, "edge": "reflect"}
    assert settings_of(PatchCore(**{**settings, "anomaly_map": PatchCore().anomaly_map})) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": "three"}, r"method\.k: .*integer, got 'three'"),
        ({"k": True}, r"method\.k: .*integer, got True"),
        ({"k": 1.5}, r"method\.k: .*, got 1\.5"),
        ({"k": 0}, r"method\.k: .*greater than or equal to 1, got 0"),
        ({"ratio": 0.0}, r"method\.ratio: .*greater than 0, got 0\.0"),
        ({"ratio": 1.1}, r"method\.ratio: .*less than or equal to 1, got 1\.1"),
        ({"sampler": "best"}, r"method\.sampler: .*'greedy' or 'random', got 'best'"),
        ({"anomaly_map": {"sigma": "wide"}}, r"method\.anomaly_map\.sigma: .*number, got 'wide'"),
        ({"coreset": 0.1}, r"method\.coreset: unknown setting; PatchCore has layers, patch, .*ratio"),
        ({"layers": []}, r"method\.layers: .*at least 1 item"),
        ({"patch": 2}, r"method: .*patch must be odd, got 2"),
        ({"reweight": "paper", "b": 1}, r"every score 0; use b >= 2"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_got(settings, message):
    with pytest.raises(AdbenchError, match=message):
        build(node(**settings), "method")


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(AdbenchError) as error:
        build(node(k="three", ratio=2), "method")
    assert "method.k" in str(error.value)
    assert "method.ratio" in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "only classes inside adbench"),
        ("adbench_evil.PatchCore", "only classes inside adbench"),
        ("adbench.methods.patchcore.Nothing", "not a settings class"),
        ("adbench.methods.nothing.PatchCore", "not a settings class"),
        ("adbench.methods.patchcore.official_embedding", "not a settings class"),
    ],
)
def test_builds_nothing_else(target, message):
    with pytest.raises(AdbenchError, match=message):
        build(OmegaConf.create({"_target_": target}), "method")


def test_a_node_without_target_or_value_is_refused():
    with pytest.raises(AdbenchError, match="_target_: missing"):
        build(OmegaConf.create({"ratio": 0.1}), "method")
    with pytest.raises(AdbenchError, match=r"ratio"):
        build(node(ratio="???"), "method")


def test_a_wrong_setting_is_refused_in_python_too():
    with pytest.raises(ValidationError, match="ratio"):
        PatchCore(ratio=0)
