"""Memory banks of several sizes that one selection gives, searched together and kept with the features."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from adbench.core import Features
from adbench.kernels.neighbors import Neighbors
from adbench.kernels.parallel import workers
from adbench.memo import Arrays
from adbench.timing import stage

Queries = Callable[[Features], Iterable[Tensor]]
"""Gives the (q, d) patches of some images, block by block."""
Found = tuple[Tensor, Tensor]
"""(q, k) distances, ascending, and (q, k) rows of the bank."""


@dataclass(frozen=True)
class Banks:
    """Banks that begin one order of the normal patches, so that a larger one begins with the smaller."""

    key: str
    """Names the order and its features; empty where these have no name."""
    by_size: dict[int, Neighbors]
    """Ascending."""
    most: int
    """Neighbours that will be asked for at most."""
    spared: dict[int, float]
    """Seconds that indexing each one alone would have taken less than indexing all, by size."""
    found: dict[str, Arrays] = field(default_factory=dict)
    """What was found so far, by the name of the features; for the jobs of one process."""

    @classmethod
    def of(cls, bank: Tensor, sizes: Sequence[int], most: int, key: str) -> Self:
        """Index the first rows of ``bank``, (m, d), for each of the ascending ``sizes``."""

        def index(size: int) -> tuple[Neighbors, float]:
            start = time.perf_counter()
            return Neighbors(bank[:size]), time.perf_counter() - start

        start = time.perf_counter()
        with workers(limit=len(sizes)) as each:
            made = dict(zip(sizes, each(index, sizes), strict=True))
        taken = time.perf_counter() - start
        banks = {size: neighbors for size, (neighbors, _) in made.items()}
        return cls(key, banks, most, {size: taken - own for size, (_, own) in made.items()})

    def search(self, size: int, k: int, test: Features, queries: Queries) -> Found:
        """The k nearest of the first ``size`` patches to every patch of ``test``.

        Kept with the features per order, size and k, and for all the banks at once, at the cost of the largest (on the
        CPU): a larger bank of the order searches only what it has more, a smaller k takes its part.
        """
        if not (self.key and test.key):
            return _concatenated(self.by_size[size], [size], k, queries(test))[0]

        def search(known: Arrays) -> Arrays | None:
            kept = {int(name.split(".")[0]): a.shape[1] for name, a in known.items() if name.endswith(".rows")}
            if kept.get(size, 0) >= k:
                return None
            most = max(k, self.most)
            lacking = [m for m in self.by_size if kept.get(m, 0) < min(m, most)]
            most = min(most, lacking[-1])
            start = max((m for m, columns in kept.items() if m < lacking[0] and columns >= most), default=0)
            before = (torch.from_numpy(known[f"{start}.rows"][:, :most]), start) if start else None
            found = _concatenated(self.by_size[lacking[-1]], lacking, most, queries(test), before)
            arrays = dict(known)
            for m, (distances, rows) in zip(lacking, found, strict=True):
                arrays |= {f"{m}.distances": distances.numpy(), f"{m}.rows": rows.numpy()}
            return arrays

        kept = self.found.get(test.key, {})
        if f"{size}.rows" not in kept or kept[f"{size}.rows"].shape[1] < k:
            known = test.derive("neighbors", {"bank": self.key}, compute=lambda: search(kept) or {}, extend=search)
            kept = self.found[test.key] = known.arrays
        return torch.from_numpy(kept[f"{size}.distances"][:, :k]), torch.from_numpy(kept[f"{size}.rows"][:, :k])


def _concatenated(
    neighbors: Neighbors,
    sizes: Sequence[int],
    k: int,
    blocks: Iterable[Tensor],
    known: tuple[Tensor, int] | None = None,
) -> list[Found]:
    """``Neighbors.search_beginnings`` of all blocks."""
    parts, done = [], 0
    for block in blocks:
        before = (known[0][done : done + len(block)], known[1]) if known else None
        with stage("distance"):
            parts.append(neighbors.search_beginnings(block, k, sizes, before))
        done += len(block)
    return [(torch.cat([d for d, _ in found]), torch.cat([r for _, r in found])) for found in zip(*parts, strict=True)]
