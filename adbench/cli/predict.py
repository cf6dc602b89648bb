"""``adbench predict``: scores and decisions of images by a saved detector, a row at a time."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, get_args

from adbench.cli.screen import say_aside
from adbench.cli.words import unknown
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.system.files import expanded

if TYPE_CHECKING:
    from adbench.bench.predict import Prediction, Predictor
    from adbench.data.sources import Source
    from adbench.results.predicted import Folders, Writer

USAGE = """usage: adbench predict FILE PATH... [key=value ...] [--json] [--fail-on-anomaly]

Score images by a detector of adbench fit (.safetensors) or adbench export (.onnx), and print a row
for each as soon as it is there: path,score,threshold,decision,p_value,seconds,error.

  adbench predict part.safetensors photos
  adbench predict part.safetensors 'photos/**/*.png' overlays=shown out=today.csv

PATH is an image, a folder with images at any depth, a pattern in quotes, or - for a list on
standard input, one path a line. ./a=b.png is a path, and a=b.png where there is such a file.

  alpha=0.01       another false alarm rate than the detector was fitted for
  overlays=DIR     pictures with the anomaly map over the image, all on one scale of colours
  masks=DIR        PNG files of the image's size, white where the map exceeds its threshold
  maps=DIR         anomaly maps as .npy files at the size of the network's input
  submission=DIR   the folder that the server of MVTec AD 2 takes, of CATEGORY/test_private images
  out=FILE         rows into a .csv file, with --json a .jsonl file, and not on standard output
  batch=16         images that are scored at once; 1 where they come from -
  device=auto      where a .safetensors file computes: auto, cpu, mps, cuda or cuda:N
  threads=N        CPU threads
  weights=PATH     where the backbone's weights lie on this machine
  runtime=onnxruntime  what computes an .onnx file: onnxruntime or openvino
  --json              one JSON object a line
  --fail-on-anomaly   exit with 3 where an image is called anomalous

Folders and names below DIR are those of the images. An image that cannot be read has a row with its
error, and the rest goes on. At the end, standard error tells how many images there were, how many a
second, and whether their scores have drifted away from those of the normal images.

