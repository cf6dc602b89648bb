"""The score of an image as the mean over its highest patches.

As in AnomalyDINO (Damm et al., WACV 2025) and SubspaceAD (Lendering et al., arXiv 2602.23013).
"""

from torch import Tensor


def top_count(share: float, count: int) -> int:
    """How many of ``count`` patches a share of them is: int(count * share), but at least one."""
    return max(1, int(count * share))


def mean_of_top(scores: Tensor, share: float) -> Tensor:
    """(n,) the mean over the highest ``share`` of the (n, p) patch scores of each image."""
    return scores.topk(top_count(share, scores.shape[1]), dim=1).values.mean(dim=1)
