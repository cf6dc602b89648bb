"""SPADE: the nearest normal images and positions in them (Cohen & Hoshen, arXiv 2005.02357)."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import ImpossibleError
from adbench.features.features import Features
from adbench.kernels.device import block_size, has_double, in_blocks
from adbench.kernels.device_gallery import DeviceGallery
from adbench.kernels.finite import require_finite
from adbench.kernels.gallery import Gallery
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.galleries import (
    Array,
    Galleries,
    Kind,
    galleries_of,
    nearest_images,
    nearest_positions,
)
from adbench.methods.levels import positions_of, shapes_of, vectors_of
from adbench.methods.method import LayerNumbers, Scores, require_fitted
from adbench.methods.on_device import (
    begin_fit,
    bytes_beside,
    device_of,
    double_device,
    in_double,
    settle,
)
from adbench.system.parallel import threads, workers
from adbench.system.settings import STRICT
from adbench.system.stages import stage


@dataclass(config=STRICT)
class SPADE:
    """Distance of an image to the K nearest normal images, and of its positions to theirs.

    Learned state:
        vectors_: (N, d) float32 pooled vectors of the normal images.
        maps_: (N, c, h, w) float32 maps of the normal images for each layer, not copied.
        source_: Source of the features.
    """

    layers: LayerNumbers = Field(default_factory=lambda: [1, 2, 3])
    """Pyramid levels of the map; 1, 2 and 3 in the paper."""
    k: Annotated[int, Field(ge=1)] = 50
    """K, the number of normal images: 50 in the paper and ind_knn_ad, 5 in SPADE-pytorch. It is cut
    to the number of training images."""
    kappa: Annotated[int, Field(ge=1)] = 1
    """Number of nearest positions whose distances are averaged; 1 in the paper."""
    gallery: Kind = "all_positions"
    """What a position is compared with in the K images: all positions (the paper), or the one at
    the same place."""
    merge: Literal["mean", "sum", "concat"] = "mean"
    """``mean`` and ``sum`` compare each layer on its own and merge the upsampled distances.
    ``concat`` stacks the layers at the finest size, so that all of them correspond to the same
    position."""
    distance: Literal["root", "squared"] = "root"
    """Between images and between positions. ``root`` is the Euclidean distance, as in SPADE-pytorch
    and ind_knn_ad."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From the distances of positions to the map."""

    needs_vectors: ClassVar[bool] = True
    score_settings: ClassVar[frozenset[str]] = frozenset(
        {"k", "kappa", "gallery", "distance", "anomaly_map"}
    )
    nested: ClassVar[str | None] = None

    def fit(self, normal: Features) -> Self:
        """Keep the features of the normal images, and prepare the search of their positions.

        Raises:
            AdbenchError: There is no image, or features lack vectors or are not finite.
        """
        normal = in_double(normal)
        begin_fit(self, normal, "galleries", "images")
        vectors = vectors_of(normal)
        require_finite(vectors, "training vectors")
        self.vectors_, self.maps_ = vectors.numpy(), normal.maps
        _ = self.galleries  # here: its time is the fit's
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Mean distance to the K nearest images, and the map of distances to their positions.

        Raises:
            NotFittedError: ``fit`` was not called.
            AdbenchError: Features come from another source, lack vectors or are not finite, or
                ``kappa`` is larger than the gallery.
        """
        return next(self.score_all(test, [self]))

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """The scores of copies of this fitted method that differ in score settings.

        The gallery of the 5 nearest images begins the gallery of the 50 nearest. So one search
        serves every K and kappa, and it is repeated for another kind of gallery only. Errors are
        those of ``score``.
        """
        require_fitted(self, test)
        test = in_double(test)
        settle(self, test, "galleries", "images")
        with stage("distance"):
            # step 1: the nearest images by their pooled vectors, and the mean distance to K of them
            vectors = vectors_of(test)
            require_finite(vectors, "test vectors")
            k = max(v.k for v in variants)
            nearest, squared = nearest_images(vectors, self.images, k)  # (n, K) both
            images = [v._mean(squared[:, : v.k]).cpu() for v in variants]  # (n,)
            # step 2: the nearest positions in the gallery of these images, level by level
            compared = self._compare(test, nearest, variants) if maps else []
        if not maps:
            yield from (Scores(scores, None) for scores in images)
            return
        for v, scores, levels in zip(variants, images, compared, strict=True):
            with stage("map"):
                merged = v._merge(levels, test.size)
            yield Scores(scores, merged)
            del merged  # before the next one is made

    @cached_property
    def galleries(self) -> Galleries:
        """For each level that is compared on its own, the search of the training positions."""
        return galleries_of(self.maps_, self.merge, device_of(self))

    @cached_property
    def images(self) -> Array:
        """(N, d) vectors_, where the method computes."""
        device = device_of(self)
        return self.vectors_ if device is None else torch.from_numpy(self.vectors_).to(device)

    @property
    def notes_(self) -> list[str]:
        """For the record: that K was cut, where it was."""
        n = len(self.vectors_)
        return [f"k {self.k} cut to the {n} training images"] if self.k > n else []

    def multiply_adds(self) -> int:
        """Multiply-adds per position of the finest level, if the whole gallery were compared."""
        k, shapes = min(self.k, len(self.vectors_)), shapes_of(self.maps_, self.merge)
        compared = [h * w if self.gallery == "all_positions" else 1 for _, h, w in shapes]
        work = [k * c * h * w * n for (c, h, w), n in zip(shapes, compared, strict=True)]
        return sum(work) // (shapes[0][1] * shapes[0][2])

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of a fit to ``normal`` or of a score of ``test`` images after it."""
        shapes = shapes_of(normal.maps[-len(self.layers) :], self.merge)
        if double_device(normal) is not None:  # it keeps no more than the features
            return bytes_beside(normal, test)
        galleries = sum(Gallery.bytes(len(normal), h * w, c) for c, h, w in shapes)
        working = 16 * threads() * max(c * h * w for c, h, w in shapes)
        anomaly_maps = 4 * test * normal.size[0] * normal.size[1]
        return galleries + working + (2 * len(shapes) + 2) * anomaly_maps

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes of a device at the peak of a fit to ``normal``, or of a score after it."""
        if not has_double(torch.device(normal.device)):
            return 0
        shapes = shapes_of(normal.maps[-len(self.layers) :], self.merge)
        galleries = sum(DeviceGallery.bytes(len(normal), h * w, c) for c, h, w in shapes)
        return galleries + 8 * test * sum(h * w for _, h, w in shapes)

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Fewer layers, without the finest first."""
        layers = sorted(self.layers)  # finest first, as their maps are
        yield from ({"layers": layers[skipped:]} for skipped in range(1, len(layers)))

    def _compare(
        self, test: Features, nearest: Array, variants: Sequence[Self]
    ) -> list[list[Tensor]]:
        """For each variant and level, the (n, h, w) distances of positions to the gallery."""
        shapes = shapes_of(self.maps_, self.merge)
        for variant in variants:
            variant._require_gallery(nearest.shape[1], shapes)
        device = device_of(self)
        out = [
            [torch.empty(len(test), h, w, device=device) for _, h, w in shapes] for _ in variants
        ]
        with workers() as each:
            for kind, i in product(sorted({v.gallery for v in variants}), range(len(test))):
                alike = [(v, o) for v, o in zip(variants, out, strict=True) if v.gallery == kind]
                counts = [min(v.k, nearest.shape[1]) for v, _ in alike]
                kappa = max(v.kappa for v, _ in alike)
                image = test[i : i + 1].on_device()
                for level, (_, h, w) in enumerate(shapes):
                    queries = positions_of(image.maps, self.merge, level, 0)
                    require_finite(queries, "test features")
                    gallery = self.galleries[level]
                    found = nearest_positions(
                        gallery, kind, queries, nearest[i], kappa, counts, each
                    )
                    for (v, distances), count in zip(alike, counts, strict=True):
                        scores = v._mean(found[count][:, : v.kappa])
                        distances[level][i] = scores.reshape(h, w)
        return out

    def _require_gallery(self, images: int, shapes: Sequence[tuple[int, int, int]]) -> None:
        least = min(h * w if self.gallery == "all_positions" else 1 for _, h, w in shapes)
        positions = min(self.k, images) * least
        if self.kappa > positions:
            raise ImpossibleError(
                f"SPADE: kappa {self.kappa} is larger than the gallery of {positions} positions; "
                "lower it or raise k"
            )

    def _mean(self, squared: Array) -> Tensor:
        """(n,) float32 means of the distances in (n, m) squares."""
        distances = squared if self.distance == "squared" else squared**0.5
        return torch.as_tensor(distances.mean(1)).float()

    def _merge(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """(n, h, w) distances of each level to the (n, H, W) map."""

        def make(images: slice) -> Tensor:
            layers = torch.stack([self.anomaly_map.upsampled(m[images], size) for m in levels])
            merged = layers.sum(dim=0) if self.merge == "sum" else layers.mean(dim=0)
            return self.anomaly_map(merged, size)

        per_image = 4 * (len(levels) + 4) * size[0] * size[1]
        parts = in_blocks(make, len(levels[0]), block_size(per_image), "anomaly maps")
        return torch.cat(parts) if parts else torch.empty(0, *size)
