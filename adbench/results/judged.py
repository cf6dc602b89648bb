"""What a threshold decides on test images, and in which words it is said."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """What became of an image."""

    word: str
    """In file names."""
    title: str
    wrong: bool = False


MISSED = Verdict("missed", "missed defect", wrong=True)
FALSE_ALARM = Verdict("false_alarm", "false alarm", wrong=True)
CAUGHT = Verdict("caught", "defect caught")
PASSED = Verdict("passed", "correctly passed")
DEFECT = Verdict("defect", "image with a defect")
NORMAL = Verdict("normal", "normal image")
"""The last two are for settings without a threshold."""


@dataclass(frozen=True)
class Judged:
    """The scores of all test images of a category, and what is decided by them."""

    scores: np.ndarray
    """(n,)."""
    anomalous: np.ndarray
    """(n,) bool."""
    threshold: float | None = None
    """An image is called anomalous where its score exceeds it."""
    origin: str = ""
    """Where the threshold comes from, in words."""

    def verdict(self, place: int) -> Verdict:
        """What became of the image at ``place``."""
        if self.threshold is None:
            return DEFECT if self.anomalous[place] else NORMAL
        called = self.scores[place] > self.threshold
        if self.anomalous[place]:
            return CAUGHT if called else MISSED
        return FALSE_ALARM if called else PASSED

    def rank(self, place: int) -> int:
        """1 for the highest score."""
        return 1 + int((self.scores > self.scores[place]).sum())

    def in_words(self, place: int) -> str:
        """The score beside the threshold, or its rank where there is none."""
        score, n = f"score {self.scores[place]:.4g}", len(self.scores)
        if self.threshold is None:
            return f"{score}, rank {self.rank(place)} of {n}"
        sign = ">" if self.scores[place] > self.threshold else "≤"
        return f"{score} {sign} threshold {self.threshold:.4g}"
