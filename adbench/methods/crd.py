"""CRD: collaborative representation distance (Han & Yan, arXiv 2401.09443, section 3.3).

F (d, n) holds the normal patches as columns. A patch y is represented by all of them under a ridge
penalty, and its score is what that leaves of it:

    rho = argmin |y - F rho|^2 + lambda |rho|^2                                       (equation 3.7)
    s = |y - F rho|^2                                                                 (equation 3.8)

With the Gram matrix F F^T = U diag(mu) U^T the score is a weighted sum of squared coordinates,

    s = sum over i of (lambda / (mu_i + lambda))^2 (u_i^T y)^2,

so a fit keeps d axes however large n is, and one pass over the test images serves every lambda.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import AdbenchError
from adbench.features.features import Features
from adbench.kernels import stacked
from adbench.kernels.residual import Axes, cheapest_rank
from adbench.methods import spectrum
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset, bank_size, smaller_banks
from adbench.methods.embedding import BLOCK, PatchEmbedding
from adbench.methods.graph.crd import CRDGraph
from adbench.methods.graph.parts import Embedding, Shape, anomaly_maps
from adbench.methods.method import LayerNumbers, Scores, require_fitted
from adbench.methods.on_device import begin_fit, device_of, in_double, settle
from adbench.methods.patchcore import PatchCore
from adbench.system.settings import STRICT, When
from adbench.system.stages import stage

NOTHING = 0.01
"""A lambda below this share of every eigenvalue scales all scores alike, up to about that share."""


@dataclass(config=STRICT)
class CRD:
    """What a ridge regression on the normal patches leaves of each patch.

    Learned by ``fit``:
        eigenvalues_: (d,) float64, mu of the Gram matrix, ascending.
        axes_: (d, d) float32, U with its axes as columns.
        mean_: (d,) float32, the mean of F, and offset_, its coordinates U^T mean_; zero without
            ``center``.
        count_: n, the number of patches in F.
        shapes_: (c, p, q) of each layer.
        order_: (n,) int64 rows of the patches in F, where it is a coreset.
        source_: The source of the features.
    """

    layers: LayerNumbers = Field(default_factory=lambda: [2, 3])
    """Pyramid levels; the paper uses 2 and 3."""
    embedding: PatchEmbedding = Field(default_factory=PatchEmbedding)
    """From feature maps to patches. The paper does not say; the default is PatchCore's."""
    normalize: Literal["none", "l2"] = "none"
    """l2 scales every patch to length 1. The paper does not say."""
    center: bool = False
    """Whether to subtract the mean of F (after ``normalize``). The paper does not say."""
    bank: Literal["full", "coreset"] = "full"
    """The columns of F: all normal patches, as in the paper, or a coreset of them."""
    ratio: Annotated[float, Field(gt=0, le=1), When("has_coreset")] = 0.1
    """Part of the patches that the coreset keeps; 1.0 keeps all of them."""
    coreset: Annotated[Coreset, When("selects")] = Field(default_factory=Coreset)
    """Which of the patches the coreset keeps."""

    lambda_: Annotated[float, Field(gt=0)] = 5.0
    """Weight of the ridge penalty; 5 in the paper, whose table 3 goes from 0.1 to 10."""
    lambda_mode: Literal["absolute", "per_sample", "trace"] = "absolute"
    """The unit of lambda_: 1 (the paper), the number of patches in F, or the mean eigenvalue of the
    Gram matrix. The last two do not depend on how many images there are, and the last does not
    depend on the scale of the features either."""
    measure: Literal["residual", "objective"] = "residual"
    """residual: equation 3.8. objective: the minimum of equation 3.7 itself, with its penalty."""
    power: Literal["squared", "root"] = "squared"
    """root takes the square root of the measure, which gives another blurred map."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative error allowed to the measure. Axes that hold next to nothing of F are left out where
    that saves work, as it does when n is far below d; 0 computes all of them."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From the scores of patches to the map."""

    needs_vectors: ClassVar[bool] = False
    score_settings: ClassVar[frozenset[str]] = frozenset(
        {"lambda_", "lambda_mode", "measure", "power", "tolerance", "anomaly_map"}
    )
    nested: ClassVar[str | None] = None

    @property
    def unit(self) -> bool:
        """Patches are scaled to length 1."""
        return self.normalize == "l2"

    @property
    def has_coreset(self) -> bool:
        """The bank is a coreset."""
        return self.bank == "coreset"

    @property
    def selects(self) -> bool:
        """The bank is a coreset and the ratio is below 1."""
        return self.has_coreset and self.ratio < 1

    def fit(self, normal: Features, order: np.ndarray | None = None) -> Self:
        """Decompose the Gram matrix of the normal patches.

        Args:
            normal: Features of normal images.
            order: First picks of the coreset that are known from an earlier fit.

        Raises:
            AdbenchError: There is no image, the coreset keeps no patch, or features are not finite.
        """
        begin_fit(self, normal, "projector")
        moments = (
            self._coreset_moments(normal, order)
            if self.has_coreset
            else spectrum.moments(normal, self.embedding.layers, self.embedding.upsample, self.unit)
        )  # F F^T (d, d), the sum of F (d,), n
        self.count_ = moments[2]
        found = spectrum.decompose(*moments, self.center, normal)
        self.eigenvalues_, self.axes_, self.mean_, self.offset_ = found
        self.shapes_ = [tuple(m.shape[1:]) for m in self.embedding.layers(normal[:1])]
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Score each patch. The image's score is the largest, before upsampling and blur."""
        return next(self.score_all(test, [self]))

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """``score`` of copies with other score settings, from one pass over the images."""
        require_fitted(self, test)
        settle(self, test, "projector")
        weights, ranks = [v._weights() for v in variants], [v._plan()[0] for v in variants]
        # the sum over the axes of equation 3.8
        scores = spectrum.weighted_squares(
            test, self.embedding.layers, self.projector, weights, ranks
        )
        for v, own in zip(variants, scores, strict=True):
            yield v._scores(own, test.size, maps)

    @cached_property
    def projector(self) -> Axes:
        """U^T, where the method computes."""
        rule = self.embedding.upsample
        axes = Axes(self.axes_, self.mean_, self.offset_, self.unit, self.center, rule)
        return axes.on(device_of(self))

    def graph(self, shapes: Sequence[Shape], size: tuple[int, int]) -> CRDGraph:
        """See ``adbench.methods.method.Exports``."""
        rank = max(1, self._plan()[0])  # one axis more than needed changes nothing
        weights, mean = self._weights()[-rank:], self.mean_ if self.center else None
        ends = Embedding(self.embedding, shapes), anomaly_maps(self.anomaly_map, shapes, size)
        axes = self.axes_[:, -rank:]
        return CRDGraph(*ends, axes, weights, mean, self.normalize, self.power)

    @property
    def notes_(self) -> list[str]:
        """For the record: that lambda is too far below every eigenvalue to change anything."""
        ridge, least = self._ridge(), float(self.eigenvalues_[0])
        if ridge >= NOTHING * least:
            return []
        percent = 10 ** math.ceil(math.log10(100 * ridge / least))  # alike for most categories
        return [
            f"lambda {ridge:.3g} is at most {percent:g}% of the smallest eigenvalue of F F^T, so a "
            "smaller one ranks all patches the same; lambda_mode=trace scales it to the data"
        ]

    def selection(self) -> dict[str, Any] | None:
        """What the order of the coreset's picks follows from beside the features."""
        return self.coreset.selection(self.embedding) if self.selects else None

    def picks(self, normal: Features) -> int:
        """How many patches the coreset keeps."""
        return bank_size(self.ratio, self.embedding.count(normal))

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage; one product with M (d, d) takes d * d."""
        positions: int = self.shapes_[0][1] * self.shapes_[0][2]
        return self._plan()[1] // positions

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score."""
        d, bank, kept = sum(self.embedding.channels(normal)), 0, 0
        size = max(1, int(self.ratio * self.embedding.count(normal))) if self.has_coreset else 0
        if normal.torch_device is not None:
            if self.has_coreset:
                bank = BLOCK + 4 * size * d + 16 * self.embedding.count(normal)
            return bank + spectrum.peak_bytes_beside(d, normal, test)
        if self.has_coreset:
            bank = 4 * BLOCK + self.coreset.memory(self.embedding, normal, size) * self.selects
            # float32 and float64 patches, or the latter and their squares, see _coreset_moments
            kept = (16 if self.unit else 12) * size * d
        return max(bank, spectrum.peak_bytes(d, normal, test, kept))

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes of a device at the peak of fit or score."""
        d, selection, kept = sum(self.embedding.channels(normal)), 0, 0
        if self.has_coreset:
            selection = 4 * BLOCK
            if self.selects:
                selection += self.coreset.device_memory(self.embedding, normal)
            kept = 24 * max(1, int(self.ratio * self.embedding.count(normal))) * d
        return max(selection, spectrum.peak_bytes(d, normal, test, kept))

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Smaller coresets, where F is one; the decomposition does not grow with the images."""
        if self.has_coreset:
            yield from smaller_banks(self.ratio)

    def rivals(self) -> dict[str, Any]:
        """What the paper's figure 3 times beside it: the nearest of a coreset of the patches."""
        rival = PatchCore(
            layers=self.layers, ratio=0.01, embedding=self.embedding, coreset=self.coreset
        )
        return {"nearest neighbour, 1% coreset": rival}

    def _coreset_moments(
        self, normal: Features, order: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, int]:
        self.order_ = self.coreset.rows(self.embedding, normal, self.ratio, order)
        rows = self.embedding.rows(normal, self.order_)  # (n, d)
        if (device := in_double(normal).torch_device) is not None:
            column = rows.to(device).T[None, :, :, None]  # as the layer of one image
            return *stacked.plain_moments([[column]], self.embedding.upsample, self.unit), len(rows)
        y = rows.double().numpy()
        del rows  # before the lengths, whose squares take as much as y
        if self.unit:
            y /= stacked.lengths(y)
        return y.T @ y, y.sum(0), len(y)

    def _ridge(self) -> float:
        """Lambda in the unit of the eigenvalues."""
        mean = float(self.eigenvalues_.mean())
        if self.lambda_mode == "trace" and not mean:
            raise AdbenchError(
                "CRD: all training patches are at the same place, so that lambda_mode=trace has "
                "nothing to scale lambda to; use absolute or per_sample"
            )
        unit = {"absolute": 1.0, "per_sample": float(self.count_), "trace": mean}
        return self.lambda_ * unit[self.lambda_mode]

    def _weights(self) -> Tensor:
        """(d,) float64, descending from at most 1: (lambda / (mu_i + lambda))^2 in equation 3.8."""
        ridge = self._ridge()
        shrink = ridge / (self.eigenvalues_ + ridge)
        return shrink**2 if self.measure == "residual" else shrink

    def _plan(self) -> tuple[int, int]:
        return cheapest_rank(self._weights(), self.shapes_, self.tolerance)

    def _scores(self, scores: Tensor, size: tuple[int, int], maps: bool) -> Scores:
        scores = scores.sqrt() if self.power == "root" else scores  # (n, h, w)
        with stage("map"):
            made = self.anomaly_map(scores, size) if maps else None
        return Scores(scores.flatten(1).amax(1).cpu(), made)
