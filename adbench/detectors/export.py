"""Saved detectors as ONNX graphs: from the pixels of the network's input to scores and maps."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adbench.backbones import backbone as backbones
from adbench.data.listing import shown
from adbench.data.samples import Images
from adbench.detectors.onnx_detector import OnnxDetector
from adbench.detectors.onnx_metadata import metadata
from adbench.detectors.opening import ONNX
from adbench.detectors.parity import Parity, measure
from adbench.detectors.runtimes import (
    CONSTANTS,
    DATA,
    INPUT,
    MAP,
    SCORE,
    constants_of,
    require_installed,
)
from adbench.detectors.saved import SavedDetector
from adbench.errors import AdbenchError, ImpossibleError
from adbench.methods import method as methods
from adbench.system.files import scratch_folder, try_file

LARGEST = 1_500_000_000
"""Bytes of constants that one file holds; protobuf, the format of ONNX, ends at 2 GiB."""


class WholeModule(nn.Module):
    """(n, H, W, 3) uint8 RGB images to (n,) scores and (n, H, W) anomaly maps, float32.

    Args:
        network: From images to feature maps.
        method: From feature maps to scores and anomaly maps.
    """

    def __init__(self, network: nn.Module, method: nn.Module) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score the images."""
        scores: tuple[Tensor, Tensor] = self.method(*self.network(images))
        return scores


def require_exportable(saved: SavedDetector) -> None:
    """Check, before the work, that a detector can become a graph.

    Raises:
        AdbenchError: A package is missing.
        ImpossibleError: The method or the backbone has no graph.
    """
    require_installed(["onnx", "onnxscript", "onnxruntime"], "onnx")
    method, backbone = saved.detector.method, saved.detector.backbone
    if not isinstance(method, methods.Exports):
        raise ImpossibleError(
            f"{saved.title} has no graph: a graph is a fixed chain of operations on constants. "
            "SPADE compares every image with the maps of the training images nearest to it, so all "
            "of their maps would be constants; use the .safetensors file itself"
        )
    if not isinstance(backbone, backbones.Exports):
        raise ImpossibleError(
            f"{type(backbone).__name__} has no graph; a backbone of timm or open_clip has one"
        )


def require_writable(path: Path) -> None:
    """Check, before the work, that a graph can be written.

    Raises:
        AdbenchError: It cannot, or its name does not end in ``.onnx``.
    """
    if path.suffix != ONNX:
        raise AdbenchError(f"{shown(path)}: the name of a graph ends in {ONNX}")
    try:
        try_file(path)
    except OSError as error:
        raise AdbenchError(
            f"{shown(path)}: cannot be written: {error.strerror or error}; name another file"
        ) from None


def export(
    saved: SavedDetector,
    path: Path,
    images: Images,
    largest: int = LARGEST,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Write a detector as a graph, which is measured against it before it takes its place.

    Args:
        saved: The detector.
        path: The file, which is replaced where it exists.
        images: Normal images on which the graph must give the scores of the detector.
        largest: Bytes of constants beyond which they go into a file of their own beside the graph.
        say: Is told the figures.

    Returns:
        The files that were written.

    Raises:
        AdbenchError: A package is missing, the file cannot be written, or the graph gives other
            scores; nothing is written then.
        ImpossibleError: The method or the backbone has no graph.
    """
    require_exportable(saved)
    require_writable(path)
    program = _program(saved)
    try:
        with scratch_folder(path) as folder:
            made = folder / path.name
            apart = _bytes(program) > largest
            program.save(made, external_data=apart)
            if apart:
                _name_constants(made)
            parity = measure(saved, OnnxDetector.load(made), images)
            say(parity.words())
            _require(parity, saved)
            files = [made.with_name(made.name + DATA)] * apart + [made]
            path.parent.mkdir(parents=True, exist_ok=True)
            moved = [_moved(file, path.parent) for file in files]
            if not apart:  # constants of an earlier graph of this name, which nothing refers to now
                path.with_name(path.name + DATA).unlink(missing_ok=True)
            return moved
    except OSError as error:
        raise AdbenchError(f"cannot write {shown(path)}: {error}") from error


def _program(saved: SavedDetector) -> Any:
    """The graph, with what it says of itself."""
    header, detector = saved.header, saved.detector
    layers, _ = detector.reads()
    backbone: Any = detector.backbone
    method: Any = detector.method
    module = WholeModule(
        backbone.module(header.size, layers), method.graph(header.shapes, header.size)
    )
    module.cpu().eval()
    example = torch.zeros(2, *header.size, 3, dtype=torch.uint8)  # 1 would be taken for fixed
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about its own code
        program: Any = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[SCORE, MAP],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        )
    program.model.metadata_props.update(metadata(header, detector.geometry))
    return program


def _name_constants(made: Path) -> None:
    """Let a graph say which file of constants is its own; one of another export may replace it."""
    import onnx

    model = onnx.load(made, load_external_data=False)
    value = constants_of(made.with_name(made.name + DATA))
    model.metadata_props.add(key=CONSTANTS, value=value)
    onnx.save(model, made)


def _bytes(program: Any) -> int:
    values = program.model.graph.initializers.values()
    return sum(value.const_value.nbytes for value in values)


def _require(parity: Parity, saved: SavedDetector) -> None:
    if parity.holds:
        return
    precision = saved.header.identity.get("backbone", {}).get("precision", "fp32")
    advice = "try other normal images by images=DIR; if they agree no better, please report it"
    if precision != "fp32":
        advice = f"its backbone computes in {precision}, a graph in fp32: fit the detector in fp32"
    raise AdbenchError(
        f"the graph gives other scores than the detector, and is not written: {parity.words()}; "
        f"{advice}"
    )


def _moved(file: Path, folder: Path) -> Path:
    """The file in its final folder, on the disk before it has its name."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    return file.replace(folder / file.name)
