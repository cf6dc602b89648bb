"""A detector in an ONNX graph that ``adbench export`` wrote."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.detectors.detector import Provider
from adbench.detectors.feature_detector import other_size
from adbench.detectors.header import Decision, Header
from adbench.detectors.onnx_metadata import header_of
from adbench.detectors.runtimes import Graph, Runtime
from adbench.detectors.saved import FITTED_BEFORE, built, of_saved
from adbench.errors import AdbenchError
from adbench.features.inputs import batches_of
from adbench.methods.method import Scores
from adbench.system.stages import stage

_BATCH = 16


@dataclass(frozen=True)
class OnnxDetector:
    """A fitted detector whose network and method are one graph; resizing stays outside.

    Attributes:
        geometry: How images reach the input of the graph.
        header: What the file says of itself.
        graph: What is run.
        runtime: What computes it.
    """

    geometry: Geometry
    header: Header
    graph: Graph
    runtime: Runtime

    @classmethod
    def load(cls, path: Path, runtime: Runtime = "onnxruntime") -> Self:
        """The detector in a file.

        Args:
            path: What ``adbench export`` wrote.
            runtime: What is to compute it, on the CPU.

        Raises:
            AdbenchError: The runtime is not installed; or the file is missing, damaged, of another
                format, or was not exported by adbench.
        """
        graph = Graph(path, runtime)
        header = header_of(graph.metadata, path)
        return cls(built(path, header, "geometry"), header, graph, runtime)

    @property
    def title(self) -> str:
        """The method's class."""
        return str(self._method.get("_target_")).rpartition(".")[2]

    def identity(self) -> dict[str, Any]:
        """That of the detector that was exported, and what computes it."""
        return {**self.header.identity, **of_saved(self.header, self.runtime)}

    def fit(self, normal: Images, provider: Provider) -> Self:
        """Itself: it was fitted before it was exported.

        The graph is made ready for the threads that torch has by now, so that no image waits.
        """
        self.graph.prepare()
        return replace(self)

    def score(self, images: Images) -> Scores:
        """Score images, which must reach the graph at the size that it was made for.

        One image is scored at a time, so its score is the same bits in whatever batch it came.

        Raises:
            AdbenchError: An image that cannot be read, or one of another size; or torch has another
                number of threads, and the file can no longer be opened for it.
        """
        scores = np.empty(len(images), np.float32)
        maps = np.empty((len(images), *self.header.size), np.float32)
        done = 0
        for inputs in batches_of(images, self.geometry, _BATCH):
            size = int(inputs.shape[2]), int(inputs.shape[3])
            if size != self.header.size:
                raise other_size(size, self.header.size)
            arrays = np.ascontiguousarray(inputs.permute(0, 2, 3, 1).numpy())
            with stage("score"):
                for image in arrays:
                    scores[done : done + 1], maps[done : done + 1] = self.graph.run(image[None])
                    done += 1
        if not (np.isfinite(scores).all() and np.isfinite(maps).all()):
            raise AdbenchError(f"{self.title}: the graph gives NaN or infinite scores")
        return Scores(torch.from_numpy(scores), torch.from_numpy(maps))

    def decision(self) -> Decision | None:
        """The thresholds that were found when it was fitted."""
        return self.header.decision()

    def facts(self) -> dict[str, Any]:
        """Weights, channels and notes as they were when it was fitted."""
        layers, shapes = sorted(self._method.get("layers", [])), self.header.shapes
        return {
            "weights": self.header.weights,
            "channels": {str(i): shape[0] for i, shape in zip(layers, shapes, strict=False)},
            "notes": list(self.header.notes),
            "fitted": FITTED_BEFORE,
        }

    def wait(self) -> None:
        """Nothing to wait for: the runtimes compute on the CPU, and return when they are done."""

    def release(self) -> None:
        """Nothing to give back: the graph is the detector."""

    @property
    def _method(self) -> dict[str, Any]:
        """The method's class and settings."""
        return self.header.parts.get("method", {})
