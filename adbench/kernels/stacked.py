"""Products with patches that are stacked from several layers, without stacking them.

A patch is the concatenation of the layers' vectors at its place. Deeper layers are brought to the
finest size by a linear map of the positions, which commutes with every linear map of the channels.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import csr_array, kron
from torch import Tensor

from adbench.kernels import patches

SHORTEST = 1e-12
"""Shorter patches are divided by this where all are to have length 1."""


def project(layers: list[Tensor], axes: Tensor, rule: patches.Rule) -> Tensor:
    """The coordinates of the patches of one image on some axes.

    Each layer meets its rows of ``axes`` at its own resolution. The results are brought to the
    finest size and added: for a layer of half the size that is a quarter of the multiply-adds.

    Args:
        layers: (1, c, p, q) each, finest first.
        axes: (d, r) float32 as columns, d the channels of all layers.
        rule: How deeper layers reach the finest size.

    Returns:
        (h w, r) float32, row by row.
    """
    grids, end = [], 0
    for layer in layers:
        start, end = end, end + layer.shape[1]
        coordinates = product(patches.rows(layer), axes[start:end])  # (p q, r)
        grids.append(coordinates.reshape(1, *layer.shape[-2:], -1).permute(0, 3, 1, 2))
    size = (int(layers[0].shape[-2]), int(layers[0].shape[-1]))
    total = grids[0]
    for deeper in grids[1:]:
        total += patches.resize(deeper, size, rule)
    return patches.rows(total)


def moments(
    blocks: Iterable[list[Tensor]], rule: patches.Rule, unit: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrix and sum of all patches, a block of images at a time, in float64.

    A deeper layer's part of the patches Y is z S: its own positions z (c, p), spread over the
    finest grid by S (p, h w). Then Y (z S)^T = (Y S^T) z^T, and gathering the patches before the
    product saves most of the multiply-adds. Y is interpolated in float64, as S is, so the result is
    the Gram matrix of one set of patches up to float64, and its zero eigenvalues stay zero.

    Args:
        blocks: The layers of some images, (b, c, p, q) each, finest first.
        rule: How deeper layers reach the finest size.
        unit: Whether every patch is first scaled to length 1.

    Returns:
        (d, d) and (d,).
    """
    gram, total = np.zeros((0, 0)), np.zeros(0)
    spreads: list[csr_array | None] = []
    for block in blocks:
        layers = [layer.double() for layer in block]
        y = _rows(patches.stack(layers, rule))  # (b, h w, d)
        if not spreads:
            spreads = [_spread(layer, layers[0], rule) for layer in layers]
            gram, total = np.zeros((y.shape[-1], y.shape[-1])), np.zeros(y.shape[-1])
        scale = lengths(y) if unit else np.ones(1)
        y /= scale
        total += y.sum((0, 1))
        y /= scale  # again: z below is not scaled
        end = 0
        for layer, spread in zip(layers, spreads, strict=True):
            z = _rows(layer)  # (b, p, c)
            start, end = end, end + z.shape[-1]
            gathered = y[:, :, :end]  # (b, p, end)
            if spread is not None:
                gathered = np.stack([spread @ image for image in gathered])
            gram[:end, start:end] += gathered.reshape(-1, end).T @ z.reshape(-1, z.shape[-1])
    return np.triu(gram) + np.triu(gram, 1).T, total


def plain_moments(
    blocks: Iterable[list[Tensor]], rule: patches.Rule, unit: bool
) -> tuple[np.ndarray, np.ndarray]:
    """``moments`` by plain torch where the blocks are, from the patches themselves."""
    gram, total = torch.zeros(()), torch.zeros(())
    for block in blocks:
        y = patches.rows(patches.stack([layer.double() for layer in block], rule))  # (b h w, d)
        if unit:
            y /= y.norm(dim=1, keepdim=True).clamp_min(SHORTEST)
        gram, total = gram.to(y) + y.T @ y, total.to(y) + y.sum(dim=0)
    return gram.cpu().numpy(), total.cpu().numpy()


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of float32 matrices, on the CPU by numpy: on AMD torch's MKL has 40% of its rate.

    Callers limit the BLAS to one thread by ``workers(1)`` around all their products. Several
    threads lose more than they bring here: those of a BLAS go on spinning beside the backbone, and
    those of torch spin beside threads that share its rows.
    """
    return torch.from_numpy(a.numpy() @ b.numpy()) if a.device.type == "cpu" else a @ b


def unit(y: Tensor) -> Tensor:
    """The (n, d) vectors scaled to length 1; shorter ones than ``SHORTEST`` stay shorter."""
    scaled: Tensor = y / y.norm(dim=1, keepdim=True).clamp_min(SHORTEST)
    return scaled


def lengths(y: np.ndarray) -> np.ndarray:
    """Euclidean length of the vectors on the last axis, which is kept; at least ``SHORTEST``."""
    norms: np.ndarray = np.linalg.norm(y, axis=-1, keepdims=True)
    return norms.clip(min=SHORTEST)


def _rows(maps: Tensor) -> np.ndarray:
    """(b, c, p, q) to (b, p q, c)."""
    rows: np.ndarray = patches.rows(maps).numpy()
    return rows.reshape(len(maps), -1, maps.shape[1])


def _spread(layer: Tensor, finest: Tensor, rule: patches.Rule) -> csr_array | None:
    """(p, h w): the share of each own position of a layer in each position of the finest grid.

    None where these are the same positions.
    """
    if layer.shape[-2:] == finest.shape[-2:]:
        return None

    def along(axis: int) -> csr_array:
        own, fine = layer.shape[axis], finest.shape[axis]
        lines = torch.eye(own, dtype=torch.float64).reshape(own, 1, own, 1)
        return csr_array(patches.resize(lines, (fine, 1), rule).reshape(own, fine).numpy())

    return csr_array(kron(along(-2), along(-1)))  # every rule treats rows and columns apart
