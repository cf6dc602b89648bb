"""The words of ``adbench score``, and what they mean."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.cli.words import unknown
from adbench.errors import AdbenchError
from adbench.system.files import expanded

USAGE = """usage: adbench score FOLDER dataset=NAME name=TOOL version=V [key=value ...]

Measure the anomaly maps and image scores that another tool made for the test images of a dataset,
and keep a record of each category, which list, table, compare and plot take.

  adbench score maps dataset=mvtec dataset.root=DIR name=stfpm version='anomalib 2.7'

Maps are .npy, .npz, .tiff or 16-bit .png files of any size, higher values being more anomalous, in
FOLDER/CATEGORY/test/DEFECT/NAME.EXT, FOLDER/anomaly_maps/CATEGORY/test/..., or for one category
FOLDER/test/... or FOLDER/DEFECT/... . Image scores are FOLDER/scores.csv or
FOLDER/CATEGORY/scores.csv with the columns path and score, or else the largest value of each map.

  name=TOOL version=V  whose maps and scores these are; the record keeps both
  note=TEXT            what else tells them apart, such as weights or epochs
  dataset=..., dataset.categories=[...]   the test images, as in adbench run
  geometry=original    where pixels are compared; a map is resized bilinearly to there
  covers=image         image: a map shows the whole image | crop: what the geometry's crop leaves
  scores=FILE          a CSV of scores elsewhere | maximum: the largest value of each map
  sign=higher          lower: lower values are more anomalous, and are negated
  suffix=.npy          which files are the maps, where several kinds lie in FOLDER
  time_ms=NUMBER       milliseconds per image, kept as your word and never as a measured time
  existing=skip        redo: measure again; what the same tool, version and note have is replaced
  results=runs         folder of results

Exit status: 0 all categories have a record, 1 some have not, 2 a word is wrong, or an image lacks
its map or score, and then nothing was measured."""

KEYS = ("name", "version", "note", "scores", "sign", "covers", "suffix", "time_ms", "existing")
CHOICES = {
    "sign": ("higher", "lower"),
    "covers": ("image", "crop"),
    "existing": ("skip", "redo"),
}
PARTS = ("dataset", "geometry")
MAXIMUM, CSV = "maximum", "scores.csv"


@dataclass(frozen=True)
class Words:
    """What was typed."""

    folder: Path
    values: dict[str, str]
    overrides: list[str]

    def choice(self, name: str) -> str:
        """A value among the ``CHOICES``; the first of them where none is given."""
        return self.values.get(name, CHOICES[name][0])


def parsed(words: Sequence[str]) -> Words:
    """The words of this command, and those that name the dataset and the geometry.

    Raises:
        AdbenchError: One is unknown, lacks its value or is missing.
    """
    values: dict[str, str] = {}
    overrides, folders = list[str](), list[str]()
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in KEYS:
            if not value.strip():
                raise AdbenchError(f"score: {name}= must be followed by a value")
            values[name] = value.strip()
        elif equals and name.lstrip("+").partition(".")[0] in (*PARTS, "results", "cache"):
            overrides.append(word)
        elif equals and not os.path.lexists(word):
            known = (*KEYS, *PARTS, "results")
            raise AdbenchError(f"score: {unknown(f'{name}=', [f'{key}=' for key in known])}")
        elif word.startswith("-"):
            raise AdbenchError(f"score: no {word!r}; `adbench score --help` tells more")
        else:
            folders.append(word)
    if len(folders) != 1:
        got = ", ".join(folders) or "none"
        raise AdbenchError(f"score: name one folder with maps or {CSV}; got {got}")
    for name, what in (
        ("name", "whose maps and scores are these? give name=TOOL"),
        ("version", "give version=V, because numbers of versions differ"),
    ):
        if name not in values:
            raise AdbenchError(f"score: {what}")
    if not any(word.startswith("dataset=") for word in overrides):
        raise AdbenchError("score: of which images? give dataset=NAME, as in adbench run")
    for name, allowed in CHOICES.items():
        if values.get(name, allowed[0]) not in allowed:
            raise AdbenchError(f"score: {name}={values[name]}: is {' or '.join(allowed)}")
    if not all(value.isprintable() for value in values.values()):
        raise AdbenchError("score: a value holds a sign that cannot be printed")
    return Words(expanded(folders[0]), values, overrides)
