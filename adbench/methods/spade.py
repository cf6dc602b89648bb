"""SPADE: the nearest normal images, and correspondences with their positions (Cohen & Hoshen, arXiv 2005.02357)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench import patches
from adbench.core import STRICT, AdbenchError, Features, Scores, require_finite, require_fitted
from adbench.kernels.gallery import Each, Gallery
from adbench.kernels.parallel import workers
from adbench.patches import AnomalyMap
from adbench.timing import stage


@dataclass(config=STRICT)
class SPADE:
    """Distance of an image to the K nearest normal images, and of each position to the nearest position in them."""

    layers: list[int] = Field(default_factory=lambda: [1, 2, 3], min_length=1)
    """Pyramid levels of the map; 1, 2 and 3 in the paper."""
    k: Annotated[int, Field(ge=1)] = 50
    """K, normal images: 50 in the paper and ind_knn_ad, 5 in SPADE-pytorch. Cut to as many as there are."""
    kappa: Annotated[int, Field(ge=1)] = 1
    """Number of positions whose distances are averaged; 1 in the paper."""
    gallery: Literal["all_positions", "same_position"] = "all_positions"
    """What a position is compared with in those images: all positions (the paper), or the one at the same place."""
    merge: Literal["mean", "sum", "concat"] = "mean"
    """mean, sum: each layer is compared on its own, and the upsampled distances are merged. concat: layers are stacked
    at the finest size, so that they all correspond to the same position."""
    distance: Literal["root", "squared"] = "root"
    """Of images and positions; root is the Euclidean one, as in SPADE-pytorch and ind_knn_ad."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From the distances of positions to the map."""

    needs_vectors: ClassVar[bool] = True
    asked: ClassVar[frozenset[str]] = frozenset({"k", "kappa", "gallery", "distance", "anomaly_map"})

    def fit(self, normal: Features) -> Self:
        """Keep the features of the normal images, without copying the maps, and learn how to search them.

        Learns ``vectors_`` (N, d), ``maps_``, and a ``galleries_`` entry for each level that is compared on its own.

        Raises:
            AdbenchError: There is no image, or features lack vectors or are not finite.
        """
        if not len(normal):
            raise AdbenchError("SPADE.fit: no training images")
        self.vectors_ = _vectors(normal)
        require_finite(self.vectors_, "training vectors")
        self.maps_ = normal.maps
        self.shapes_ = [tuple(level.shape) for level in _levels(normal.maps, 0, self.merge)]
        images = [partial(_positions, normal.maps, self.merge, level) for level in range(len(self.shapes_))]
        with workers() as each:
            self.galleries_ = [Gallery(image, len(normal), each) for image in images]
        self.source_ = normal.source
        return self

    @property
    def notes_(self) -> list[str]:
        """For the record: that K was cut, where it was."""
        n = len(self.vectors_)
        return [f"k {self.k} cut to the {n} training images"] if self.k > n else []

    def score(self, test: Features) -> Scores:
        """Mean distance to the K nearest images, and the map of distances to the nearest positions in them."""
        with stage("distance"):
            nearest, images = self._retrieve(test)
            with workers() as each:
                compared = [self._compare(test.maps, i, nearest[i], each) for i in range(len(test))]
        with stage("map"):
            upsample = replace(self.anomaly_map, sigma=0.0)
            layers = [upsample(torch.stack(layer), test.size) for layer in zip(*compared, strict=True)]
            merged = torch.stack(layers).sum(dim=0) if self.merge == "sum" else torch.stack(layers).mean(dim=0)
            return Scores(images, self.anomaly_map(merged, test.size))

    def image_scores(self, test: Features) -> Tensor:
        """(n,) image scores without the maps."""
        return self._retrieve(test)[1]

    def multiply_adds(self) -> int:
        """Multiply-adds per position of the finest level, if all positions of the gallery were compared in full."""
        k = min(self.k, len(self.vectors_))
        compared = [h * w if self.gallery == "all_positions" else 1 for _, h, w in self.shapes_]
        work = [k * c * h * w * n for (c, h, w), n in zip(self.shapes_, compared, strict=True)]
        return sum(work) // (self.shapes_[0][1] * self.shapes_[0][2])

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score; see ``adbench.memory``."""
        maps = normal.maps[-len(self.layers) :]  # a lighter setting reads the last of them
        shapes = [tuple(level.shape) for level in _levels(maps, 0, self.merge)]
        galleries = sum(Gallery.bytes(len(normal), h * w, c) for c, h, w in shapes)
        working = 16 * torch.get_num_threads() * max(c * h * w for c, h, w in shapes)
        anomaly_maps = 4 * test * normal.size[0] * normal.size[1]
        return galleries + working + (2 * len(shapes) + 2) * anomaly_maps

    def lighter(self) -> Iterator[dict[str, Any]]:
        """Fewer layers, the finest left out first."""
        yield from ({"layers": self.layers[skipped:]} for skipped in range(1, len(self.layers)))

    def _retrieve(self, test: Features) -> tuple[np.ndarray, Tensor]:
        """(n, K) numbers of the nearest training images, nearest first, and (n,) mean distances to them."""
        require_fitted(self, test)
        vectors = _vectors(test)
        require_finite(vectors, "test vectors")
        nearest, scores = [], []
        for vector in vectors:
            squared = np.square(self.vectors_ - vector, dtype=np.float64).sum(axis=1)
            chosen = np.argsort(squared, kind="stable")[: self.k]
            nearest.append(chosen)
            scores.append(self._distances(squared[chosen]).mean())
        return np.array(nearest), torch.tensor(scores, dtype=torch.float32)

    def _compare(self, maps: list[Tensor], number: int, chosen: np.ndarray, each: Each) -> list[Tensor]:
        """(h, w) distances of one test image's positions to the gallery that ``chosen`` images make, level by level."""
        least = len(chosen) * min(h * w if self.gallery == "all_positions" else 1 for _, h, w in self.shapes_)
        if self.kappa > least:
            raise AdbenchError(
                f"kappa {self.kappa} is larger than the gallery of {least} positions; lower it or raise k"
            )
        compared = []
        for level, (_, h, w) in enumerate(self.shapes_):
            positions = _positions(maps, self.merge, level, number)
            require_finite(positions, "test features")
            if self.gallery == "all_positions":
                squared = self.galleries_[level].search(positions, chosen, self.kappa, each)  # (h w, kappa)
            else:
                same = (_positions(self.maps_, self.merge, level, image) for image in chosen)
                every = np.stack([np.square(s - positions, dtype=np.float64).sum(axis=1) for s in same], axis=1)
                squared = np.sort(every, axis=1)[:, : self.kappa]
            compared.append(torch.from_numpy(self._distances(squared).mean(axis=1).astype(np.float32)).reshape(h, w))
        return compared

    def _distances(self, squared: np.ndarray) -> np.ndarray:
        return squared if self.distance == "squared" else np.sqrt(squared)


def _vectors(features: Features) -> np.ndarray:
    """(n, d) float32."""
    if features.vectors is None:
        raise AdbenchError("SPADE reads the pooled vectors of the last stage, and these features have none")
    vectors: np.ndarray = features.vectors.numpy()
    return vectors


def _levels(maps: list[Tensor], number: int, merge: str) -> list[Tensor]:
    """The (c, h, w) maps of one image that are compared on their own: one per layer, or all of them stacked."""
    layers = [m[number : number + 1] for m in maps]
    return [m[0] for m in ([patches.stack(layers)] if merge == "concat" else layers)]


def _positions(maps: list[Tensor], merge: str, level: int, number: int) -> np.ndarray:
    """(h w, c) rows of one level of one image."""
    rows = _levels(maps, number, merge)[level].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(rows).reshape(-1, rows.shape[-1])
