"""CRD: collaborative representation distance (Han & Yan, arXiv 2401.09443, section 3.3).

F (d, n) holds the normal patches as columns. A patch y is represented by all of them under a ridge penalty (eq. 3.7),

    rho = argmin |y - F rho|^2 + lambda |rho|^2,

and its score is what that leaves out (eq. 3.8). With the Gram matrix F F^T = U diag(mu) U^T the score is

    |y - F rho|^2 = sum_i (lambda / (mu_i + lambda))^2 (u_i^T y)^2,

so a fit keeps d axes however large n is, and every lambda is asked of the same axes.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench import patches
from adbench.core import STRICT, AdbenchError, Features, Scores, require_finite, require_fitted
from adbench.kernels import stacked
from adbench.memo import Arrays, digest
from adbench.methods.patchcore import PatchCore
from adbench.patches import AnomalyMap
from adbench.timing import stage

BLOCK = 2**22
"""Values of training patches in float64 at a time: 32 MB."""
SWEEP = (0.1, 1.0, 3.0, 5.0, 10.0)
"""The paper's table 3: scored for all of these at once, where the features have a key, a sweep costs one run."""


@dataclass(config=STRICT)
class CRD:
    """What a ridge regression on the normal patches leaves out of each patch; the largest one is the image's score."""

    layers: list[int] = Field(default_factory=lambda: [2, 3], min_length=1)
    """Pyramid levels; the paper's are 2 and 3."""
    patch: Annotated[int, Field(ge=1)] = 3
    """Edge of the neighbourhood that is averaged, odd; 1 for none. The paper does not say; 3 is PatchCore's."""
    pool_padding: bool = True
    """Whether zeros beyond the map's border count into the average."""
    upsample: Literal["bilinear", "nearest", "adaptive"] = "bilinear"
    """How deeper maps reach the finest size."""
    normalize: Literal["none", "l2"] = "none"
    """l2 scales every patch to length 1. The paper does not say."""
    center: bool = False
    """Whether to subtract the mean of the normal patches (after ``normalize``). The paper does not say."""
    bank: Literal["full", "coreset"] = "full"
    """The columns of F: all normal patches, as in the paper, or a greedy coreset of them."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Part of the patches that the coreset keeps."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the projection in which the coreset is selected."""

    lambda_: Annotated[float, Field(gt=0)] = 5.0
    """Weight of the ridge penalty; 5 in the paper, whose table 3 goes from 0.1 to 10."""
    lambda_mode: Literal["absolute", "per_sample", "trace"] = "absolute"
    """The unit of lambda_: 1 (the paper), the number of patches in F, or the mean eigenvalue of the Gram matrix. The
    last two do not depend on how many images there are, the last not on the scale of the features either."""
    measure: Literal["residual", "objective"] = "residual"
    """residual: |y - F rho|^2 (eq. 3.8); objective: the minimum of eq. 3.7 itself, penalty included."""
    power: Literal["squared", "root"] = "squared"
    """root takes the square root of the measure: the same order of images, another blurred map."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative error allowed to the measure. Axes that hold next to nothing of F are left out where that saves work, as
    it does when F has far fewer columns than rows; 0 computes all of them."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From patch scores to the map."""

    needs_vectors: ClassVar[bool] = False
    asked: ClassVar[frozenset[str]] = frozenset(
        {"lambda_", "lambda_mode", "measure", "power", "tolerance", "anomaly_map"}
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patch % 2 == 0:
            raise ValueError(f"patch must be odd, got {self.patch}")
        return self

    def fit(self, normal: Features) -> Self:
        """Decompose the Gram matrix of the normal patches.

        Learns ``eigenvalues_`` (d,) float64, ascending, ``axes_`` (d, d) float32 with their axes as columns, ``mean_``
        (d,) and its coordinates ``offset_`` (d,), both zero without ``center``, and ``count_``, the patches in F.

        Raises:
            AdbenchError: There is no image, the coreset keeps no patch, or features are not finite.
        """
        if not len(normal):
            raise AdbenchError("CRD.fit: no training images")
        names = ["patch", "pool_padding", "upsample", "normalize", "center", "bank"]
        names += ["ratio", "seed"] if self.bank == "coreset" else []
        settings = {name: getattr(self, name) for name in names}
        kept = normal.derive("crd", settings, lambda: self._decompose(normal)).arrays
        self.eigenvalues_ = torch.from_numpy(kept["eigenvalues"])
        self.axes_, self.mean_, self.offset_ = (torch.from_numpy(kept[name]) for name in ("axes", "mean", "offset"))
        self.count_ = int(kept["count"][0])
        self.shapes_ = [tuple(m.shape[1:]) for m in normal.maps]
        self.key_ = digest({"features": normal.key, **settings}) if normal.key else ""
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Score each patch (eq. 3.8). The image's score is the largest, taken before upsampling and blur."""
        scores = self._patch_scores(test)
        with stage("map"):
            return Scores(scores.flatten(1).amax(1), self.anomaly_map(scores, test.size))

    def image_scores(self, test: Features) -> Tensor:
        """(n,) image scores without the maps."""
        return self._patch_scores(test).flatten(1).amax(1)

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage as it is done here; the paper's one product takes d * d."""
        positions = self.shapes_[0][1] * self.shapes_[0][2]
        return self._plan(self._weights(self.lambda_))[1] // positions

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score; see ``adbench.memory``."""
        d = sum(int(m.shape[1]) for m in normal.maps)
        h, w = normal.maps[0].shape[-2:]
        gram = 8 * 6 * d * d  # with its copies and the workspace of the decomposition
        block = 8 * 4 * max(BLOCK, h * w * d)
        measures = 4 * (len(SWEEP) + 1) * max(test, len(normal)) * h * w
        maps = 4 * test * normal.size[0] * normal.size[1]
        bank = self.nearest_neighbor(self.ratio).memory(normal, 0) if self.bank == "coreset" else 0
        return max(gram + block, bank, 4 * d * d + block + 3 * (measures + maps))

    def lighter(self) -> Iterator[dict[str, Any]]:
        """Smaller coresets, where F is one; the decomposition does not grow with the images."""
        if self.bank == "coreset":
            yield from self.nearest_neighbor(self.ratio).lighter()

    def rivals(self) -> dict[str, PatchCore]:
        """What the paper's figure 3 times beside it: nearest neighbour on a coreset of the same patches."""
        return {"nearest neighbour, 1% coreset": self.nearest_neighbor(ratio=0.01)}

    def nearest_neighbor(self, ratio: float) -> PatchCore:
        """Nearest neighbour on a greedy coreset of the same patches, to be fitted."""
        return PatchCore(
            layers=self.layers,
            patch=self.patch,
            pool_padding=self.pool_padding,
            upsample=self.upsample,
            ratio=ratio,
            seed=self.seed,
        )

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        return [patches.pool(m, self.patch, self.pool_padding) for m in maps]

    # Fit

    def _decompose(self, normal: Features) -> Arrays:
        gram, total, count = self._coreset_moments(normal) if self.bank == "coreset" else self._moments(normal)
        require_finite(gram, "the products of training features")
        mean = total / count if self.center else np.zeros_like(total)
        eigenvalues, axes = np.linalg.eigh(gram - count * np.outer(mean, mean))
        return {
            "eigenvalues": eigenvalues.clip(min=0),
            "axes": axes.astype(np.float32),
            "mean": mean.astype(np.float32),
            "offset": (mean @ axes).astype(np.float32),
            "count": np.array([count]),
        }

    def _moments(self, normal: Features) -> tuple[np.ndarray, np.ndarray, int]:
        """Gram matrix (d, d), sum (d,) and number of all patches.

        In float64, because eigenvalues lie on both sides of lambda by many powers of ten: products in float32 put
        scores off by up to 2e-3.
        """
        h, w = normal.maps[0].shape[-2:]
        images = max(1, BLOCK // (h * w * sum(m.shape[1] for m in normal.maps)))
        blocks = (self._pooled(normal[i : i + images].maps) for i in range(0, len(normal), images))
        return *stacked.moments(blocks, self.upsample, unit=self.normalize == "l2"), len(normal) * h * w

    def _coreset_moments(self, normal: Features) -> tuple[np.ndarray, np.ndarray, int]:
        y = self.nearest_neighbor(self.ratio).fit(normal).bank_.double().numpy()  # (m, d)
        if self.normalize == "l2":
            y = y / stacked.lengths(y)
        return y.T @ y, y.sum(0), len(y)

    # Score

    def _patch_scores(self, test: Features) -> Tensor:
        """(n, h, w) float32. Those of other lambdas cost next to nothing more and are kept with the features."""
        require_fitted(self, test)
        wanted = str(self.lambda_)
        settings = {"fit": self.key_, "mode": self.lambda_mode, "measure": self.measure, "tolerance": self.tolerance}
        swept = [self.lambda_, *(value for value in SWEEP if value != self.lambda_)]
        scores = torch.from_numpy(
            test.derive(
                "crd_scores",
                settings,
                compute=lambda: self._measure(test, swept),
                extend=lambda known: None if wanted in known else known | self._measure(test, [self.lambda_]),
            ).arrays[wanted]
            if self.key_ and test.key
            else self._measure(test, [self.lambda_])[wanted]
        )
        return scores.sqrt() if self.power == "root" else scores

    def _measure(self, test: Features, lambdas: list[float]) -> Arrays:
        """(n, h, w) float32 measures by lambda; images go one by one, so that none depends on the others."""
        weights = torch.stack([self._weights(value) for value in lambdas], dim=1)  # (d, lambdas)
        rank, _ = self._plan(weights.amin(dim=1))
        used = weights[len(weights) - rank :].float()
        _, h, w = self.shapes_[0]
        measures = np.empty((len(lambdas), len(test), h, w), np.float32)
        for i in range(len(test)):
            with stage("embed"):
                layers = self._pooled(test[i : i + 1].maps)
            with stage("distance"):
                squares, rest = self._coordinates(layers, rank)
                measure = stacked.product(squares, used) + rest[:, None]  # (h w, lambdas)
            measures[:, i] = measure.T.reshape(-1, h, w).numpy()
        require_finite(measures, "patch scores")
        return {str(value): measure for value, measure in zip(lambdas, measures, strict=True)}

    def _weights(self, lambda_: float) -> Tensor:
        """(d,) float64, descending from at most 1: how much a patch's squared coordinate on each axis counts."""
        unit = {"absolute": 1.0, "per_sample": float(self.count_), "trace": float(self.eigenvalues_.mean())}
        ridge = lambda_ * unit[self.lambda_mode]
        shrink = ridge / (self.eigenvalues_ + ridge)
        return shrink**2 if self.measure == "residual" else shrink

    def _plan(self, weights: Tensor) -> tuple[int, int]:
        """How many axes to compute, the last ones, and the multiply-adds per image.

        An axis that is left out counts with weight 1. It is left out where its weight is at least 1 - tolerance, so a
        score is never too low, nor too high by more than a factor 1 / (1 - tolerance), whatever the patch.
        """
        (_, h, w), d = self.shapes_[0], len(weights)
        rank = int((weights < 1 - self.tolerance).sum())
        all_axes, few_axes = d * sum(c * p * q for c, p, q in self.shapes_), 2 * rank * d * h * w
        return (rank, few_axes) if few_axes < all_axes else (d, all_axes)

    def _coordinates(self, layers: list[Tensor], rank: int) -> tuple[Tensor, Tensor]:
        """(h w, rank) squared coordinates of the patches on the last axes, and (h w,) squared lengths of the rest."""
        if rank == len(self.axes_):
            y = self._standardise(stacked.project(layers, self.axes_, self.upsample), self.offset_)
            return y.square_(), y.new_zeros(len(y))
        axes = self.axes_[:, len(self.axes_) - rank :]
        y = self._standardise(patches.rows(patches.stack(layers, self.upsample)), self.mean_)  # (h w, d)
        coordinates = stacked.product(y, axes)
        rest = y - stacked.product(coordinates, axes.T)  # a difference of squared lengths instead would cancel
        return coordinates.square_(), rest.square_().sum(dim=1)

    def _standardise(self, y: Tensor, mean: Tensor) -> Tensor:
        """As in the fit, for patches or for their coordinates on all axes, whose lengths are the same."""
        if self.normalize == "l2":
            y = y / y.norm(dim=1, keepdim=True).clamp_min(stacked.SHORTEST)
        return y - mean if self.center else y
