"""Every config file composes and builds, and shows every setting of what it builds."""

from dataclasses import fields

import pytest

from adbench.build import build
from adbench.compose import choices, compose, describe
from adbench.core import AdbenchError
from adbench.run import plan

GROUPS = ("dataset", "geometry", "backbone", "method")
NEEDED = {
    "folder": ["dataset.normal=somewhere"],
    "timm": ["backbone.model=resnet18.tv_in1k"],
    "open_clip": ["backbone.model=ViT-B-16-quickgelu", "backbone.weights=openai"],
}
PRESETS = [(group, choice) for group in GROUPS for choice in choices(group)]


@pytest.mark.parametrize(("group", "choice"), PRESETS)
def test_a_preset_builds_and_shows_every_setting(group, choice):
    node = compose([f"{group}={choice}", *NEEDED.get(choice, [])])[group]
    built = build(node, group)
    missing = [f.name for f in fields(built) if f.init and f.name not in node]
    assert missing == [], "a setting that is not in the YAML cannot be overridden on the command line"
    assert choice in (node.name, "timm", "open_clip")


@pytest.mark.parametrize(("group", "choice"), [*PRESETS, *(("experiment", c) for c in choices("experiment"))])
def test_a_preset_says_in_one_line_what_it_is(group, choice):
    assert len(describe(group, choice)) > 20


def test_the_seed_reaches_what_draws_at_random_and_nothing_else():
    for choice in choices("method"):
        settings = [build(compose([f"method={choice}", f"seed={s}"]).method, "method") for s in (0, 1)]
        seeds = [getattr(m, "seed", 0) for m in settings]
        draws = choice not in ("spade", "spade_pytorch", "crd", "padim_full")
        assert seeds == ([0, 1] if draws else [0, 0]), choice


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(AdbenchError, match="device"):
        plan(compose([f"device='{device}'"]))
