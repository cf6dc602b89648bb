"""PatchCore: a memory bank of patch features and the distance to its nearest item (Roth et al., CVPR 2022)."""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from adbench import patches
from adbench.banks import Banks
from adbench.build import settings_of
from adbench.core import STRICT, AdbenchError, Features, Scores, require_finite, require_fitted
from adbench.kernels import projection
from adbench.kernels.coreset import greedy, greedy_bytes, official_start, random_order
from adbench.kernels.neighbors import Neighbors
from adbench.memo import Arrays, digest
from adbench.patches import AnomalyMap
from adbench.timing import stage

BLOCK = 80 * 10**6
"""Bytes of patches embedded at a time, so that those of a whole set never exist at once; 16 images of WideResNet50."""

_TOGETHER = (
    "one fit and one search gave the banks of {} patches for several jobs: the memory's peak is of all of them, the fit's "
    "seconds count the gathering of the largest, and the first job's score the search in all"
)


@dataclass(config=STRICT)
class PatchCore:
    """Distance of each patch to its nearest neighbours in a coreset of normal patches."""

    layers: list[int] = Field(default_factory=lambda: [2, 3], min_length=1)
    """Pyramid levels; the paper's are 2 and 3."""
    patch: Annotated[int, Field(ge=1)] = 3
    """Edge of the neighbourhood that is averaged (section 3.1); odd."""
    pool_padding: bool = True
    """Whether zeros beyond the map's border count into the average. True in anomalib and ind_knn_ad's average pooling."""
    embedding: Literal["concat", "official"] = "concat"
    """concat: pooled maps stacked along the channels. official: the 1024 values that patchcore-inspection pools out of the
    unfolded patches (its ``PreprocessingModule`` and ``Aggregator``); see ``official_embedding``."""
    upsample: Literal["bilinear", "nearest", "adaptive"] = "bilinear"
    """How deeper maps reach the finest size; the PatchCore-CLIP report averages adaptively."""

    sampler: Literal["greedy", "random"] = "greedy"
    """greedy: minimax facility location (Algorithm 1); random: a uniform draw."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Part of all training patches that the bank keeps: int(n * ratio); 1.0 keeps all of them."""
    projection: Literal["none", "gaussian", "jl_sparse"] = "gaussian"
    """The space in which greedy selection measures distances. The bank itself is never projected."""
    dim: Annotated[int, Field(ge=1)] = 128
    """Dimensions of the gaussian projection; 128 in patchcore-inspection. At most the embedding's own are used."""
    eps: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Distortion allowed to jl_sparse; sets its dimensions by Johnson-Lindenstrauss. 0.9 in anomalib and the paper."""
    start: Literal["first", "random", "official10"] = "first"
    """The first pick: patch 0, a random one, or patchcore-inspection's mean distance to 10 random patches."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the projection, the start and the random sampler."""

    k: Annotated[int, Field(ge=1)] = 1
    """Neighbours: averaged for the anomaly map unless ``map_k`` is set, and used by ``reweight`` unless ``b`` is set."""
    map_k: Annotated[int, Field(ge=1)] | None = None
    """Neighbours averaged for the map; 1 in the paper (``anomaly_scorer_num_nn`` of patchcore-inspection)."""
    reweight: Literal["none", "paper", "scaled"] = "none"
    """Image score: none takes the largest patch score (patchcore-inspection); paper multiplies by 1 - softmax over the
    neighbourhood of the nearest bank item (equation 7); scaled divides its exponents by sqrt(d) (ind_knn_ad)."""
    b: Annotated[int, Field(ge=1)] | None = None
    """Size of that neighbourhood: 9 in anomalib, 3 in ind_knn_ad, k in the PatchCore-CLIP report."""
    include_self: bool = True
    """Whether the nearest bank item itself is among the b; ind_knn_ad leaves it out."""
    distance: Literal["root", "squared"] = "root"
    """patchcore-inspection blurs and upsamples squared distances (faiss returns them)."""
    anomaly_map: AnomalyMap = Field(default_factory=AnomalyMap)
    """From patch scores to the map."""

    needs_vectors: ClassVar[bool] = False
    asked: ClassVar[frozenset[str]] = frozenset(
        {"k", "map_k", "reweight", "b", "include_self", "distance", "anomaly_map"}
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patch % 2 == 0:
            raise ValueError(f"patch must be odd, got {self.patch}")
        if self.reweight != "none" and self.include_self and (self.b or self.k) == 1:
            raise ValueError("re-weighting with b=1 and the nearest item itself makes every score 0; use b >= 2")
        return self

    def fit(self, normal: Features) -> Self:
        """Embed the normal patches and keep a coreset of them as the bank.

        Raises:
            AdbenchError: The ratio keeps no patch, eps asks for more dimensions than there are, or features are not finite.
        """
        self.fit_with([], normal)
        return self

    def fit_with(self, others: Sequence[Self], normal: Features) -> list[tuple[Self, float]]:
        """``fit``, and copies of those ``others`` fitted whose banks begin the same order of patches.

        Returns:
            Itself and these, each with the seconds that a fit of its own would have spared.
        """
        if not len(normal):
            raise AdbenchError("PatchCore.fit: no training images")
        n = len(normal) * _patches_per_image(normal)
        members = [self, *(copy.copy(other) for other in others if self._begins_the_order_of(other, n))]
        sizes = [member._bank_size(n) for member in members]
        picked, elapsed = self._select(normal, n, max(sizes))
        bank = self._gather(normal, picked).to(normal.device)
        order = self._embedding_settings() if max(sizes) == n else self._selection_settings()
        key = digest({"features": normal.key, "order": order}) if normal.key else ""
        most = max(m._most for m, size in zip(members, sizes, strict=True) if m is self or m._most <= size)
        banks = Banks.of(bank, sorted({*sizes}), most, key)
        for member, size in zip(members, sizes, strict=True):
            member._take(banks, size, normal.source)
        picking = elapsed[-1] - elapsed[np.array(sizes) - 1]
        return [(m, banks.spared[size] + float(more)) for m, size, more in zip(members, sizes, picking, strict=True)]

    def _take(self, banks: Banks, size: int, source: str) -> None:
        self.banks_, self.neighbors_, self.source_ = banks, banks.by_size[size], source
        self.notes_ = [_TOGETHER.format(", ".join(map(str, banks.by_size)))] if len(banks.by_size) > 1 else []

    @property
    def _most(self) -> int:
        """Neighbours that a score asks for."""
        return max(self.k, self.map_k or 1)

    @property
    def bank_(self) -> Tensor:
        """(m, d) the coreset, in the order of the picks."""
        return self.neighbors_.bank.cpu()

    def score(self, test: Features) -> Scores:
        """Distance of each patch to its nearest bank items; the largest one is the image's score."""
        require_fitted(self, test)
        distances, nearest = self._search(test)  # (n h w, k) both
        h, w = test.maps[0].shape[-2:]
        maps = distances[:, : self.map_k or self.k].mean(dim=1).reshape(len(test), h, w)
        with stage("image"):
            images = self._image_scores(test, distances, nearest)
        if self.distance == "squared":
            maps, images = maps**2, images**2
        with stage("map"):
            return Scores(images, self.anomaly_map(maps, test.size))

    def image_scores(self, test: Features) -> Tensor:
        """(n,) image scores without the maps."""
        require_fitted(self, test)
        images = self._image_scores(test, *self._search(test))
        return images**2 if self.distance == "squared" else images

    def multiply_adds(self) -> int:
        """Multiply-adds per patch of the distance stage without pruning: every bank item, every dimension."""
        return int(self.bank_.numel())

    def memory(self, normal: Features, test: int) -> int:
        """Bytes at the peak of fit or score; see ``adbench.memory``."""
        return self.memory_with([], normal, test)

    def memory_with(self, others: Sequence[Self], normal: Features, test: int) -> int:
        """``memory`` where others are fitted and searched with it."""
        per_image, d = _patches_per_image(normal), sum(self._channels(normal))
        n = len(normal) * per_image
        members = [self, *(other for other in others if self._begins_the_order_of(other, n))]
        sizes = sorted({max(1, int(n * member.ratio)) for member in members})
        selects = self.sampler == "greedy" and sizes[-1] < n
        selection = greedy_bytes(n, self._dims(n, d), sizes[-1]) if selects else 0
        columns = sum(min(max(m._most for m in members), size) for size in sizes)
        found = 12 * columns * max(test, len(normal)) * per_image
        maps = 4 * test * normal.size[0] * normal.size[1]
        banks = Neighbors.bytes(sizes[-1], d) + sum(Neighbors.bytes(m, d) - 4 * m * d for m in sizes[:-1])
        return 4 * BLOCK + max(selection, banks + 3 * (found + maps))

    def lighter(self) -> Iterator[dict[str, float]]:
        """Smaller banks."""
        yield from ({"ratio": ratio} for ratio in (0.5, 0.25, 0.1, 0.05, 0.01, 0.001) if ratio < self.ratio)

    # Embedding

    def _pooled(self, maps: list[Tensor]) -> list[Tensor]:
        """Pooled layers of a block of images, finest first, at their own resolutions."""
        if self.embedding == "official":
            return official_embedding(maps, self.patch)
        return [patches.pool(m, self.patch, self.pool_padding) for m in maps]

    def _channels(self, features: Features) -> list[int]:
        """Of each layer as it is embedded."""
        return [512, 512] if self.embedding == "official" else [int(m.shape[1]) for m in features.maps]

    def _embed(self, block: Features) -> Tensor:
        """(n h w, d) patch vectors of a block of images."""
        embedded = patches.rows(patches.stack(self._pooled(block.maps), self.upsample))
        require_finite(embedded, "patch features")
        return embedded

    def _blocks(self, features: Features) -> Iterator[Features]:
        step = max(1, BLOCK // (4 * _patches_per_image(features) * sum(self._channels(features))))
        for first in range(0, len(features), step):
            yield features[first : first + step]
            features.evict()  # each block is read once in a pass

    def _gather(self, normal: Features, picked: np.ndarray) -> Tensor:
        """The embedded patches of the picked rows, in the order of the picks."""
        places = np.argsort(picked, kind="stable")  # places in the bank, by the row that goes there
        ordered = picked[places]
        bank = torch.empty(len(picked), sum(self._channels(normal)))
        first = 0
        for block in self._blocks(normal):
            embedded = self._embed(block)
            here = slice(*np.searchsorted(ordered, [first, first + len(embedded)]))
            bank[torch.from_numpy(places[here])] = embedded[torch.from_numpy(ordered[here] - first)]
            first += len(embedded)
        return bank

    # Selection

    def _begins_the_order_of(self, other: "PatchCore", n: int) -> bool:
        """Whether the banks that both keep of n patches begin one order of these."""
        mine, theirs = (
            {name: value for name, value in settings_of(m).items() if name != "ratio" and name not in m.asked}
            for m in (self, other)
        )
        if mine != theirs or int(n * other.ratio) == 0:
            return False
        return (int(n * self.ratio) == n) == (int(n * other.ratio) == n)  # all patches are in an order of their own

    def _bank_size(self, n: int) -> int:
        size = int(n * self.ratio)
        if size == 0:
            raise AdbenchError(
                f"ratio {self.ratio:g} keeps 0 of {n} patches; use at least {math.ceil(1e6 / n) / 1e6:g}"
            )
        return size

    def _selection_settings(self) -> dict[str, object]:
        """What the order of the picks depends on; the ratio is not among it, because picks are nested."""
        names = ["sampler", "projection", "dim", "eps", "start", "seed"]
        return self._embedding_settings() | {name: getattr(self, name) for name in names}

    def _embedding_settings(self) -> dict[str, object]:
        """What the patches depend on, and so the order in which all of them are kept."""
        return {name: getattr(self, name) for name in ["patch", "pool_padding", "embedding", "upsample"]}

    def _select(self, normal: Features, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the picked patches in the order of the picks, and the seconds until each of them was known."""
        if size == n:
            return np.arange(n), np.zeros(n)
        if self.sampler == "random":
            return random_order(n, size, self.seed), np.zeros(size)
        points: list[Tensor] = []

        def pick(known: np.ndarray | None) -> Arrays:
            start = time.perf_counter()
            points.extend([self._project(normal, n)] if not points else [])
            initial, first = None, 0
            if self.start == "official10":
                initial = official_start(points[0], self.seed)
            elif self.start == "random":
                first = int(np.random.default_rng(self.seed).integers(n))
            before = time.perf_counter() - start
            chosen = greedy(points[0], size, first, initial, known, progress=normal.progress)
            return {"indices": chosen.indices, "elapsed": chosen.elapsed + np.float32(before)}

        def extend(kept: Arrays) -> Arrays | None:
            if len(kept["indices"]) >= size:
                return None
            longer = pick(kept["indices"])
            already = len(kept["indices"])
            longer["elapsed"][:already] = kept["elapsed"]
            longer["elapsed"][already:] += kept["elapsed"][-1]
            return longer

        kept = normal.derive(
            "greedy",
            self._selection_settings(),
            compute=lambda: pick(None),
            extend=extend,
            cost=lambda arrays: float(arrays["elapsed"][size - 1]),
        )
        return kept.arrays["indices"][:size], kept.arrays["elapsed"][:size]

    def _project(self, normal: Features, n: int) -> Tensor:
        """(n h w, dim) patches in the space of the selection.

        Pooling, upsampling and projecting are linear, so each layer is projected at its own resolution and the embedding of
        the whole set is never made.
        """
        channels = self._channels(normal)
        d = sum(channels)
        dims = self._dims(n, d)
        parts: list[Tensor] = []
        if self.projection != "none":
            draw = projection.gaussian if self.projection == "gaussian" else projection.sparse
            parts = list(torch.split(draw(d, dims, self.seed), channels))
        points = torch.empty(n, dims)
        done = 0
        for block in self._blocks(normal):
            made = self._projected(block, parts) if parts else self._embed(block)
            points[done : done + len(made)] = made
            done += len(made)
        require_finite(points, "patch features")
        return points.to(normal.device)

    def _dims(self, n: int, d: int) -> int:
        """Dimensions in which the selection measures, of n patches with d of their own."""
        if self.projection == "none":
            return d
        return min(self.dim, d) if self.projection == "gaussian" else projection.jl_dimension(n, self.eps, d)

    def _projected(self, block: Features, parts: list[Tensor]) -> Tensor:
        """(n h w, dims) from the rows of the projection that belong to each layer."""
        total: Tensor | None = None
        for layer, part in zip(self._pooled(block.maps), parts, strict=True):
            projected = F.conv2d(layer, part.T[:, :, None, None])
            size = total.shape[-2:] if total is not None else projected.shape[-2:]
            resized = patches.resize(projected, (int(size[0]), int(size[1])), self.upsample)
            total = resized if total is None else total + resized
        return patches.rows(projected if total is None else total)

    # Scores

    def _search(self, test: Features) -> tuple[Tensor, Tensor]:
        """The k nearest bank items of every test patch, ascending: (n h w, k) distances and places in the bank."""
        k, size = self._most, len(self.neighbors_.bank)
        if k > size:
            raise AdbenchError(f"k {k} is larger than the bank of {size} patches; lower method.k or raise method.ratio")
        return self.banks_.search(size, k, test, self._queries)

    def _queries(self, test: Features) -> Iterator[Tensor]:
        for block in self._blocks(test):
            with stage("embed"):
                queries = self._embed(block)
            yield queries

    def _image_scores(self, test: Features, distances: Tensor, nearest: Tensor) -> Tensor:
        """(n,) the largest patch score of each image, re-weighted as equation 7 where asked."""
        patch_scores = distances[:, : self.map_k or self.k].mean(dim=1).reshape(len(test), -1)
        top, where = patch_scores.max(dim=1)  # s*, m_test
        if self.reweight == "none":
            return top
        b, own = self.b or self.k, int(not self.include_self)
        if b + own > len(self.bank_):
            raise AdbenchError(f"re-weighting over b={b} neighbours needs a bank larger than {len(self.bank_)} patches")
        rows = torch.arange(len(test)) * patch_scores.shape[1] + where
        star = nearest[rows, 0]  # m*
        scores = torch.empty(len(test))
        for image in range(len(test)):
            query = self._embed(test[image : image + 1])[where[image]]  # (d,)
            _, around = self.neighbors_.search(self.bank_[star[image]][None], b + own)  # N_b(m*)
            to_neighbours = torch.linalg.vector_norm(self.bank_[around[0, own:]] - query, dim=1)
            s = distances[rows[image], 0]
            scale = math.sqrt(len(query)) if self.reweight == "scaled" else 1.0
            # exp(s) / sum exp(d) through logsumexp: exp overflows float32 above 88
            softmax = torch.exp(s / scale - torch.logsumexp(to_neighbours / scale, dim=0))
            scores[image] = (1 - softmax) * top[image]
        return scores


def _patches_per_image(features: Features) -> int:
    return int(features.maps[0].shape[-2] * features.maps[0].shape[-1])


def official_embedding(maps: list[Tensor], patch: int = 3) -> list[Tensor]:
    """The embedding of patchcore-inspection in its exact, cheap form.

    The code unfolds c * 9 values per patch, pools them adaptively to 1024 per layer, stacks the two layers and pools the
    2048 values to 1024. For 512 and 1024 channels and 3 x 3 patches that is: values 0..511 are the finer layer under the
    filter [[.1 .1 .1] [.1 .2 .1] [.1 .1 .1]] with zeros beyond the border, values 512..1023 the means of adjacent pairs of
    channels of the 3 x 3 averaged deeper layer.

    Args:
        maps: (n, 512, h, w) and (n, 1024, h', w').
        patch: Must be 3.

    Returns:
        (n, 512, h, w) and (n, 512, h', w').

    Raises:
        AdbenchError: Other channels or another patch.
    """
    channels = tuple(int(m.shape[1]) for m in maps)
    if channels != (512, 1024) or patch != 3:
        raise AdbenchError(
            f"embedding=official is defined for layers of (512, 1024) channels and patch 3, got {channels} and {patch}; "
            "use embedding=concat"
        )
    fine, deep = maps
    kernel = torch.full((512, 1, 3, 3), 0.1, dtype=fine.dtype, device=fine.device)
    kernel[:, :, 1, 1] = 0.2
    pooled = F.avg_pool2d(deep, 3, stride=1, padding=1)
    return [F.conv2d(fine, kernel, padding=1, groups=512), (pooled[:, 0::2] + pooled[:, 1::2]) / 2]
