"""Config files of somebody else build nothing but known classes, and let no secret out."""

import pytest
from commands import adbench
from omegaconf import OmegaConf

from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.config.hydra_node import refuse_foreign
from adbench.errors import AdbenchError

TOUCH = "command: touch PWNED"
HOSTILE = {
    "a callback": f"callbacks: {{x: {{_target_: os.system, {TOUCH}}}}}",
    "a callback through a module of ours": (
        f"callbacks: {{x: {{_target_: adbench.cli.main.os.system, {TOUCH}}}}}"
    ),
    "a callback through a class of ours": (
        "callbacks: {x: {_target_: adbench.data.geometry.Path, _args_: [x]}}"
    ),
    "a function of ours": (
        "callbacks: {x: {_target_: adbench.system.files.write_whole, path: PWNED, content: x}}"
    ),
    "a part of a callback": (
        "callbacks: {x: {_target_: hydra.experimental.callbacks.LogJobReturnCallback,"
        f" y: {{_target_: os.system, {TOUCH}}}}}}}"
    ),
    "a function of Hydra": "callbacks: {x: {_target_: hydra.utils.get_method, path: os.system}}",
    "a part of the sweeper": f"sweeper: {{x: {{_target_: os.system, {TOUCH}}}}}",
    "a launcher": f"launcher: {{_target_: os.system, {TOUCH}}}",
    "a node made out of a text": (
        "callbacks: {x: '${oc.create:{_target_: os.system, command: touch PWNED}}'}"
    ),
    "a nested resolver": "callbacks: {x: '${${y}:{_target_: os.system}}'}",
    "a node that stands elsewhere": "callbacks: {x: '${method}'}",
    "a target that stands elsewhere": "callbacks: {x: {_target_: '${method.name}'}}",
    "a factory of a logger": f"job_logging: {{handlers: {{x: {{(): os.system, {TOUCH}}}}}}}",
    "a class of a logger": (
        f"hydra_logging: {{handlers: {{x: {{class: logging.os.system, {TOUCH}}}}}}}"
    ),
    "an object of a logger": (
        "job_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://os.environ'}}}"
    ),
    "a path of programs": "job: {env_set: {PATH: mine}}",
    "a file of a logger": (
        "job_logging: {handlers: {x: {class: logging.FileHandler, filename: .bashrc}}}"
    ),
}
HARMLESS = [
    "callbacks: {x: {_target_: hydra.experimental.callbacks.LogJobReturnCallback}}",
    "launcher: {_target_: hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher}",
    "job: {env_set: {OMP_NUM_THREADS: '1'}}",
    "sweep: {dir: '${oc.env:HOME}/${now:%Y}/${hydra.job.name}'}",
    "job_logging: {formatters: {x: {(): colorlog.ColoredFormatter}}, handlers: {"
    "y: {class: logging.StreamHandler, stream: 'ext://sys.stdout'}, "
    "z: {class: logging.FileHandler, filename: '${hydra.job.name}.log'}}}",
]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.fault("YAML", shows="inert")
def test_hydra_is_told_to_build_nothing_foreign(text):
    config = OmegaConf.create(f"hydra:\n  {text}\nmethod: {{_target_: os.system, name: x}}\n")
    with pytest.raises(AdbenchError, match=r"^hydra\.\w+\."):
        refuse_foreign(config)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_hydra_itself_offers_passes(text):
    refuse_foreign(OmegaConf.create(f"hydra:\n  {text}\n"))


def test_every_config_of_ours_passes():
    configs = Configs()
    for name in configs.choices("experiment"):
        configs.compose([f"experiment={name}", "hydra.job.chdir=false"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["experiment=evil"],
        ["experiment=evil", "-m"],
        ["-m", "seed=0,1", "experiment=evil"],
        ["experiment=evil", "hydra/launcher=basic", "-m"],
        ["experiment=evil", "--cfg", "job"],
        ["--config-path", "MINE", "--config-name", "evil"],
        ["hydra/callbacks=evil"],
        ["+hydra.callbacks.x={_target_:os.system,command:touch PWNED}"],
    ],
    ids=" ".join,
)
@pytest.mark.fault("YAML", shows="inert")
def test_a_config_folder_runs_no_code(tmp_path, words):
    mine = tmp_path / "mine"
    for group, name in (("experiment", "evil"), ("hydra/callbacks", "evil"), (".", "evil")):
        (mine / group).mkdir(parents=True, exist_ok=True)
        head = "# @package _global_\n" if group != "." else ""
        text = f"{head}hydra:\n  callbacks: {{x: {{_target_: os.system, {TOUCH}}}}}\n"
        (mine / group / f"{name}.yaml").write_text(text)
    words = [word.replace("MINE", str(mine)) for word in words]
    done = adbench(tmp_path, "run", "--config-dir", str(mine), *words, check=False)
    assert done.returncode == 2
    assert "_target_: got 'os.system'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("PWNED"))


# What records keep.


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("method", ["method.name=${oc.env:SECRET}"]),
        ("method", ["method.coreset.sampler=${oc.env:SECRET}"]),
        ("method", ["cache=${oc.env:SECRET}", "method.name=${cache}"]),
        ("method", ["cache=${oc.env:SECRET}", "results=${cache}", "method.name=${results}"]),
        ("backbone", ["backbone=timm", "backbone.model=${oc.env:SECRET}"]),
        ("dataset", ["dataset.name=${oc.env:SECRET}"]),
        ("dataset", ["dataset.categories=[${oc.env:SECRET}]"]),
        ("geometry", ["geometry.interpolation=${oc.env:SECRET}"]),
    ],
)
@pytest.mark.fault("YAML", shows="inert")
def test_the_environment_gets_into_no_setting_that_records_keep(monkeypatch, part, words):
    monkeypatch.setenv("SECRET", "hush")
    node = Configs().compose(words)[part]
    with pytest.raises(AdbenchError, match="records keep this setting") as error:
        build(node, part)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("dataset", ["dataset=mvtec", "dataset.root=${oc.env:SOME_PLACE}"]),
        ("dataset", ["dataset.cache=${oc.env:SOME_PLACE}"]),
        ("backbone", ["backbone.weights=${oc.env:SOME_PLACE}/x.pth"]),
    ],
)
def test_folders_and_files_may_come_from_the_environment(monkeypatch, part, words):
    monkeypatch.setenv("SOME_PLACE", "somewhere")
    assert build(Configs().compose(words)[part], part)


@pytest.mark.parametrize("word", ["method.ratio=${oc.decode:1}", "results=${oc.create:[1]}"])
@pytest.mark.fault("YAML", shows="inert")
def test_resolvers_that_make_values_out_of_texts_are_refused(word):
    with pytest.raises(AdbenchError, match="an interpolation is a reference to another key or"):
        Configs().compose([word])


@pytest.mark.parametrize(
    "name", ["../../../evil", "a/b", "/abs", ".hidden", "-m", "", "a\nb", "x" * 101, "a\\b", "a\0"]
)
@pytest.mark.fault("YAML", shows="inert")
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name):
    node = OmegaConf.create({"_target_": "adbench.methods.crd.CRD", "name": name})
    with pytest.raises(AdbenchError, match=r"^method\.name: got .* cannot be a part of file names"):
        build(node, "method")


def test_a_label_may_be_typed():
    node = Configs().compose(["method.name=Größe 2.5"]).method
    assert build(node, "method")
