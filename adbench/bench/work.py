"""A job on one category, and what it still lacks there."""

from dataclasses import dataclass
from typing import Any

from adbench.bench import thresholds
from adbench.bench.plan import Plan
from adbench.results.records import Record


@dataclass(frozen=True)
class Work:
    """A job on one category."""

    place: int
    """Of the job in the session."""
    plan: Plan
    identity: dict[str, Any]
    known: Record | None
    """The record that there is."""

    @property
    def lacks(self) -> set[str]:
        """What is to be measured: ``metrics``, ``time``, and the threshold.

        That is ``train`` or ``folds``, or ``file`` for the one of a saved detector.
        """
        if self.plan.only_time:
            return {"time"} if self.known is not None and not self.known.time else set()
        threshold = self.plan.threshold
        wanted = {threshold} - {"none"} | ({"time"} if self.plan.wants_time else set())
        if self.known is None:
            return {"metrics", *wanted}
        had = {threshold} if thresholds.has(self.known, self.plan) else set()
        return wanted - had - ({"time"} if self.known.time else set())
