"""A saved detector of either kind of file."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from adbench.detectors import saved
from adbench.detectors.detector import Detector
from adbench.detectors.header import Header
from adbench.detectors.runtimes import Runtime as Runtime
from adbench.errors import AdbenchError

ONNX = ".onnx"


@runtime_checkable
class Opened(Detector, Protocol):
    """A fitted detector that was read from a file."""

    @property
    def header(self) -> Header:
        """What it says of itself."""
        ...


def read_header(path: Path) -> Header:
    """What a saved detector says of itself; its weights need not be here.

    Raises:
        AdbenchError: As ``open_detector``, but for the weights.
    """
    if path.suffix.lower() == ONNX:
        from adbench.detectors.onnx_metadata import header_of
        from adbench.detectors.runtimes import Graph

        return header_of(Graph(path, "onnxruntime").metadata, path)
    _require_known(path)
    return saved.read_header(path)


def open_detector(
    path: Path,
    device: str = "auto",
    weights: str | None = None,
    runtime: Runtime = "onnxruntime",
) -> Opened:
    """The detector in a file that ``adbench fit`` or ``adbench export`` wrote.

    Args:
        path: It ends in ``.safetensors`` or ``.onnx``.
        device: Where the former is to compute; the latter computes on the CPU.
        weights: The backbone's weights on this machine, for the former alone.
        runtime: What computes the latter alone.

    Raises:
        AdbenchError: The file has another suffix, is missing, damaged, or of another format; the
            backbone's weights are not here; or a setting is for the other kind of file.
    """
    if path.suffix.lower() == ONNX:
        if weights is not None:
            raise AdbenchError(f"weights={weights}: {path} holds its weights; leave this out")
        from adbench.detectors.onnx_detector import OnnxDetector

        return OnnxDetector.load(path, runtime)
    _require_known(path)
    if runtime != "onnxruntime":  # which is also what stands for no choice
        raise AdbenchError(f"runtime={runtime}: is for an {ONNX} file, not {path}; leave this out")
    return saved.load(path, device, weights)


def _require_known(path: Path) -> None:
    if path.suffix.lower() != saved.SUFFIX:
        raise AdbenchError(
            f"{path}: a detector is a {saved.SUFFIX} file, which adbench fit writes, or a {ONNX} "
            "file, which adbench export writes"
        )
