"""Detectors that one fit serves.

They differ in what scoring alone reads, or in how much they keep of what the fit selects. The one
that keeps most is fitted; the others take their part of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor

from adbench.data.samples import Images
from adbench.detectors.detector import Detector, Provider, Shares
from adbench.errors import AdbenchError
from adbench.methods.method import Scores


class Family:
    """Detectors with one fit between them.

    Args:
        members: Unfitted detectors with the same ``fit_key``, or a single one of any kind.

    Attributes:
        members: The same, each fitted after ``fit`` unless it has an error.
        errors: Place of a member -> why it could not take its part of the fit.
    """

    def __init__(self, members: Sequence[Detector]) -> None:
        self.members = list(members)
        self.errors: dict[int, Exception] = {}
        self._largest = max(self.members, key=_extent)

    @property
    def largest(self) -> Detector:
        """The member that keeps most of what is selected."""
        return self._largest

    def fit(self, normal: Images, provider: Provider) -> None:
        """Fit the member that keeps most, and let the others adopt what it learned."""
        self._largest = self._largest.fit(normal, provider)
        of_extent = {_extent(self._largest): self._largest}
        for place, member in enumerate(self.members):
            # Members of one extent adopt from the first, and share what is rebuilt from it.
            source = of_extent.get(_extent(member), self._largest)
            try:
                fitted = member.adopt(cast(Any, source)) if isinstance(member, Shares) else source
            except AdbenchError as error:
                self.errors[place] = error
                continue
            self.members[place] = of_extent[_extent(member)] = fitted

    def score(self, images: Images, places: Sequence[int], maps: bool = True) -> Iterator[Scores]:
        """Scores of the members at ``places``, in one pass over the images where they can.

        Each is computed when the caller takes it.
        """
        if isinstance(self._largest, Shares):
            chosen: list[Any] = [self.members[place] for place in places]
            yield from self._largest.score_all(images, chosen, maps)
        else:
            yield from (self.members[place].score(images) for place in places)

    def image_scores(self, images: Images, places: Sequence[int]) -> list[Tensor]:
        """(n,) image scores of the members at ``places``, without maps where they can."""
        return [scores.images for scores in self.score(images, places, maps=False)]


def families(detectors: Sequence[Detector]) -> list[list[int]]:
    """Places of the detectors that one fit serves, family by family."""
    found: dict[str, list[int]] = {}
    for place, detector in enumerate(detectors):
        key = detector.fit_key() if isinstance(detector, Shares) else f"alone {place}"
        found.setdefault(key, []).append(place)
    return list(found.values())


def _extent(detector: Detector) -> float:
    return detector.extent() if isinstance(detector, Shares) else 0.0
