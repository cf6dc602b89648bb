"""Bundles: the jobs that read the same features, on one category.

A launcher that runs jobs side by side is handed whole bundles, so that no features, selections or
fits are made by two processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from adbench.bench.plan import Plan
from adbench.bench.session import Reads, Session
from adbench.detectors.detector import Shares

Split = Literal["features", "settings"]
"""What is handed out at once: all settings that read the same features, or a single setting."""


@dataclass(frozen=True)
class Bundle:
    """Jobs that one process does together, on one category."""

    category: str
    jobs: tuple[int, ...]
    """Their numbers in the sweep."""
    reads: Reads | None
    """What all jobs on these features read, those of other bundles too; None: they read none."""


def bundles(plans: Mapping[int, Plan], split: Split = "features") -> list[Bundle]:
    """The bundles of jobs, in the order in which one process would do them.

    Args:
        plans: The jobs by their numbers.
        split: What a bundle is.
    """
    numbers = list(plans)
    found = []
    for places in Session(list(plans.values())).groups():
        jobs = [numbers[place] for place in places]
        reads = _reads([plans[job] for job in jobs])
        parts = [jobs] if split == "features" else [[job] for job in jobs]
        for category in plans[jobs[0]].categories:
            found += [Bundle(category, tuple(part), reads) for part in parts]
    return found


def _reads(plans: list[Plan]) -> Reads | None:
    """All that these jobs read of the features that they share."""
    wanted = [plan.detector.reads() for plan in plans if isinstance(plan.detector, Shares)]
    if not wanted:
        return None
    layers = {layer for some, _ in wanted for layer in some}
    return sorted(layers), any(vectors for _, vectors in wanted)
