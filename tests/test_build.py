import sys

import pytest
from made_plugin import install, presets
from omegaconf import OmegaConf
from pydantic import ValidationError

from adbench.config.build import Builder, build, refuse_unread
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.methods.patchcore import PatchCore
from adbench.system.settings import settings_of

PATCHCORE = "adbench.methods.patchcore.PatchCore"


def node(**settings):
    return OmegaConf.create({"_target_": PATCHCORE, "name": "patchcore", **settings})


def test_builds_what_the_node_says():
    method = build(node(ratio=0.25, layers=[1, 2], anomaly_map={"sigma": 2}), "method")
    assert isinstance(method, PatchCore)
    assert (method.ratio, method.layers, method.anomaly_map.sigma) == (0.25, [1, 2], 2.0)


def test_settings_of_gives_back_every_setting_that_is_read():
    settings = settings_of(build(node(ratio=0.25, reweight="paper"), "method"))
    assert settings["ratio"] == 0.25
    assert settings["anomaly_map"] == {
        "upsample": "bilinear",
        "sigma": 4.0,
        "radius": None,
        "edge": "reflect",
    }
    assert settings_of(build(node(**settings), "method")) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"map_k": "three"}, r"method\.map_k: .*integer, got 'three'"),
        ({"map_k": True}, r"method\.map_k: .*integer, got True"),
        ({"map_k": 1.5}, r"method\.map_k: .*, got 1\.5"),
        ({"map_k": 0}, r"method\.map_k: .*greater than or equal to 1, got 0"),
        ({"ratio": 0.0}, r"method\.ratio: .*greater than 0, got 0\.0"),
        ({"ratio": 1.1}, r"method\.ratio: .*less than or equal to 1, got 1\.1"),
        (
            {"coreset": {"sampler": "best"}},
            r"method\.coreset\.sampler: .*'greedy' or 'random', got 'best'",
        ),
        ({"anomaly_map": {"sigma": "wide"}}, r"method\.anomaly_map\.sigma: .*number, got 'wide'"),
        ({"patch": 3}, r"method\.patch: unknown setting; method has layers, ratio, .*"),
        ({"patch": 3}, r"did you mean method\.embedding\.patch\?"),
        ({"layers": []}, r"method\.layers: .*at least 1 item"),
        ({"embedding": {"patch": 2}}, r"method.*: .*patch must be odd, got 2"),
        ({"reweight": "paper", "b": 1}, r"every score 0; use b >= 2"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_got(settings, message):
    with pytest.raises(AdbenchError, match=message):
        build(node(**settings), "method")


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(AdbenchError) as error:
        build(node(map_k="three", ratio=2), "method")
    assert "method.map_k" in str(error.value)
    assert "method.ratio" in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "only classes inside adbench"),
        ("adbench_evil.PatchCore", "no package adbench_evil is installed"),
        ("PatchCore", "a class is named with its module"),
        ("adbench.methods.patchcore.PatchCor", "does not exist; did you mean PatchCore"),
        ("adbench.methods.patchcor.PatchCore", "no module adbench.*did you mean patchcore"),
        ("adbench.methods.patchcore.annotations", "does not exist|is not a class"),
        ("adbench.methods.patchcore.Features", "is not a settings class"),
        ("adbench.methods.patchcore.torch.nn.Module", "no module adbench.methods.patchcore.torch"),
        ("adbench.methods.patchcore.AdbenchError", "is not a settings class"),
        ("adbench.methods.method.Tensor", "a class of another package, torch"),
    ],
)
@pytest.mark.fault("YAML", shows="inert")
def test_builds_nothing_else(target, message):
    with pytest.raises(AdbenchError, match=message):
        build(OmegaConf.create({"_target_": target}), "method")


def test_a_node_without_target_or_value_is_refused():
    with pytest.raises(AdbenchError, match="_target_: missing"):
        build(OmegaConf.create({"ratio": 0.1}), "method")
    with pytest.raises(AdbenchError, match=r"ratio"):
        build(node(ratio="???"), "method")


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"ratio": b"hi"}, "ratio"),
        ({"map_k": [1, b"hi"]}, r"map_k\.1"),
        ({"coreset": {"eps": b"hi"}}, r"coreset\.eps"),
    ],
)
@pytest.mark.fault("YAML", shows="error")
def test_bytes_are_refused_by_the_place_of_their_setting(settings, place):
    with pytest.raises(AdbenchError, match=rf"method\.{place}: must be a text, .*, got b'hi'"):
        build(node(**settings), "method")


@pytest.mark.fault("YAML", shows="error")
def test_a_name_of_bytes_is_refused_by_its_place():
    settings = OmegaConf.create(
        "{_target_: adbench.methods.patchcore.PatchCore, coreset: {? !!binary aGk= : 1}}"
    )
    with pytest.raises(
        AdbenchError, match=r"method\.coreset\.b'hi': the name of a setting must be"
    ):
        build(settings, "method")


def test_a_wrong_setting_is_refused_in_python_too():
    with pytest.raises(ValidationError, match="ratio"):
        PatchCore(ratio=0)


# Words: keys to which settings refer.


def test_a_word_gives_its_value_to_the_settings_that_refer_to_it():
    words = {"n": 3, "e": 0.5, "map_k": "${.n}", "b": "${.n}", "coreset": {"eps": "${..e}"}}
    built = build(node(**words), "method")
    assert (built.map_k, built.b, built.coreset.eps) == (3, 3, 0.5)


def test_a_word_is_found_by_the_path_in_the_whole_config_too():
    whole = OmegaConf.create({"method": node(n=3, map_k="${method.n}")})
    assert build(whole.method, "method").map_k == 3


