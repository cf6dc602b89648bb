"""What a saved detector says of itself: all but its arrays."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.errors import AdbenchError
from adbench.evaluation.threshold import promise
from adbench.system.settings import STRICT, check

FORMAT = 1
"""Of the file. Raised when the meaning of a field or of an array changes."""


DETECTOR = ("geometry", "backbone", "method")
"""The parts of a detector."""
Side = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class Training:
    """The normal images that a detector was fitted on."""

    images: int
    content: str
    """Names their contents, in any order."""
    sha256: tuple[str, ...]
    """Of each file, or of each array."""
    names: tuple[str, ...] = ()
    """The path of each file below ``folder``; empty where they came as arrays."""
    folder: str | None = None
    """The deepest folder that holds all of them."""
    sizes: tuple[tuple[int, int], ...] = ()
    """The different sizes of the images, (h, w) in pixels."""

    def paths(self) -> list[Path]:
        """Where the files were; they may be there no longer."""
        return [Path(self.folder or ".") / name for name in self.names]


@dataclass(frozen=True, config=STRICT)
class Decision:
    """From which score on an image is called anomalous, and what that promises."""

    alpha: float
    """The false alarm rate that is kept on new normal images, on average."""
    value: float
    """An image is called anomalous where its score exceeds it."""
    pixel_value: float | None
    """As seldom does any pixel of a normal image exceed it; None for detectors without maps."""
    promised: dict[str, Any]
    """n, mean, low and high, as in ``adbench.results.record.Record.threshold``."""


@dataclass(frozen=True, config=STRICT)
class Normal:
    """Scores of n normal images, each by a detector that was fitted without its fold."""

    scores: tuple[float, ...]
    highest: tuple[float, ...] | None
    """The largest value of each anomaly map."""
    fold: tuple[int, ...]
    alpha: float
    """The false alarm rate that was asked for when the detector was fitted."""
    folds: int
    """How many were asked for."""
    seed: int
    """Of their draw."""

    def decision(self, alpha: float | None = None) -> Decision:
        """The thresholds for a false alarm rate; for the one that was asked for where None.

        Raises:
            AdbenchError: So few images cannot promise it; tells which rate they can.
        """
        promised = promise(len(self.scores), self.alpha if alpha is None else alpha)
        value = promised.threshold(np.array(self.scores))
        if value is None:
            raise AdbenchError(f"{promised.reason}, or set threshold=none")
        highest = None if self.highest is None else np.array(self.highest)
        pixel = None if highest is None else promised.threshold(highest)
        return Decision(promised.alpha, value, pixel, promised.facts())


@dataclass(frozen=True, config=STRICT)
class Header:
    """What a saved detector says of itself."""

    parts: dict[str, dict[str, Any]]
    """geometry, backbone and method: ``_target_`` and settings, as a config has them."""
    labels: dict[str, str]
    """The names of the presets: geometry, backbone, method, dataset."""
    identity: dict[str, dict[str, Any]]
    """Of the detector, see ``adbench.detectors.detector.Detector.identity``."""
    weights: dict[str, Any]
    """Where the backbone's weights came from: setting, name, seed."""
    has_weights: bool
    """Whether the file holds the weights themselves."""
    shapes: tuple[tuple[int, int, int], ...]
    """(c, h, w) of each layer that the method reads, finest first."""
    size: tuple[Side, Side]
    """(H, W) of the network's input and of the anomaly maps."""
    training: Training
    normal: Normal | None
    """None where no threshold was wanted."""
    notes: tuple[str, ...]
    """What the method had to be adapted in."""
    environment: dict[str, Any]
    """Machine and versions of the fit."""
    date: str
    category: str = ""
    """The dataset's name of what was learned."""
    format: int = FORMAT

    def decision(self, alpha: float | None = None) -> Decision | None:
        """The thresholds, see ``Normal.decision``; None where none was wanted.

        Raises:
            AdbenchError: A rate is asked for and cannot be promised.
        """
        if self.normal is not None:
            return self.normal.decision(alpha)
        if alpha is not None:
            raise AdbenchError(
                f"alpha={alpha:g}: this detector was fitted with threshold=none, so it has no "
                "scores of normal images from which a threshold could follow; fit it again"
            )
        return None

    def to_json(self) -> str:
        """Its text, which ``read`` reads."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)


def read(text: str, path: Path) -> Header:
    """The header of a saved detector.

    Args:
        text: From ``Header.to_json``, perhaps of another version.
        path: The file, for errors.

    Raises:
        AdbenchError: Another format version, or no such header.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AdbenchError(f"{path}: its header is damaged ({error}); save it again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise AdbenchError(
            f"{path}: has format {version!r}, and this version of adbench reads {FORMAT}; "
            "install the version that wrote it, or fit the detector again"
        )
    header = check(Header, content, str(path))
    for name in DETECTOR:
        if not {name} <= header.parts.keys() & header.labels.keys():
            raise AdbenchError(f"{path}: its header names no {name}; fit the detector again")
    return header
