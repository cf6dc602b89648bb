"""SubspaceAD: what the principal axes of the normal patches leave (arXiv 2602.23013, section 3).

A patch x is the mean, or the concatenation, of its values in several layers. A principal component
analysis of all normal patches gives their mean m and axes u_1, u_2, ... with descending variances.
The first r axes are kept, as few as hold a share of the whole variance. The score of a patch is
the squared length of what they leave:

    s = |x - m - sum over i = 1 .. r of (u_i^T (x - m)) u_i|^2

It is CRD with a hard threshold on the eigenvalues instead of a soft one, so one decomposition
serves every share.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import ImpossibleError
from adbench.features.features import Features
from adbench.kernels.residual import Axes, cheapest_rank
from adbench.methods import spectrum
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.embedding import PatchEmbedding
from adbench.methods.graph.parts import Shape, anomaly_maps
from adbench.methods.graph.subspace import SubspaceGraph
from adbench.methods.image_score import mean_of_top, top_count
from adbench.methods.method import LayerNumbers, Scores, require_fitted
from adbench.methods.on_device import begin_fit, device_of, settle
from adbench.system.settings import STRICT
from adbench.system.stages import stage


@dataclass(config=STRICT)
class SubspaceAD:
    """The squared distance of each patch to the principal subspace of the normal patches.

    Learned by ``fit``:
        eigenvalues_: (d,) float64, n times the variances along the axes, ascending.
        axes_: (d, d) float32 with the axes as columns.
        mean_: (d,) float32, the mean patch, and offset_, its coordinates on the axes.
        shapes_: (c, p, q) of each layer of a patch.
        source_: The source of the features.
    """

    layers: LayerNumbers = Field(default_factory=lambda: [2, 3])
    """Pyramid levels; the paper uses several of the middle blocks of DINOv2."""
    merge: Literal["mean", "concat"] = "concat"
    """mean: the mean of the layers, which must have one shape, as the blocks of a vision
    transformer have (the paper). concat: the layers stacked along the channels."""
    embedding: PatchEmbedding = Field(default_factory=PatchEmbedding)
    """From feature maps to patches. The default is CRD's, so that both read the same patches;
    the paper takes the tokens of a vision transformer as they are, patch 1."""

    variance: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the variance of the normal patches that the kept axes hold at least."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Part of the h w patches of an image over whose highest scores the image's score is the mean;
    at least one patch."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From the scores of patches to the map."""

    needs_vectors: ClassVar[bool] = False
    score_settings: ClassVar[frozenset[str]] = frozenset({"variance", "share", "anomaly_map"})
    nested: ClassVar[str | None] = None

    def fit(self, normal: Features) -> Self:
        """Find the principal axes of the normal patches.

        Args:
            normal: Features of normal images.

        Raises:
            ImpossibleError: ``merge=mean`` of layers with different shapes.
            AdbenchError: There is no image, or features are not finite.
        """
        begin_fit(self, normal, "projector")
        moments = spectrum.moments(normal, self._layers, self.embedding.upsample)
        found = spectrum.decompose(*moments, center=True, normal=normal)
        self.eigenvalues_, self.axes_, self.mean_, self.offset_ = found
        self.shapes_ = [tuple(m.shape[1:]) for m in self._layers(normal[:1])]
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Score each patch, and each image by its highest patches."""
        return next(self.score_all(test, [self]))

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """``score`` of copies with other score settings, from one pass over the images.

        Raises:
            ImpossibleError: A variance that only all axes hold, which leave nothing.
        """
        require_fitted(self, test)
        settle(self, test, "projector")
        weights, ranks = [v._weights() for v in variants], [v._plan()[0] for v in variants]
        scores = spectrum.weighted_squares(test, self._layers, self.projector, weights, ranks)
        for v, own in zip(variants, scores, strict=True):
            yield v._scores(own, test.size, maps)

    @cached_property
    def projector(self) -> Axes:
        """The principal axes, where the method computes."""
        rule = self.embedding.upsample
        axes = Axes(self.axes_, self.mean_, self.offset_, unit=False, center=True, rule=rule)
        return axes.on(device_of(self))

    def graph(self, shapes: Sequence[Shape], size: tuple[int, int]) -> SubspaceGraph:
        """See ``adbench.methods.method.Exports``."""
        weights = self._weights()
        rank = int((weights == 0).sum())
        merged = len(shapes) if self.merge == "mean" else 1
        top = top_count(self.share, shapes[0][1] * shapes[0][2])
        maps = anomaly_maps(self.anomaly_map, shapes, size)
        kept = self.axes_[:, -rank:]
        return SubspaceGraph(self.embedding, shapes, merged, maps, kept, self.mean_, top)

    @property
    def notes_(self) -> list[str]:
        """For the record: how many axes the share of the variance keeps."""
        rank = int((self._weights() == 0).sum())
        return [f"{rank} of {len(self.axes_)} axes hold {self.variance:g} of the variance"]

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage."""
        positions: int = self.shapes_[0][1] * self.shapes_[0][2]
        return self._plan()[1] // positions

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score."""
        if normal.torch_device is not None:
            return spectrum.peak_bytes_beside(self._values(normal), normal, test)
        return spectrum.peak_bytes(self._values(normal), normal, test)

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes of a device at the peak of fit or score."""
        return spectrum.peak_bytes(self._values(normal), normal, test)

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Nothing: what is learned does not grow with the images."""
        return iter(())

    def _values(self, features: Features) -> int:
        """d, the values of a patch."""
        channels = self.embedding.channels(features)
        return channels[0] if self.merge == "mean" else sum(channels)

    def _layers(self, features: Features) -> list[Tensor]:
        """The layers that a patch stacks: all of them, or their mean alone."""
        layers = self.embedding.layers(features)
        if self.merge == "concat":
            return layers
        shapes = [tuple(layer.shape[1:]) for layer in layers]
        if len(set(shapes)) > 1:
            raise ImpossibleError(
                f"merge=mean needs layers of one shape; got {', '.join(map(str, shapes))} "
                "(channels, height, width); use merge=concat, or one layer"
            )
        return [torch.stack(layers).mean(dim=0)]

    def _weights(self) -> Tensor:
        """(d,) float64: 0 for the axes that are kept, the last ones, and 1 for all others."""
        d = len(self.eigenvalues_)
        held = self.eigenvalues_.flip(0).cumsum(0)  # by the first axes, most important first
        rank = int((held < self.variance * held[-1]).sum()) + 1
        if rank == d:
            most = math.floor(1e6 * float(held[-2] / held[-1])) / 1e6 if d > 1 else 0.0
            raise ImpossibleError(
                f"method.variance={self.variance} keeps all {d} axes, which leave nothing of any "
                f"patch; the first {d - 1} hold {most:.6g}: use at most that"
            )
        weights = torch.ones(d, dtype=torch.float64)
        weights[d - rank :] = 0
        return weights

    def _plan(self) -> tuple[int, int]:
        return cheapest_rank(self._weights(), self.shapes_, tolerance=0.0)

    def _scores(self, scores: Tensor, size: tuple[int, int], maps: bool) -> Scores:
        with stage("map"):
            made = self.anomaly_map(scores, size) if maps else None
        return Scores(mean_of_top(scores.flatten(1), self.share).cpu(), made)
