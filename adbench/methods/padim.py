"""PaDiM and PaDiM-JL: a Gaussian per patch position (Defard et al., arXiv 2011.08785)."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import AdbenchError, ImpossibleError
from adbench.features.features import Features
from adbench.kernels.device import has_double
from adbench.kernels.device_field import DeviceField
from adbench.kernels.finite import require_finite
from adbench.kernels.gaussian_field import Form, GaussianField
from adbench.kernels.reduction import Reduction, draw
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.graph.padim import PaDiMGraph
from adbench.methods.graph.parts import Shape, anomaly_maps
from adbench.methods.method import LayerNumbers, Scores, forget, require_fitted
from adbench.methods.on_device import bytes_beside, device_of, double_device, in_double, settle
from adbench.system.settings import STRICT, When
from adbench.system.stages import stage

DIMS, CHANNELS = 550, 1792
"""What the paper keeps of how many for WideResNet50 (section IV-A)."""
STATE = 1536 * 1024**2
"""Bytes up to which ``reduction=none`` copies the training values and keeps the factors.

Beyond it, the learned state refers to the feature maps, and every ``score`` makes the factors anew:
that costs seconds per call and little memory apart from the maps, and gives the same numbers.
"""


@dataclass(config=STRICT)
class PaDiM:
    """Mahalanobis distance of each patch to the normal patches at its own position.

    Learned state:
        shapes_: (c, h, w) of each layer, finest first.
        reduction_: For each layer, the (c',) int64 channels that are kept, or the (c, d) float32
            matrix that projects it.
        mean_: For each layer, the (c', h w) float32 mean of the channels that are kept.
        form_: What ``values_`` holds.
        values_: ``covariances``: one (positions, d (d + 1) / 2) float64 array of lower triangles,
            without the ridge. ``rows``: (h w, N, c') float32 training values less their mean, for
            each layer, or (positions, N, d) where layers are projected. ``maps``: the training
            maps, (N, c, h, w) for each layer.
        source_: Source of the features.
    """

    layers: LayerNumbers = Field(default_factory=lambda: [1, 2, 3])
    """Pyramid levels: 1, 2 and 3 in the paper. Deeper maps are copied blockwise to the finest."""
    reduction: Literal["select", "gaussian", "orthonormal", "sparse", "none"] = "select"
    """How channels are reduced. ``select`` is a random choice of channels (the paper, section
    III-B). ``gaussian``, ``orthonormal`` and ``sparse`` are random projections, the same at all
    positions (PaDiM-JL). ``none`` keeps all channels."""
    dims: Annotated[Annotated[int, Field(ge=1)] | None, When("reduces")] = None
    """Dimensions left: in the paper 100 of 448 for ResNet18 and 550 of 1792 for WideResNet50; null
    keeps the share of the latter."""
    seed: Annotated[int, Field(ge=0), When("reduces")] = 0
    """Seed of the choice or the projection."""
    solver: Literal["auto", "primal", "dual"] = "auto"
    """``primal`` solves with d x d covariances, ``dual`` with N x N matrices; the distances are the
    same. ``auto`` is primal where there are at most as many dimensions as images."""
    ridge: Annotated[float, Field(gt=0)] = 0.01
    """Added to the diagonal of every covariance: 0.01 in the paper (equation 1), 0.04 in
    ind_knn_ad."""
    ridge_scale: Literal["absolute", "trace"] = "absolute"
    """``trace`` multiplies the ridge by the mean variance of a dimension over all positions. Then a
    ridge means the same for every reduction: a dimension projected from D to d dimensions has D / d
    times the variance of a selected one."""
    image_score: Literal["blurred", "raw"] = "blurred"
    """Largest value of the anomaly map (the paper) or of the patch distances (ind_knn_ad)."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From patch distances to the map. The paper upsamples bicubically, public code bilinearly."""

    needs_vectors: ClassVar[bool] = False
    score_settings: ClassVar[frozenset[str]] = frozenset(
        {"ridge", "ridge_scale", "image_score", "anomaly_map"}
    )
    nested: ClassVar[str | None] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reduction == "none" and self.dims is not None:
            raise ValueError(
                f"dims {self.dims} contradicts reduction=none, which keeps all channels; "
                "set dims to null"
            )
        return self

    @property
    def reduces(self) -> bool:
        """Channels are reduced."""
        return self.reduction != "none"

    def fit(self, normal: Features) -> Self:
        """Estimate mu and Sigma of every position over the N normal images (equation 1).

        With x the reduced features of a position,
        Sigma = sum (x - mu) (x - mu)' / (N - 1) + ridge I.

        Raises:
            AdbenchError: There are fewer than 2 images, features are not finite, or the ridge is
                too small to invert a covariance.
            ImpossibleError: There are more dims than channels.
        """
        forget(self, "gaussians")
        normal = in_double(normal)
        settle(self, normal)
        if len(normal) < 2:
            raise AdbenchError(f"a covariance needs at least 2 normal images, got {len(normal)}")
        reduction = self._reduction(normal)
        form = self._form(normal, reduction)
        # mu and sum (x - mu) (x - mu)' / (N - 1), or the training values that give it
        field = self.gaussians = self._field(normal, reduction, form)
        self.shapes_, self.reduction_ = reduction.shapes, reduction.layers
        self.mean_, self.form_, self.values_ = field.mean, field.form, field.values
        # Sigma adds ridge I; one that is too small is refused here
        field.factor(self._ridge(field))
        self.source_ = normal.source
        return self

    def score(self, test: Features) -> Scores:
        """Distance sqrt((x - mu)' Sigma^-1 (x - mu)) at every position (equation 2).

        Raises:
            NotFittedError: ``fit`` was not called.
            AdbenchError: Features have another source or shape than the fitted ones, or they are
                not finite.
        """
        return next(self.score_all(test, [self]))

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """``score`` of copies with other score settings; those with one ridge share the distances.

        The distances of a ridge are computed when the first scores with it are taken, so a ridge
        that is too small fails no variant before it. Errors are those of ``score``.
        """
        require_fitted(self, test)
        test = in_double(test)
        settle(self, test, "gaussians")
        if (shapes := _shapes(test)) != self.shapes_:
            raise AdbenchError(
                f"PaDiM was fitted on maps of (c, h, w) {self.shapes_} and cannot score maps of "
                f"{shapes}"
            )
        for m in test.maps:
            require_finite(m, "test features")
        distances: dict[float, Tensor] = {}  # ridge -> (n, h, w), where the field is
        for v in variants:
            with stage("distance"):
                if (ridge := v._ridge(self.gaussians)) not in distances:
                    squared = self.gaussians.squared_distances(test.maps, ridge, test.evict)
                    distances[ridge] = torch.as_tensor(squared).sqrt()
            yield v._scores(distances[ridge], test.size, maps)

    def graph(self, shapes: Sequence[Shape], size: tuple[int, int]) -> PaDiMGraph:
        """See ``adbench.methods.method.Exports``."""
        maps = anomaly_maps(self.anomaly_map, shapes, size)
        return PaDiMGraph(maps, self.gaussians, self._ridge(self.gaussians), self.image_score)

    @cached_property
    def gaussians(self) -> GaussianField | DeviceField:
        """What scores: the learned state and, for the last ridge, the factors of Sigma.

        Copies that differ in score settings share it.
        """
        reduction, device = Reduction(self.shapes_, self.reduction_), device_of(self)
        state = reduction, self.mean_, self.form_, self.values_
        return GaussianField(*state) if device is None else DeviceField(*state, device)

    @property
    def notes_(self) -> list[str]:
        """For the record: how many dimensions a share of the channels came to."""
        total = sum(c for c, _, _ in self.shapes_)
        if not self.reduces or self.dims is not None or total == CHANNELS:
            return []
        share = "the share that the paper keeps of WideResNet50's"
        return [f"dims {self._dims(total)} of {total} channels, {share}"]

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of a fit to ``normal`` or of a score of ``test`` images after it."""
        reduction = self._reduction(normal)
        form = self._form(normal, reduction)
        if double_device(normal) is not None:
            return DeviceField.bytes_beside(reduction, form, len(normal)) + bytes_beside(
                normal, test
            )
        scored = max(test, len(normal))  # training images too, some maps at a time
        block = min(scored, self.anomaly_map.block(normal.size))
        maps = max(test, block) * normal.size[0] * normal.size[1]
        field = GaussianField.bytes(reduction, form, len(normal), scored)
        return field + 12 * (scored * reduction.positions + maps)

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes of a device at the peak of a fit to ``normal``, or of a score after it."""
        if not has_double(torch.device(normal.device)):
            return 0
        reduction = self._reduction(normal)
        form, scored = self._form(normal, reduction), max(test, len(normal))
        return DeviceField.bytes(reduction, form, len(normal), scored)

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Fewer dimensions."""
        selected = {} if self.reduces else {"reduction": "select"}
        fewer = (dims for dims in (550, 200, 100, 50) if dims < (self.dims or 551))
        yield from ({**selected, "dims": dims} for dims in fewer)

    def _field(
        self, normal: Features, reduction: Reduction, form: Form
    ) -> GaussianField | DeviceField:
        if (device := device_of(self)) is None:
            return GaussianField.fit(normal.maps, reduction, form, normal.evict)
        return DeviceField.fit(normal.maps, reduction, form, device, normal.evict)

    def _reduction(self, normal: Features) -> Reduction:
        total = sum(normal.channels)
        dims = self._dims(total) if self.reduces else total
        if dims > total:
            raise ImpossibleError(
                f"dims {dims} is more than the {total} channels of layers {self.layers}; "
                f"use at most {total}, or null"
            )
        return Reduction(_shapes(normal), draw(self.reduction, normal.channels, dims, self.seed))

    def _dims(self, total: int) -> int:
        return self.dims or max(1, round(total * DIMS / CHANNELS))

    def _form(self, normal: Features, reduction: Reduction) -> Form:
        n = len(normal)
        if self.solver == "primal" or (self.solver == "auto" and reduction.dims <= n):
            return "covariances"
        copied = sum(m.nbytes for m in normal.maps) + 2 * reduction.positions * n**2
        return "rows" if self.reduces or copied <= STATE else "maps"

    def _scores(self, distances: Tensor, size: tuple[int, int], maps: bool) -> Scores:
        """The scores of images from their (n, h, w) distances, with maps where these are wanted."""
        with stage("map"):
            if maps:
                made = self.anomaly_map(distances, size)
                scored = made if self.image_score == "blurred" else distances
                return Scores(scored.amax(dim=(1, 2)).cpu(), made)
            if self.image_score == "raw":
                return Scores(distances.amax(dim=(1, 2)).cpu(), None)
            # The largest value is all that is kept of a map, so few maps exist at a time.
            blocks = distances.split(self.anomaly_map.block(size))
            largest = [self.anomaly_map(block, size).amax(dim=(1, 2)) for block in blocks]
            return Scores(torch.cat(largest), None)

    def _ridge(self, field: GaussianField | DeviceField) -> float:
        """What is added to the diagonals of this field."""
        if self.ridge_scale == "absolute":
            return self.ridge
        if (variance := field.variance) == 0:
            raise AdbenchError(
                "the normal images are all equal: ridge_scale=trace gives no ridge; "
                "set it to absolute"
            )
        return self.ridge * variance


def _shapes(features: Features) -> list[list[int]]:
    """(c, h, w) of each layer."""
    return [[int(edge) for edge in m.shape[1:]] for m in features.maps]
