"""Every config file composes and builds, and shows every setting of what it builds."""

import pickle
from dataclasses import fields

import pytest
from made_plugin import presets
from omegaconf import OmegaConf

from adbench.bench.plan import plan
from adbench.config.build import build
from adbench.config.compose import Configs, config_folder
from adbench.config.explain import GROUPS
from adbench.config.quoting import quoted
from adbench.errors import AdbenchError
from adbench.system.settings import settings_of

CONFIGS = Configs()
PARTS = [group for group in GROUPS if group != "experiment"]
PRESETS = [(group, choice) for group in PARTS for choice in CONFIGS.choices(group)]


def needed(group, choice):
    """Words for the settings that a preset leaves to the user."""
    examples = {"normal": "somewhere", "model": "resnet18.tv_in1k", "weights": "random"}
    node = CONFIGS.compose([f"{group}={choice}"])[group]
    missing = [str(name) for name in node if OmegaConf.is_missing(node, name)]
    return [f"{group}.{name}={examples[name]}" for name in missing]


@pytest.mark.parametrize(("group", "choice"), PRESETS)
def test_a_preset_builds_and_shows_every_setting(group, choice):
    node = CONFIGS.compose([f"{group}={choice}", *needed(group, choice)])[group]
    built = build(node, group)
    hidden = [f.name for f in fields(built) if f.init and f.name not in node]
    assert hidden == [], "a setting that is not in the YAML cannot be overridden by a word"
    assert node.name == choice or needed(group, choice)


@pytest.mark.parametrize(
    ("group", "choice"), [*PRESETS, *(("experiment", c) for c in CONFIGS.choices("experiment"))]
)
def test_a_preset_says_in_one_line_what_it_is(group, choice):
    assert len(CONFIGS.describe(group, choice)) > 20


def seeds(settings):
    """The values of all keys ``seed``, at any depth."""
    found = [v for k, v in settings.items() if k == "seed"]
    return found + [s for v in settings.values() if isinstance(v, dict) for s in seeds(v)]


@pytest.mark.parametrize("choice", CONFIGS.choices("method"))
def test_the_seed_reaches_what_draws_at_random_and_nothing_else(choice):
    """A method that draws nothing is the same for every seed; one that draws has the run's."""
    first, second = (
        settings_of(build(CONFIGS.compose([f"method={choice}", f"seed={seed}"]).method, "method"))
        for seed in (0, 1)
    )
    assert set(seeds(first)) <= {0}
    assert set(seeds(second)) <= {1}
    assert (first == second) == (not seeds(first))


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(AdbenchError, match="device"):
        plan(CONFIGS.compose([f"device='{device}'"]))


# Composing.


def test_composing_is_hydras_own():
    """The config is the one that Hydra itself composes, key by key."""
    from hydra import compose, initialize_config_dir

    group = PARTS[-1]
    words = [f"{group}={CONFIGS.choices(group)[0]}", "seed=3", "+extra.key=[1,2]", "~heatmaps"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        theirs = compose("run", overrides=words)
    ours = CONFIGS.compose(words)
    assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs)
    assert OmegaConf.is_struct(ours)


