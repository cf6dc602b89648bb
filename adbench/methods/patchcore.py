"""PatchCore: the distance to a memory bank of normal patches (Roth et al., CVPR 2022).

The bank M holds normal patches, or a coreset of them (algorithm 1). The score of a patch is its
distance to the nearest item of the bank. Let m_test be the patch of an image whose distance is
largest, m* its nearest item of the bank, and N_b(m*) the b items nearest to m*. The score of the
image is s* or s:

    s* = |m_test - m*|                                                                (equation 6)
    s = (1 - exp |m_test - m*| / sum over m in N_b(m*) of exp |m_test - m|) s*        (equation 7)

AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529) is a full bank with the cosine distance,
whose image score is the mean over the highest percent of the patches.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench.errors import AdbenchError, ImpossibleError
from adbench.features.features import Features
from adbench.kernels import stacked
from adbench.kernels.neighbors import Neighbors
from adbench.methods.anomaly_map import AnomalyMap
from adbench.methods.coreset import Coreset, bank_size, smaller_banks
from adbench.methods.embedding import BLOCK, PatchEmbedding
from adbench.methods.graph.parts import Embedding, Shape, anomaly_maps
from adbench.methods.graph.patchcore import PatchCoreGraph
from adbench.methods.image_score import mean_of_top, top_count
from adbench.methods.method import LayerNumbers, Scores, require_fitted
from adbench.methods.on_device import begin_fit, bytes_beside, device_of, settle
from adbench.system.settings import STRICT, When
from adbench.system.stages import stage


@dataclass(config=STRICT)
class PatchCore:
    """Distance of each patch to its nearest neighbours in a coreset of normal patches.

    Learned by ``fit``:
        order_: (m,) int64 rows of the patches that the bank keeps, first pick first.
        bank_: (m, d) float32, those patches in that order.
        patches_: The number of normal patches that they were chosen from.
        source_: The source of the features.
    """

    layers: LayerNumbers = Field(default_factory=lambda: [2, 3])
    """Pyramid levels; the paper uses 2 and 3."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Part of the n normal patches that the bank keeps: int(n * ratio); 1.0 keeps all of them."""
    embedding: PatchEmbedding = Field(default_factory=PatchEmbedding)
    """From feature maps to patches."""
    coreset: Annotated[Coreset, When("selects")] = Field(default_factory=Coreset)
    """Which of the patches are kept."""

    map_k: Annotated[int, Field(ge=1)] = 1
    """Neighbours whose distances are averaged to the score of a patch; 1 in the paper
    (``anomaly_scorer_num_nn`` of patchcore-inspection)."""
    reweight: Literal["none", "paper", "scaled", "top_share"] = "none"
    """Image score. none: s* (patchcore-inspection). paper: s. scaled: s with its exponents divided
    by sqrt(d) (ind_knn_ad). top_share: the mean over the highest patch scores (AnomalyDINO)."""
    share: Annotated[float, Field(gt=0, le=1), When("averages")] = 0.01
    """Part of the h w patches of an image over which top_share averages, at least one patch."""
    b: Annotated[int, Field(ge=1), When("reweights")] = 9
    """Size of N_b(m*): 9 in anomalib, 2 in ind_knn_ad, k in the PatchCore-CLIP report."""
    include_self: Annotated[bool, When("reweights")] = True
    """Whether m* itself is among the b; ind_knn_ad leaves it out."""
    distance: Literal["root", "squared", "cosine"] = "root"
    """squared: scores are squared before they become maps, as in patchcore-inspection, where faiss
    returns squared distances. cosine: 1 - cosine of the angle between two patches, which is half
    the squared distance of the two scaled to length 1 (AnomalyDINO). A coreset is chosen among the
    patches as they are."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From the scores of patches to the map."""

    needs_vectors: ClassVar[bool] = False
    score_settings: ClassVar[frozenset[str]] = frozenset(
        {"map_k", "reweight", "share", "b", "include_self", "distance", "anomaly_map"}
    )
    nested: ClassVar[str | None] = "ratio"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reweights and self.include_self and self.b == 1:
            raise ValueError(
                "re-weighting with b=1 and the nearest item itself makes every score 0; use b >= 2"
            )
        if self.reweights and self.by_cosine:
            raise ValueError(
                f"reweight={self.reweight} is defined for Euclidean distances, not for "
                "distance=cosine; use reweight=none or top_share"
            )
        return self

    @property
    def selects(self) -> bool:
        """The ratio is below 1."""
        return self.ratio < 1

    @property
    def reweights(self) -> bool:
        """The setting reweight is paper or scaled."""
        return self.reweight in ("paper", "scaled")

    @property
    def averages(self) -> bool:
        """The setting reweight is top_share."""
        return self.reweight == "top_share"

    @property
    def by_cosine(self) -> bool:
        """The distance is cosine."""
        return self.distance == "cosine"

    def fit(self, normal: Features, order: np.ndarray | None = None) -> Self:
        """Choose the patches that the bank keeps.

        Args:
            normal: Features of normal images.
            order: First picks that are known from an earlier fit.

        Raises:
            ImpossibleError: The ratio keeps no patch, or the selection needs more dimensions than
                there are.
            AdbenchError: There is no image, or features are not finite.
        """
        begin_fit(self, normal, "index", "unit_index")
        self.patches_ = self.embedding.count(normal)
        self.order_ = self.coreset.rows(self.embedding, normal, self.ratio, order)  # (m,)
        self.bank_ = self.embedding.rows(normal, self.order_)  # (m, d)
        self.source_ = normal.source
        _ = self.unit_index if self.by_cosine else self.index  # here: its time is the fit's
        return self

    @cached_property
    def index(self) -> Neighbors:
        """The bank, ready to be searched where the method computes."""
        return Neighbors(self.bank_, device_of(self))

    @cached_property
    def unit_index(self) -> Neighbors:
        """The items of the bank scaled to length 1, ready to be searched."""
        return Neighbors(stacked.unit(self.bank_), device_of(self))

    def cut(self, ratio: float) -> Self:
        """A fitted copy with a smaller ratio: what ``fit`` would give, without fitting.

        Raises:
            AdbenchError: A larger ratio, or a smaller one of a bank that keeps all patches, which
                has no order of picks.
        """
        if ratio != self.ratio and (ratio > self.ratio or not self.selects):
            raise AdbenchError(
                f"a bank of ratio {self.ratio:g} does not begin with one of {ratio:g}"
            )
        size = bank_size(ratio, self.patches_)
        smaller = copy.copy(self)
        for index in ("index", "unit_index"):
            smaller.__dict__.pop(index, None)
        smaller.ratio = ratio
        smaller.order_, smaller.bank_ = self.order_[:size], self.bank_[:size]
        return smaller

    def score(self, test: Features) -> Scores:
        """Distance of each patch to its nearest items of the bank; see the module for the image."""
        return next(self.score_all(test, [self]))

    def score_all(
        self, test: Features, variants: Sequence[Self], maps: bool = True
    ) -> Iterator[Scores]:
        """``score`` of copies with other score settings or smaller banks, from one search.

        Those with ``distance=cosine`` take a search of their own. The patches are not kept, so each
        variant that re-weights embeds the images once more to read the patches m_test.

        Raises:
            ImpossibleError: A variant that needs more neighbours than its bank has.
        """
        require_fitted(self, test)
        settle(self, test, "index", "unit_index")
        for variant in variants:
            variant._require_neighbours()
        searched: dict[bool, tuple[Neighbors, dict[int, tuple[Tensor, Tensor]]]] = {}
        for by_cosine in {v.by_cosine for v in variants}:
            index = self.unit_index if by_cosine else self.index
            alike = [v for v in variants if v.by_cosine == by_cosine]
            searched[by_cosine] = index, self._search(test, index, alike)
        for v in variants:
            index, found = searched[v.by_cosine]
            yield v._scores(test, index, *found[len(v.bank_)], maps)

    def graph(self, shapes: Sequence[Shape], size: tuple[int, int]) -> PatchCoreGraph:
        """See ``adbench.methods.method.Exports``."""
        self._require_neighbours()
        around = self._around(self.index, self.bank_).cpu() if self.reweights else None
        ends = Embedding(self.embedding, shapes), anomaly_maps(self.anomaly_map, shapes, size)
        top = top_count(self.share, shapes[0][1] * shapes[0][2]) if self.averages else 1
        scaled = self.reweight == "scaled"
        return PatchCoreGraph(*ends, self.bank_, around, self.map_k, scaled, self.distance, top)

    def selection(self) -> dict[str, Any] | None:
        """What the order of the picks follows from beside the features."""
        return self.coreset.selection(self.embedding) if self.selects else None

    def picks(self, normal: Features) -> int:
        """How many patches the bank keeps."""
        return bank_size(self.ratio, self.embedding.count(normal))

    def kept_bytes(self, positions: int, variants: Sequence[Self]) -> int:
        """Distances and rows of the neighbours for each size of the bank, while they are joined."""
        total = 0
        for by_cosine in {v.by_cosine for v in variants}:
            alike = [v for v in variants if v.by_cosine == by_cosine]
            k, sizes = max(v.map_k for v in alike), len({v.ratio for v in alike})
            total += 2 * 12 * k * sizes * positions
        return total

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage without pruning: all items, all values."""
        return int(self.bank_.numel())

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score."""
        count, d = self.embedding.count(normal), sum(self.embedding.channels(normal))
        size = max(1, int(count * self.ratio))
        selection = self.coreset.memory(self.embedding, normal, size) if self.selects else 0
        images = max(test, len(normal))
        found = 12 * min(self.map_k, size) * images * (count // max(1, len(normal)))
        around = 8 * images * self.b * d if self.reweights else 0
        maps = 4 * test * normal.size[0] * normal.size[1]
        if normal.torch_device is not None:  # patches pass through, some at a time
            kept = 4 * size * d * (1 + self.by_cosine) + 16 * count
            return 4 * BLOCK + kept + bytes_beside(normal, test)
        bank = Neighbors.bytes(size, d) + 4 * size * d * self.by_cosine  # as they are, and scaled
        return 4 * BLOCK + max(selection, bank + around + 3 * (found + maps))

    def device_memory(self, normal: Features, test: int) -> int:
        """Bytes of a device at the peak of fit or score."""
        count, d = self.embedding.count(normal), sum(self.embedding.channels(normal))
        size = max(1, int(count * self.ratio))
        selection = self.coreset.device_memory(self.embedding, normal) if self.selects else 0
        images = max(test, len(normal))
        found = 12 * min(self.map_k, size) * images * (count // max(1, len(normal)))
        around = 12 * images * self.b * d if self.reweights else 0
        bank = 4 * size * (d + 1) * (1 + self.by_cosine)
        return 4 * BLOCK + max(selection, bank + around + 3 * found)

    def less_memory(self) -> Iterator[dict[str, Any]]:
        """Smaller banks."""
        yield from smaller_banks(self.ratio)

    def _require_neighbours(self) -> None:
        size, needed = len(self.bank_), self.b + int(not self.include_self)
        if self.map_k > size:
            raise ImpossibleError(
                f"PatchCore: map_k {self.map_k} is larger than the bank of {size} patches; lower "
                "it, which is method.k in most presets, or raise method.ratio"
            )
        if self.reweights and needed > size:
            raise ImpossibleError(
                f"PatchCore: re-weighting over b={self.b} neighbours needs a bank larger than "
                f"{size} patches; lower method.b or raise method.ratio"
            )

    def _search(
        self, test: Features, index: Neighbors, variants: Sequence[Self]
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """(n h w, k) distances, ascending, and rows of the bank, by the size of the bank."""
        sizes = sorted({len(variant.bank_) for variant in variants})
        k = max(variant.map_k for variant in variants)
        parts = []
        for block in self.embedding.blocks(test):
            with stage("embed"):
                queries = self.embedding(block)  # (b h w, d)
            with stage("distance"):
                queries = stacked.unit(queries) if variants[0].by_cosine else queries
                parts.append(index.search_beginnings(queries, k, sizes))
        return {
            size: (torch.cat([d for d, _ in pairs]), torch.cat([rows for _, rows in pairs]))
            for size, pairs in zip(sizes, zip(*parts, strict=True), strict=True)
        }

    def _scores(
        self, test: Features, index: Neighbors, distances: Tensor, nearest: Tensor, maps: bool
    ) -> Scores:
        kept = distances[:, : self.map_k].contiguous()
        kept = kept**2 / 2 if self.by_cosine else kept  # |x - m|^2 = 2 - 2 cos at length 1
        scores = kept.mean(dim=1).reshape(len(test), -1)  # (n, h w), where the index is
        with stage("image"):
            images = scores.amax(dim=1)
            if self.reweights:
                images = self._reweighted(test, index, scores, distances[:, 0], nearest[:, 0])
        if self.distance == "squared":
            scores, images = scores**2, images**2
        if self.averages:
            images = mean_of_top(scores, self.share)
        if not maps:
            return Scores(images.cpu(), None)
        with stage("map"):
            grids = scores.reshape(len(test), *test.grid)
            return Scores(images.cpu(), self.anomaly_map(grids, test.size))

    def _reweighted(
        self, test: Features, index: Neighbors, scores: Tensor, distances: Tensor, nearest: Tensor
    ) -> Tensor:
        """(n,) equation 7, from all (n, h w) patch scores and all nearest items (n h w,)."""
        star, place = scores.max(dim=1)  # s* and the place of m_test
        rows = torch.arange(len(test), device=place.device) * scores.shape[1] + place
        patch = self.embedding.rows(test, rows.cpu().numpy()).to(index.bank.device)  # (n, d) m_test
        around = self._around(index, index.bank[nearest[rows]])  # (n, b)
        apart = torch.linalg.vector_norm(index.bank[around] - patch[:, None], dim=2)  # (n, b)
        scale = math.sqrt(patch.shape[1]) if self.reweight == "scaled" else 1.0
        # exp s* / sum exp |m_test - m| through logsumexp: exp overflows float32 above 88
        softmax = torch.exp(distances[rows] / scale - torch.logsumexp(apart / scale, dim=1))
        return (1 - softmax) * star

    def _around(self, index: Neighbors, items: Tensor) -> Tensor:
        """(n, b) rows of N_b for (n, d) items of the bank."""
        own = int(not self.include_self)
        found = index.search_beginnings(items, self.b + own, [len(self.bank_)])[0]
        return found[1][:, own:]
