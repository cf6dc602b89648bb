"""PaDiM and PaDiM-JL: a Gaussian of normal features per patch position (Defard et al., ICPR 2020, arXiv 2011.08785)."""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench import machine, patches
from adbench.core import STRICT, AdbenchError, Features, Scores, require_finite, require_fitted
from adbench.kernels import projection
from adbench.kernels.blockwise import READ, Part, Referred, Stored
from adbench.kernels.cholesky import PANEL, Factors
from adbench.kernels.mahalanobis import WORKSPACE, Dual, Primal, factor_all, squared_distances
from adbench.kernels.parallel import workers
from adbench.patches import AnomalyMap
from adbench.timing import stage

CHUNK = 256 * 1024**2
"""Bytes of reduced values that are made at a time."""
STATE = 1536 * 1024**2
"""Bytes up to which ``reduction=none`` copies the training values and keeps the factors, where half of what is free holds
them. Beyond, the fitted state refers to the feature maps and every ``score`` factors anew: seconds more per call, little
memory besides the maps, the same numbers."""


@dataclass(config=STRICT)
class PaDiM:
    """Mahalanobis distance of each patch to the normal patches at its own position."""

    layers: list[int] = Field(default_factory=lambda: [1, 2, 3], min_length=1)
    """Pyramid levels; 1, 2 and 3 in the paper. Deeper maps are copied blockwise to the finest resolution."""
    reduction: Literal["select", "gaussian", "orthonormal", "sparse", "none"] = "select"
    """select: a random choice of channels (the paper, section III-B); gaussian, orthonormal, sparse: a random
    projection, the same at all positions (PaDiM-JL); none: all channels."""
    dims: Annotated[int, Field(ge=1)] | None = None
    """Dimensions left: in the paper 100 of 448 for ResNet18, 550 of 1792 for WideResNet50; null: the latter's share."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the choice or the projection."""
    solver: Literal["auto", "primal", "dual"] = "auto"
    """primal: d x d covariances; dual: the n x n form of the same distances; auto: primal where dims <= images."""
    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Added to the diagonal of every covariance: 0.01 in the paper (equation 1), 0.04 in ind_knn_ad."""
    ridge_scale: Literal["absolute", "trace"] = "absolute"
    """trace: times the mean variance of a dimension over all positions, so that a ridge means the same for every
    reduction: projected from D to m dimensions, a dimension has D / m times the variance of a selected one."""
    image_score: Literal["blurred", "raw"] = "blurred"
    """The largest value of the anomaly map (the paper) or of the patch distances (ind_knn_ad)."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From patch distances to the map; the paper upsamples bicubically, public code bilinearly."""

    needs_vectors: ClassVar[bool] = False
    asked: ClassVar[frozenset[str]] = frozenset({"ridge", "ridge_scale", "image_score", "anomaly_map"})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reduction == "none" and self.dims is not None:
            raise ValueError(f"dims {self.dims} contradicts reduction=none, which keeps all channels; set dims to null")
        return self

    def fit(self, normal: Features) -> Self:
        """Estimate the mean and the covariance at each position, over the images.

        Raises:
            AdbenchError: Fewer than 2 images, more dims than channels, features that are not finite, or a ridge too
                small to invert a covariance.
        """
        self.source_: str | None = None  # a fit that fails leaves nothing to score with
        n = len(normal)
        if n < 2:
            raise AdbenchError(f"a covariance needs at least 2 normal images, got {n}")
        dims = self._draw(normal)
        self.mean_: list[np.ndarray] = []  # (c, cells) per layer
        for m, used in zip(normal.maps, self.channels_, strict=True):
            self.mean_.append(m.mean(dim=0).flatten(1).numpy()[used])
            normal.evict()
        for mean in self.mean_:
            require_finite(mean, "means of the normal features")
        self.gaussians_: Primal | Dual
        if self.solver == "primal" or (self.solver == "auto" and dims <= n):
            self.refers_ = False
            self.gaussians_ = Primal(self._chunks(normal), self._block())
        else:
            self.refers_ = self._refers(normal)
            values = self._referred if self.refers_ else self._copied
            self.gaussians_ = Dual(values(normal.maps, normal.evict), self._block())
        self.factors_: tuple[float, list[Factors]] | None = None
        self._factors()
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Distance of each patch to the Gaussian at its position (equation 2).

        Raises:
            NotFittedError: Before ``fit``.
            AdbenchError: Features of another source or shape than the fitted ones, or not finite.
        """
        require_fitted(self, test)
        shapes = [tuple(m.shape[1:]) for m in test.maps]
        if shapes != self.shapes_:
            raise AdbenchError(
                f"PaDiM was fitted on maps of (c, h, w) {self.shapes_} and cannot score maps of {shapes}"
            )
        for m in test.maps:
            require_finite(m, "test features")
        with stage("distance"):
            ridge, factors = self._factors()
            chunks = self._chunks(test)
            together = [list(chunks)] if factors is None else ([chunk] for chunk in chunks)
            squared = [squared_distances(self.gaussians_, ridge, group, factors) for group in together]
            distances = torch.from_numpy(np.sqrt(np.concatenate(squared, axis=1).T)).reshape(-1, *self.shapes_[0][1:])
        with stage("map"):
            maps = self.anomaly_map(distances, test.size)
        return Scores((maps if self.image_score == "blurred" else distances).amax(dim=(1, 2)), maps)

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score; see ``adbench.memory``."""
        probe, n = copy.copy(self), len(normal)
        dims = probe._draw(normal)
        values = sum(cells * c for cells, c in probe._reduced_shapes())  # of an image
        positions = len(probe.cells_[0])
        primal = self.solver == "primal" or (self.solver == "auto" and dims <= n)
        order = dims if primal else n
        factors = 4 * positions * order * (order + PANEL) // 2
        if primal:
            state = 4 * positions * dims * (dims + 1) + factors
        else:
            state = WORKSPACE if probe._refers(normal) else 4 * n * values + factors
        chunk = max(1, CHUNK // (4 * values))
        copied, scored = min(max(n, test), chunk), min(test, chunk)  # images at a time
        rows = probe._block() * max(3 * scored * (n + dims), 3 * min(n, chunk) * dims if primal else 0)  # of a thread
        maps = test * (positions + normal.size[0] * normal.size[1])
        return state + 4 * (2 * copied * values + torch.get_num_threads() * (rows + 6 * order**2) + 3 * maps)

    def lighter(self) -> Iterator[dict[str, Any]]:
        """Fewer dimensions."""
        selected = {"reduction": "select"} if self.reduction == "none" else {}
        yield from ({**selected, "dims": dims} for dims in (550, 200, 100, 50) if dims < (self.dims or 551))

    def _draw(self, normal: Features) -> int:
        """Choose the channels or draw the projection; returns the number of dimensions left."""
        self.shapes_ = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in normal.maps]
        self.cells_ = self._cells()
        counts = [shape[0] for shape in self.shapes_]
        total = sum(counts)
        self.notes_: list[str] = []
        self.channels_ = [np.arange(count) for count in counts]
        self.matrices_: list[np.ndarray] = []  # (c, dims) per layer
        if self.reduction == "none":
            return total
        dims = self.dims or max(1, round(total * 550 / 1792))
        if dims > total:
            raise AdbenchError(
                f"dims {dims} is more than the {total} channels of layers {self.layers}; use at most {total}, or null"
            )
        if self.dims is None and total != 1792:
            self.notes_.append(f"dims {dims} of {total} channels, the share that the paper keeps of WideResNet50's")
        if self.reduction == "select":
            chosen = projection.select(total, dims, self.seed).numpy()
            bounds = np.cumsum([0, *counts]).tolist()
            self.channels_ = [chosen[(chosen >= start) & (chosen < stop)] - start for start, stop in pairwise(bounds)]
        else:
            draw = {"gaussian": projection.gaussian, "orthonormal": projection.orthonormal, "sparse": projection.sparse}
            self.matrices_ = np.split(draw[self.reduction](total, dims, self.seed).numpy(), np.cumsum(counts)[:-1])
        return dims

    def _reduce(self, image: Sequence[Tensor]) -> list[np.ndarray]:
        """Centred values of one image: (cells, c) per layer, or one (positions, dims) where they are projected.

        Choosing and projecting channels commutes with copying cells, so each layer is reduced at its own resolution and
        the map of all channels at the finest one is never made.
        """
        centred = [
            (layer.flatten(1).numpy()[used] - mean).T
            for layer, used, mean in zip(image, self.channels_, self.mean_, strict=True)
        ]
        if not self.matrices_:
            return centred
        total = centred[0] @ self.matrices_[0]
        for values, matrix, cell in zip(centred[1:], self.matrices_[1:], self.cells_[1:], strict=True):
            total += np.take(values @ matrix, cell, axis=0)
        return [total]

    def _copied(self, maps: Sequence[Tensor], evict: Callable[[], None]) -> list[Part]:
        """Reduced values of some images, cell by cell; ``evict`` is called when some were read."""
        values = [np.empty((cells, len(maps[0]), c), np.float32) for cells, c in self._reduced_shapes()]

        def copy(i: int) -> None:
            for out, reduced in zip(values, self._reduce([m[i] for m in maps]), strict=True):
                out[:, i] = reduced
            if i % READ == READ - 1:
                evict()

        with workers() as each:
            each(copy, range(len(maps[0])))
        return [Stored(out, cell) for out, cell in zip(values, self.cells_, strict=False)]

    def _referred(self, maps: Sequence[Tensor], evict: Callable[[], None]) -> list[Part]:
        """The same values for ``reduction=none``, left where they are."""
        flat = [m.flatten(2).numpy() for m in maps]
        return [Referred(m, mean, cell, evict) for m, mean, cell in zip(flat, self.mean_, self.cells_, strict=True)]

    def _refers(self, normal: Features) -> bool:
        factors = 2 * normal.maps[0][0, 0].numel() * len(normal) ** 2  # bytes, as triangles
        state = sum(m.nbytes for m in normal.maps) + factors
        return self.reduction == "none" and state > min(STATE, machine.free_memory() // 2)

    def _chunks(self, features: Features) -> Iterator[list[Part]]:
        """Values of all images, some at a time."""
        values = self._referred if self.refers_ else self._copied
        step = max(1, CHUNK // sum(4 * cells * c for cells, c in self._reduced_shapes()))
        for first in range(0, len(features), step):
            yield values([m[first : first + step] for m in features.maps], features.evict)

    def _reduced_shapes(self) -> list[tuple[int, int]]:
        """Cells and dimensions of each part."""
        cells = [h * w for _, h, w in self.shapes_]
        if self.matrices_:
            return [(cells[0], self.matrices_[0].shape[1])]
        return [(count, len(used)) for count, used in zip(cells, self.channels_, strict=True)]

    def _cells(self) -> list[np.ndarray]:
        """(positions,) per layer: the cell that each position of the finest layer copies."""
        finest = self.shapes_[0][1:]
        numbers = [torch.arange(h * w, dtype=torch.float32).reshape(1, 1, h, w) for _, h, w in self.shapes_]
        return [patches.resize(grid, finest, "nearest").flatten().long().numpy() for grid in numbers]

    def _block(self) -> int:
        """Positions worked on at a time: rows that share no cell with the next ones, or few where nothing is shared."""
        _, h, w = self.shapes_[0]
        shared = 1 if self.matrices_ else h // min(shape[1] for shape in self.shapes_)
        return w * shared if shared > 1 else 32

    def _factors(self) -> tuple[float, list[Factors] | None]:
        """The ridge as it is added, and the factors for it, which are kept until another ridge is asked for."""
        ridge = self.ridge * (self.gaussians_.variance if self.ridge_scale == "trace" else 1.0)
        if ridge == 0:
            raise AdbenchError("the normal images are all equal: ridge_scale=trace gives no ridge; set it to absolute")
        if self.refers_:
            return ridge, None
        if self.factors_ is None or self.factors_[0] != ridge:
            self.factors_ = None  # frees the old ones before the new ones are made
            self.factors_ = (ridge, factor_all(self.gaussians_, ridge))
        return self.factors_