Exit status: 0 every row is without an error, 1 some have one, 2 a word or the detector is wrong,
and then there is no row, 3 something was found and --fail-on-anomaly is given."""

JSON, FAIL, LIST = "--json", "--fail-on-anomaly", "-"
FOLDERS = ("overlays", "masks", "maps", "submission")
KEYS = ("alpha", *FOLDERS, "out", "batch", "device", "threads", "weights", "runtime")
MOST_IMAGES = 10_000  # in a batch
FOUND = 3  # the exit status of --fail-on-anomaly


@dataclass(frozen=True)
class _Words:
    detector: Path
    paths: list[str]
    values: dict[str, str]
    as_json: bool
    fail: bool

    @property
    def listed(self) -> bool:
        """Whether the paths come on standard input."""
        return self.paths == [LIST]

    def folder(self, name: str) -> Path | None:
        """A path among the values."""
        return expanded(self.values[name]) if name in self.values else None

    def count(self, name: str, most: int) -> int | None:
        """A whole number among the values, from 1 to ``most``."""
        text = self.values.get(name)
        if text is None:
            return None
        digits = text.isdecimal() and len(text) <= len(str(most))  # int() refuses very long ones
        if not (digits and 1 <= int(text) <= most):
            raise AdbenchError(f"predict: {name}={text}: is a whole number from 1 to {most}")
        return int(text)


def command(given: Namespace, configs: Configs) -> int:
    """Score images; returns the exit status."""
    if {"--help", "-h"} & set(given.words):
        print(USAGE)
        return 0
    words = _parsed(given.words)
    batch = words.count("batch", MOST_IMAGES) or (1 if words.listed else 16)
    os.environ["HF_HUB_OFFLINE"] = "1"  # weights that are not here are an error, and no download
    from adbench.cli.rows import Rows, Tally
    from adbench.data.sources import find
    from adbench.results.predicted import Folders

    predictor = _predictor(words)
    if words.fail and predictor.decision is None:
        raise AdbenchError(f"{FAIL}: {words.detector} was fitted with threshold=none; fit it again")
    folders = Folders(*(words.folder(name) for name in FOLDERS))
    writer = _writer(words, predictor, folders)
    sources = None if words.listed else find(words.paths, folders.all())
    folders.require_writable()
    predictor.warm_up()
    with _rows_to(words) as stream:
        rows, tally = Rows(stream, words.as_json), Tally(predictor)
        for prediction in _predictions(predictor, sources, batch, maps=bool(folders.all())):
            told = _written(prediction, predictor, writer)
            tally.add(told)
            rows.write(told)
    for line in tally.told():
        say_aside(line)
    if words.fail and tally.anomalous:
        return FOUND
    return 1 if tally.errors else 0


def _predictor(words: _Words) -> "Predictor":
    from adbench.bench.predict import Predictor
    from adbench.detectors.opening import ONNX, Runtime, open_detector
    from adbench.system.machine import MOST_THREADS, set_threads

    values = words.values
    graph = words.detector.suffix.lower() == ONNX
    device, wanted = values.get("device", "auto"), values.get("runtime", "onnxruntime")
    runtime = next((known for known in get_args(Runtime) if known == wanted), None)
    if runtime is None:
        raise AdbenchError(f"predict: runtime: {unknown(wanted, get_args(Runtime))}")
    if graph and device not in ("auto", "cpu"):
        raise AdbenchError(f"predict: device={device}: an {ONNX} file computes on the CPU")
    if not graph and "runtime" in values:
        raise AdbenchError(f"predict: runtime={runtime}: is for an {ONNX} file")
    alpha = _number(values["alpha"]) if "alpha" in values else None
    set_threads(words.count("threads", MOST_THREADS))
    detector = open_detector(words.detector, device, values.get("weights"), runtime)
    return Predictor(detector, alpha)


def _writer(words: _Words, predictor: "Predictor", folders: "Folders") -> "Writer":
    import numpy as np

    from adbench.data.sources import common_folder
    from adbench.results.overlay_sheet import scale_of_normal
    from adbench.results.predicted import Writer

    normal, decision = predictor.header.normal, predictor.decision
    scale = None
    if normal is not None and normal.highest is not None:
        assert decision is not None
        assert decision.pixel_value is not None
        scale = scale_of_normal(np.array(normal.highest), decision.pixel_value)
    for name in ("overlays", "masks"):
        if name in words.values and scale is None:
            raise AdbenchError(
                f"predict: {name}={words.values[name]}: {words.detector} has no threshold of "
                "pixels, because it was fitted with threshold=none or gives no anomaly maps"
            )
    below = Path.cwd() if words.listed else common_folder(words.paths)
    return Writer(folders, below, predictor.detector.geometry, scale)


def _predictions(
    predictor: "Predictor", sources: "list[Source] | None", batch: int, maps: bool
) -> "Iterator[Prediction]":
    """Predictions in the order of the images; places without images have errors."""
    from adbench.bench.predict import Prediction
    from adbench.data.sources import listed

    if sources is None:
        yield from predictor.stream(listed(sys.stdin.buffer), batch, maps)
        return
    found = predictor.stream([s.path for s in sources if s.error is None], batch, maps)
    for source in sources:
        wrong = source.error is not None
        yield Prediction(source.path, error=source.error) if wrong else next(found)


def _written(prediction: "Prediction", predictor: "Predictor", writer: "Writer") -> "Prediction":
    """A prediction whose pictures are written; with an error where they could not be."""
    from adbench.data.listing import shown
    from adbench.results.overlay_sheet import Judgement

    if prediction.path is None or prediction.score is None:
        return prediction
    judgement, decision = None, predictor.decision
    if decision is not None and prediction.p_value is not None:
        name, score = shown(prediction.path), prediction.score
        judgement = Judgement(name, score, decision.value, prediction.p_value, decision.alpha)
    try:
        writer.write(prediction.path, prediction.map, judgement)
    except AdbenchError as error:
        return replace(prediction, error=str(error))
    return prediction


@contextmanager
def _rows_to(words: _Words) -> Iterator[TextIO]:
    """Where rows go. A file is written to row by row, so that it holds what is done at any time."""
    out = words.folder("out")
    if out is None:
        yield sys.stdout
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stream = out.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise AdbenchError(f"out={out}: cannot be written: {error.strerror or error}") from None
    with stream:
        yield stream


def _parsed(words: Sequence[str]) -> _Words:
    """The words of this command.

    Raises:
        AdbenchError: One is unknown or lacks its value, or the detector or the images are missing.
    """
    values: dict[str, str] = {}
    places, flags = list[str](), set[str]()
    for word in words:
        name, equals, value = word.partition("=")
        if word in (JSON, FAIL):
            flags.add(word)
        elif equals and name in KEYS:
            if not value:
                raise AdbenchError(f"predict: {name}= must be followed by a value")
            values[name] = value
        elif equals and name.isidentifier() and not os.path.lexists(word):
            known = unknown(f"{name}=", [f"{key}=" for key in KEYS])
            raise AdbenchError(f"predict: {known}; of a path, write ./{word}")
        elif word.startswith("-") and word != LIST:
            raise AdbenchError(f"predict: {unknown(word, (JSON, FAIL, '--help'))}")
        elif word:
            places.append(word)
    if not places:
        raise AdbenchError("predict: which detector? give a file of adbench fit or adbench export")
    detector, *paths = places
    if not paths:
        raise AdbenchError("predict: which images? give files, folders, or - for a list on stdin")
    if LIST in paths and len(paths) > 1:
        raise AdbenchError("predict: - takes all paths from standard input; give no others")
    suffix = ".jsonl" if JSON in flags else ".csv"
    if "out" in values and not values["out"].endswith(suffix):
        raise AdbenchError(f"predict: out={values['out']}: the name of these rows ends in {suffix}")
    return _Words(expanded(detector), paths, values, JSON in flags, FAIL in flags)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AdbenchError(f"predict: alpha={text}: is a number between 0 and 1") from None
