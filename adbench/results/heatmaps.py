"""Heat maps of a category as pictures: what was decided wrongly first, then by score."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adbench.data.geometry import Geometry
from adbench.data.samples import Sample
from adbench.errors import AdbenchError
from adbench.results.judged import (
    CAUGHT,
    DEFECT,
    FALSE_ALARM,
    MISSED,
    NORMAL,
    PASSED,
    Judged,
)
from adbench.results.overlay import scale_of, view_of
from adbench.results.panels import drawn
from adbench.results.sheet import sheet
from adbench.results.style import LIGHT, drawn_in
from adbench.system.files import remove_left, whole_file

Size = Literal["panel", "full"]
"""panel: what the network saw, in panels of one size; full: the whole image in its own pixels."""
FIRST = (MISSED, FALSE_ALARM, CAUGHT, DEFECT, PASSED, NORMAL)
LONGEST = 120  # bytes of the image's name in the name of its picture
_OURS = re.compile(rf"\d{{3,}}_({'|'.join(v.word for v in FIRST)})_.*\.png")


def save_heatmaps(
    folder: Path,
    samples: Sequence[Sample],
    scores: np.ndarray,
    maps: np.ndarray,
    geometry: Geometry,
    count: int,
    threshold: Mapping[str, Any] | None = None,
    size: Size = "panel",
) -> list[Path]:
    """Write one PNG per chosen image, see ``adbench.results.sheet``.

    Its name begins with the image's place among all test images: missed defects (the lowest score
    first), false alarms, defects that were caught and normal images that passed (each the highest
    score first). Without a threshold, all images follow each other from the highest score down.
    Pictures of an earlier run in the same folder are removed.

    Args:
        folder: Of these pictures alone.
        samples: The n test images.
        scores: (n,) their scores.
        maps: (n, H, W) their anomaly maps at the network's input size.
        geometry: Prepares the images as the network saw them.
        count: How many: wrong decisions first, then from the defect types in turn; -1 for all.
        threshold: Of the record; empty or None where there is none.
        size: Of the pictures.

    Returns:
        The files, in the order of their names.

    Raises:
        AdbenchError: The folder cannot be written.
    """
    anomalous = np.array([sample.anomalous for sample in samples])
    decision = threshold or {}
    judged = Judged(scores, anomalous, decision.get("value"), _origin(decision))
    scale = scale_of(maps, anomalous, decision.get("pixel_value"))
    order = in_order(judged)
    chosen = choose(judged, [sample.defect for sample in samples], count)
    written = []
    remove_left(folder)
    with drawn_in(LIGHT):
        for number, place in enumerate(order, 1):
            if place not in chosen:
                continue
            sample = samples[place]
            view = view_of(sample, maps[place], geometry, full=size == "full")
            figure = sheet(view, scale, judged, place, sample.name)
            path = folder / picture_name(number, judged.verdict(place).word, sample.name)
            try:
                with whole_file(path, tidy=False) as file:
                    drawn(figure).save(file, format="PNG")
            except OSError as error:
                why = error.strerror or error
                raise AdbenchError(f"cannot write the picture {path}: {why}") from error
            written.append(path)
    _remove_others(folder, written)
    return written


def in_order(judged: Judged) -> list[int]:
    """Places of all images in the order of their pictures."""

    def key(place: int) -> tuple[int, float]:
        score = float(judged.scores[place])
        verdict = judged.verdict(place)
        group = 0 if judged.threshold is None else FIRST.index(verdict)
        return group, score if verdict == MISSED else -score

    return sorted(range(len(judged.scores)), key=key)


def choose(judged: Judged, defects: Sequence[str], count: int) -> set[int]:
    """Places of ``count`` images: wrong decisions first, then from the defect types in turn.

    Args:
        judged: All scores.
        defects: The defect type of each image.
        count: How many; -1 for all.
    """
    order = in_order(judged)
    wrong = [place for place in order if judged.verdict(place).wrong]
    others = [place for place in order if place not in wrong]
    dealt = [
        place
        for part in (wrong, others)
        for row in zip_longest(*([p for p in part if defects[p] == d] for d in sorted({*defects})))
        for place in row
        if place is not None
    ]
    return set(dealt if count < 0 else dealt[:count])


def picture_name(number: int, verdict: str, image: str) -> str:
    """The name of a picture; the number makes it the only one of its image.

    Args:
        number: Place of the image.
        verdict: A word.
        image: Its name, of which the end is kept where it is long.
    """
    safe = re.sub(r"[^\w.-]+", "_", str(Path(image).with_suffix("")))
    end = safe.encode()[-LONGEST:].decode(errors="ignore")
    return f"{number:03}_{verdict}_{end}.png"


def _origin(decision: Mapping[str, Any]) -> str:
    """Where a threshold comes from, in words."""
    if decision.get("kind") == "folds":
        return f"threshold from folds for a false alarm rate of {decision['alpha']:g}"
    if decision.get("kind") == "file":
        return f"the detector's own threshold for a false alarm rate of {decision['alpha']:g}"
    return "" if decision.get("value") is None else "threshold: the largest training score"


def is_ours(path: Path) -> bool:
    """Whether a file has a name that ``save_heatmaps`` gives."""
    return _OURS.fullmatch(path.name) is not None


def _remove_others(folder: Path, written: Sequence[Path]) -> None:
    for path in folder.glob("*.png") if folder.is_dir() else ():
        if is_ours(path) and path not in written:
            path.unlink(missing_ok=True)
