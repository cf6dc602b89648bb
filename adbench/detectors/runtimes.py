"""ONNX graphs of detectors, run on the CPU by ONNX Runtime or by OpenVINO.

Both run standard operations alone; neither loads code that a file names.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import torch

from adbench.backbones import openvino_engine
from adbench.data.listing import shown
from adbench.errors import AdbenchError

Runtime = Literal["onnxruntime", "openvino"]
INPUT, SCORE, MAP = "images", "score", "map"
"""Names of the graph's input and outputs."""
DATA = ".data"
"""What the name of a file with constants adds to that of its graph."""
CONSTANTS = "constants"
"""The key in the metadata under which a graph names that file, and its sha256, as JSON."""
Arrays = tuple[np.ndarray, np.ndarray]
Run = Callable[[np.ndarray], Arrays]
"""From (n, H, W, 3) uint8 RGB to (n,) image scores and (n, H, W) maps, both float32."""


@dataclass(frozen=True)
class _Opened:
    """A graph that is ready to run on a number of threads."""

    metadata: Mapping[str, str]
    run: Run
    threads: int


class Graph:
    """A graph that runs on as many threads as torch has when it is used.

    torch counts the threads for each thread of Python. All that use one graph must have the same
    number, or the file is opened at every change.

    Args:
        path: An .onnx file, which must stay where it is. Constants in a file beside it are found
            by its own words.
        runtime: What computes.

    Attributes:
        metadata: What the file says of itself.

    Raises:
        AdbenchError: The runtime is not installed; the file is missing, damaged or no graph.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path, self._runtime, self._lock = path.absolute(), runtime, Lock()
        self._opened: _Opened | None = _open(path, runtime)
        self.metadata = self._opened.metadata

    def run(self, images: np.ndarray) -> Arrays:
        """(n,) image scores and (n, H, W) maps, both float32, of (n, H, W, 3) uint8 RGB.

        Raises:
            AdbenchError: As ``prepare``.
        """
        return self.prepare()(images)

    def prepare(self) -> Run:
        """What runs it on the threads that torch has now, before the first image waits for it.

        Both runtimes fix the number of threads when they open a graph, so it is opened anew where
        torch has had another number since.

        Raises:
            AdbenchError: It must be opened anew, and the file is gone or another one.
        """
        with self._lock:
            opened = self._opened
            if opened is None or opened.threads != torch.get_num_threads():
                self._opened = opened = None  # both at once would take twice the memory
                opened = _open(self._path, self._runtime)
                if opened.metadata != self.metadata:
                    raise AdbenchError(
                        f"{shown(self._path)}: was replaced since it was opened; open it again"
                    )
                self._opened = opened
            return opened.run


def require_installed(packages: list[str], extra: str) -> None:
    """Raise AdbenchError where a package is not installed, without importing any.

    Args:
        packages: Names of modules, which several distributions may hold (onnxruntime-gpu).
        extra: Of adbench, which installs them.
    """
    # A folder of that name where the command was typed has a spec too, but no origin.
    missing = [p for p in packages if getattr(find_spec(p), "origin", None) is None]
    if missing:
        raise AdbenchError(
            f"{', '.join(missing)}: not installed; run pip install 'adbench-vision[{extra}]'"
        )


def _open(path: Path, runtime: Runtime) -> _Opened:
    """Read a graph, and prepare it for as many threads as torch has now."""
    if not os.path.isfile(path):
        what = "is no file" if os.path.exists(path) else "there is no such file"
        raise AdbenchError(f"{shown(path)}: {what}; adbench export writes graphs")
    require_installed([runtime], "onnx" if runtime == "onnxruntime" else "openvino")
    prepare = _by_onnxruntime if runtime == "onnxruntime" else _by_openvino
    threads = torch.get_num_threads()
    try:
        metadata, run = prepare(path)
    except Exception as error:  # each runtime has many classes of its own, with no common one
        raise _unreadable(path, error) from error
    _require_constants(path, metadata)
    return _Opened(metadata, run, threads)


def constants_of(file: Path) -> str:
    """What a graph says of its file of constants, for the key ``CONSTANTS``."""
    with file.open("rb") as opened:
        return json.dumps({"file": file.name, "sha256": file_digest(opened, "sha256").hexdigest()})


def _require_constants(path: Path, said: Mapping[str, str]) -> None:
    """Refuse a file of constants of another export, with which a graph gives other scores."""
    if CONSTANTS not in said:
        return
    try:
        file = path.with_name(json.loads(said[CONSTANTS])["file"])
        same = constants_of(file) == said[CONSTANTS]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _unreadable(path, error) from error
    if not same:
        raise AdbenchError(
            f"{shown(path)}: the constants in {shown(file.name)} are not those that were exported "
            "with it; copy both files again, or export the detector again"
        )


def _by_onnxruntime(path: Path) -> tuple[Mapping[str, str], Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised; what else it says is for its developers
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> Arrays:
        score, anomaly_map = session.run([SCORE, MAP], {INPUT: images})
        return score, anomaly_map

    return session.get_modelmeta().custom_metadata_map, run


def _by_openvino(path: Path) -> tuple[Mapping[str, str], Run]:
    core = openvino_engine.core()
    model = core.read_model(path)
    said = model.get_rt_info()["framework"] if model.has_rt_info(["framework"]) else {}
    compiled = core.compile_model(model, "CPU", openvino_engine.settings("fp32"))

    def run(images: np.ndarray) -> Arrays:
        found = compiled({INPUT: images})
        return found[SCORE], found[MAP]

    return {name: value.value for name, value in said.items()}, run


def _unreadable(path: Path, error: Exception) -> AdbenchError:
    text = str(error)
    if f".onnx{DATA}" in text or "External initializer" in text:
        return AdbenchError(
            f"{shown(path)}: the file with its constants, whose name ends in .onnx{DATA}, is "
            "missing beside it or cut off; copy both files, and keep the names that they were "
            "exported with"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return AdbenchError(
        f"{shown(path)}: is cut off, damaged or no ONNX graph ({lines[-1][:200]}); copy it again, "
        "or export the detector again"
    )