def test_one_config_does_not_change_another():
    first = CONFIGS.compose(["seed=1"])
    second = CONFIGS.compose(["seed=2"])
    assert (first.seed, second.seed, CONFIGS.compose([]).seed) == (1, 2, 0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=[1", r"^seed=\[1: a bracket of the list is missing$"),
        ("seed=1,2", "^seed=1,2: several values make a sweep, which needs -m"),
        ("seed=range(1,3)", r"^seed=range\(1,3\): several values make a sweep"),
        ("sead=1", "^sead=1: unknown setting; did you mean seed"),
        ("+seed=1", "leave the . out$"),
        ("~sead", "^~sead: there is no such setting$"),
        ("=1", "^=1: no setting stands before the =$"),
        ("seed", "^seed: not key=value; "),
        ("foo@bar=3", "^foo@bar=3: there is no group foo; there are dataset, "),
        ("hydra.sweep.dri=1", "^hydra.sweep.dri=1: Hydra has no such setting"),
        (
            "hydra/sweeper=optuna",
            "it is not installed; run pip install hydra-optuna-sweeper; there are b",
        ),
        (
            "hydra/launcher=nope_x",
            "^hydra/launcher=nope_x: there is no such launcher; .*there are basic",
        ),
        ("method=null", "^method=null: method takes the name of one preset$"),
        ("results=${nope}", "^results: .*nope"),
        (
            "geometry=crop22",
            "^no geometry 'crop22'; did you mean crop224.*`adbench list geometries`",
        ),
    ],
)
def test_a_wrong_word_is_named(word, message):
    with pytest.raises(AdbenchError, match=message):
        CONFIGS.compose([word])


def test_names_of_earlier_versions_stay_understood():
    renamed = OmegaConf.load(config_folder() / "renamed.yaml")
    for group, names in renamed.items():
        for old, new in names.items():
            assert CONFIGS.path(group, old) == CONFIGS.path(group, new)
            assert CONFIGS.current_words([f"{group}={old},{new}"]) == [f"{group}={new},{new}"]
    for old, new in renamed.experiment.items():
        assert CONFIGS.compose([f"experiment={old}"]) == CONFIGS.compose([f"experiment={new}"])


# Folders of the user.


def test_presets_of_a_users_folder_are_listed_composed_and_described_like_ours(tmp_path):
    configs = Configs([presets(tmp_path / "mine", name="mine")])
    assert "mine" in configs.choices("method")
    assert set(CONFIGS.choices("method")) < set(configs.choices("method"))
    assert configs.describe("method", "mine").startswith("A method of another package")
    assert configs.compose(["method=mine", "method.power=2"]).method.power == 2
    assert configs.read("method", "mine").layers == [2]
    with pytest.raises(AdbenchError, match="no method 'mine'"):
        CONFIGS.compose(["method=mine"])


def test_several_folders_are_searched_and_other_processes_get_them(tmp_path):
    folders = [presets(tmp_path / name, name=name) for name in ("one", "two")]
    configs = pickle.loads(pickle.dumps(Configs(folders)))
    assert {"one", "two"} < set(configs.choices("method"))
    assert configs.compose(["method=two"]).method.name == "two"


def test_a_folder_with_odd_signs_is_found_by_hydra_too(tmp_path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    configs = Configs([presets(tmp_path / "it's, [mine] \\'")])
    (word,) = OverridesParser.create().parse_overrides(configs.searchpath())
    assert word.value() == [f"file://{folder}" for folder in configs.user_folders]
    assert configs.compose(["method=widget"]).method.name == "widget"


def test_a_folder_that_is_missing_or_hides_a_file_of_ours_is_refused(tmp_path):
    with pytest.raises(AdbenchError, match="there is no such folder"):
        Configs([tmp_path / "nowhere"])
    taken = CONFIGS.choices("method")[0]
    with pytest.raises(AdbenchError, match=f"{taken}.yaml: adbench has a file of this name"):
        Configs([presets(tmp_path / "mine", name=taken)])


def test_a_broken_file_of_the_user_is_named(tmp_path):
    folder = presets(tmp_path / "mine", name="mine")
    (folder / "method" / "mine.yaml").write_text("# A preset with a tab in it.\nlayers:\n\t- 2\n")
    configs = Configs([folder])
    for reading in (
        lambda: configs.compose(["method=mine"]),
        lambda: configs.read("method", "mine"),
    ):
        with pytest.raises(AdbenchError, match=r"mine\.yaml, line 3, column 1: .*with spaces$"):
            reading()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\na: 2\n", r"mine\.yaml, line 2, column 1: found duplicate key a"),
        (b"a: b: c\n", r"mine\.yaml, line 1, column 5: mapping values are not allowed"),
        (b"# f\xfcr\na: 1\n", r"mine\.yaml: is not a text in UTF-8"),
        (b"defaults:\n  - padin\n", r"^method/mine\.yaml: no method 'padin'; did you mean padim"),
        (b"- a\n", "method: a mapping of settings is needed|method: must hold"),
        (b"", "method: must hold _target_ and settings|_target_: missing"),
    ],
)
def test_what_is_wrong_with_a_file_of_the_user_is_told(tmp_path, content, message):
    folder = presets(tmp_path / "mine", name="mine")
    (folder / "method" / "mine.yaml").write_bytes(content)
    with pytest.raises(AdbenchError, match=message):
        build(Configs([folder]).compose(["method=mine"]).method, "method")


def test_a_description_is_no_name_of_a_file(tmp_path):
    folder = presets(tmp_path / "mine", name="mine")
    file = folder / "method" / "mine.yaml"
    text = "# configs/method/mine.yaml\n# @package method\n#\n# What it is.\nlayers: [2]\n"
    file.write_text(text)
    assert Configs([folder]).describe("method", "mine") == "What it is."


def test_an_experiment_that_is_not_put_at_the_top_is_refused(tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("seed: 5\n")
    with pytest.raises(AdbenchError, match="begin the file with '# @package _global_'"):
        Configs([folder.parent]).compose(["experiment=mine"])


@pytest.mark.parametrize("text", ["plain", "it's", "a\\", "\\'", "a,b]", "= (1) #&"])
def test_a_quoted_text_is_read_by_hydra_as_it_was(text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    word = OverridesParser.create().parse_override(f"key={quoted(text)}")
    assert word.value() == text