def test_a_key_to_which_nothing_refers_is_refused():
    with pytest.raises(AdbenchError, match=r"method\.n: unknown setting"):
        build(node(n=3, b="${.m}", m=9), "method")


def test_a_wrong_value_is_named_by_the_word_that_was_typed():
    with pytest.raises(AdbenchError) as error:
        build(node(n="three", map_k="${.n}", b="${.n}"), "method")
    assert str(error.value).splitlines() == ["method.n: must be an integer, got 'three'"]


def test_a_preset_builds_when_all_settings_that_refer_to_a_word_are_overridden():
    words = ["method=patchcore", "method.map_k=1", "method.b=5", "method.reweight=paper"]
    config = Configs().compose(words)
    built = build(config.method, "method")
    assert (built.map_k, built.b) == (1, 5)
    refuse_unread(words, config.method, built, "method")
    useless = Configs().compose([*words, "method.k=7"])
    with pytest.raises(AdbenchError, match=r"method\.k=7: no setting refers to k"):
        refuse_unread(["method.k=7"], useless.method, build(useless.method, "method"), "method")


@pytest.mark.parametrize(
    ("settings", "override", "why"),
    [
        ({}, "method.coreset.eps=0.7", "eps is read only where"),
        ({"e": 0.7, "coreset": {"eps": "${..e}"}}, "method.e=0.7", "eps is read only where"),
        ({"ratio": 1.0}, "method.coreset.dim=3", "coreset is read only where the ratio is below 1"),
        ({}, "method.b=3", "b is read only where"),
        ({}, "+method.b=3", "b is read only where"),
    ],
)
def test_an_override_that_bears_on_nothing_is_refused_with_the_reason(settings, override, why):
    made = node(**settings)
    with pytest.raises(AdbenchError) as error:
        refuse_unread(["seed=1", override], made, build(made, "method"), "method")
    assert str(error.value).startswith(f"{override}: {why}")


@pytest.mark.parametrize(
    ("settings", "override"),
    [
        ({"coreset": {"projection": "jl_sparse"}}, "method.coreset.eps=0.7"),
        ({"n": 3, "map_k": "${.n}", "b": "${.n}"}, "method.n=3"),  # b is not read, map_k is
        ({}, "method.ratio=0.1"),
        ({}, "method=patchcore"),
        ({}, "backbone.weights=random"),
    ],
)
def test_an_override_that_is_read_passes(settings, override):
    made = node(**settings)
    refuse_unread([override], made, build(made, "method"), "method")


# Classes of other packages.


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package of its own name, so that no other test has imported it."""

    def make(name, **options):
        monkeypatch.syspath_prepend(install(tmp_path / name, name, **options))
        return Configs([presets(tmp_path / f"{name}_presets", name)])

    return make


def test_a_registered_package_builds_as_ours_does(package):
    configs = package("adbench_gadget")
    assert "widget" in configs.choices("method")
    built = build(configs.compose(["method=widget", "method.n=4"]).method, "method")
    assert (type(built).__module__, built.count) == ("adbench_gadget.method", 4)
    with pytest.raises(AdbenchError, match=r"method\.power: .*greater than 0"):
        build(configs.compose(["method=widget", "method.power=0"]).method, "method")


@pytest.mark.fault("YAML", shows="inert")
def test_an_unregistered_package_is_refused_and_never_imported(package, tmp_path):
    configs = package("adbench_gizmo", registered=False)
    with pytest.raises(AdbenchError, match=r"entry point of the group adbench\.plugins"):
        build(configs.compose(["method=widget"]).method, "method")
    assert "adbench_gizmo" not in sys.modules
    assert not list(tmp_path.rglob("imported"))


@pytest.mark.fault("YAML", shows="inert")
def test_the_name_of_a_registered_package_opens_no_other(package):
    package("adbench_thing")
    with pytest.raises(AdbenchError, match="no package adbench_things is installed"):
        build(OmegaConf.create({"_target_": "adbench_things.method.Method"}), "method")


def test_a_builder_shares_parts_that_are_described_alike():
    configs, builder = Configs(), Builder()
    one, other = (configs.compose(["method=crd", f"method.lambda_={v}"]) for v in (1, 2))
    assert builder.part(one, "backbone") is builder.part(other, "backbone")
    assert builder.part(one, "method").lambda_ == 1
    assert builder.part(other, "method").lambda_ == 2


def test_a_builder_tells_the_same_values_of_other_types_apart():
    configs, builder = Configs(), Builder()
    builder.part(configs.compose(["method=crd", "method.center=true"]), "method")
    with pytest.raises(AdbenchError, match=r"method\.center"):
        builder.part(configs.compose(["method=crd", "method.center=1"]), "method")


def test_a_builder_refuses_what_build_refuses_though_the_value_was_seen(monkeypatch):
    monkeypatch.setenv("SEED_OF_A_TEST", "3")
    configs, builder = Configs(), Builder()
    builder.part(configs.compose(["method=padim", "seed=3"]), "method")
    with pytest.raises(AdbenchError, match="records keep this setting"):
        builder.part(configs.compose(["method=padim", "seed=${oc.env:SEED_OF_A_TEST}"]), "method")


@pytest.mark.parametrize("part", ["dataset", "geometry", "backbone", "method"])
@pytest.mark.fault("words", shows="error")
def test_a_part_that_was_taken_out_of_the_config_is_named(part):
    with pytest.raises(AdbenchError, match=f"{part}: must hold _target_ and settings, got None"):
        Builder().part(Configs().compose([f"~{part}"]), part)
