"""A package outside adbench, made in a folder as an installer would leave it."""

from pathlib import Path
from textwrap import dedent

CLASS = '''
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as settings_class

from adbench.methods.method import Scores
from adbench.system.settings import STRICT, When


@settings_class(frozen=True, config=STRICT)
class Part:
    shape: str = "round"
    width: Annotated[int, Field(ge=1), When("is_round")] = 3

    @property
    def is_round(self):
        """The shape is round."""
        return self.shape == "round"


@settings_class(config=STRICT)
class Method:
    layers: list[int] = Field(default_factory=lambda: [2])
    power: Annotated[float, Field(gt=0)] = 1.0
    count: int = 1
    part: Part = Field(default_factory=Part)

    needs_vectors: ClassVar[bool] = False
    score_settings: ClassVar[frozenset[str]] = frozenset({"power"})
    nested: ClassVar[str | None] = None

    def fit(self, normal):
        self.source_ = normal.source
        self.mean_ = torch.stack([m for m in normal.maps[0]]).mean(0)
        return self

    def score(self, test):
        maps = ((test.maps[0] - self.mean_) ** 2).sum(1).sqrt() ** self.power
        return Scores(maps.flatten(1).amax(1), None)


class NoSettings:
    pass
'''

PRESET = """
# A method of another package: the distance to the mean of the normal feature maps.
_target_: {target}
name: {name}
layers: [2]
power: 1.0
n: 1 # a word for count
count: ${{.n}}
part:
  shape: round
  width: 3
"""


def install(folder: Path, package: str = "adbench_widget", registered: bool = True) -> Path:
    """Put a package with a method into ``folder``; returns the folder, to be put on the path."""
    code = folder / package
    code.mkdir(parents=True)
    imported = "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n"
    (code / "__init__.py").write_text(imported)
    (code / "method.py").write_text(dedent(CLASS))
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    if registered:
        (about / "entry_points.txt").write_text(f"[adbench.plugins]\nwidget = {package}\n")
    return folder


def presets(folder: Path, package: str = "adbench_widget", name: str = "widget") -> Path:
    """A folder for ``--config-dir`` with a preset of that package's method."""
    (folder / "method").mkdir(parents=True)
    text = PRESET.format(target=f"{package}.method.Method", name=name).lstrip()
    (folder / "method" / f"{name}.yaml").write_text(text)
    return folder
