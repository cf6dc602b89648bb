"""Pictures of a run inside the page: misses and false alarms first, as many as its limit allows."""

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from adbench.errors import AdbenchError
from adbench.reports.page.decisions import Decided, decided
from adbench.reports.page.model import GalleryGroup, Picture
from adbench.reports.page.scores import Scores
from adbench.reports.page.subjects import Subject, dataset_of
from adbench.results.heatmaps import FIRST, in_order, is_ours, picture_name
from adbench.results.judged import Judged
from adbench.results.record import Record
from adbench.system.parallel import threads

PICTURES, SIZE, LIMIT = 12, 720, 7.0
"""Pictures for each record, pixels of the longer side, and megabytes of all pictures together."""
QUALITY = 70


@dataclass(frozen=True)
class Wanted:
    """How many pictures the page holds, and how large."""

    pictures: int = PICTURES
    """At most, for each record."""
    size: int = SIZE
    """Pixels of the longer side."""
    limit: float = LIMIT
    """Megabytes of all pictures together."""


@dataclass
class _Open:
    """A record whose pictures are being taken."""

    subject: Subject
    record: Record
    decided: Decided
    files: list[tuple[Path, int]]
    """Pictures in the order of the page, each with the place of its image."""
    taken: list[Picture] = field(default_factory=list)


def gallery(
    settings: Sequence[Subject], results: Path, wanted: Wanted, scores: Scores
) -> tuple[list[GalleryGroup], str]:
    """The pictures of the records, and a sentence on how many there are.

    One picture of each record is taken, then the next of each, until the limit is reached. The
    record with the most wrong decisions comes first.

    Args:
        settings: Of ``subjects``.
        results: The folder of results, with ``heatmaps``.
        wanted: How many.
        scores: Of ``scores_of``; a record without them has no pictures.
    """
    folders = _folders(results / "heatmaps")
    open_ = list(_records(settings, folders, scores))
    room = 1e6 * wanted.limit
    with ThreadPoolExecutor(threads()) as pool:
        for rank in range(wanted.pictures):
            having = [one for one in open_ if rank < len(one.files)]
            made = pool.map(_picture, having, repeat(rank), repeat(wanted.size))
            for one, picture in zip(having, made, strict=True):
                room -= len(picture.src)
                if room >= 0:
                    one.taken.append(picture)
            if room < 0 or not having:
                break
    groups = [_group(one) for one in open_ if one.taken]
    groups.sort(key=lambda group: -group.wrong)
    there = sum(len(one.files) for one in open_)
    if folders and not there:
        return [], (
            "The pictures in heatmaps are of other runs than these records. The command of a "
            "record with existing=redo draws them again."
        )
    return groups, _note(sum(len(one.taken) for one in open_), there, wanted)


def _note(taken: int, there: int, wanted: Wanted) -> str:
    if not there:
        return (
            "There are no pictures: runs write them below the folder of results, in heatmaps, "
            "unless heatmaps=0 is set."
        )
    return (
        f"The page shows {taken} of the {there} pictures that the runs left: at most "
        f"{wanted.pictures} for each record and {wanted.limit:g} MB together, with "
        f"{wanted.size} pixels on the longer side. The words pictures=N, picture_size=PX and "
        "limit=MB of adbench report change this."
    )


def _records(
    settings: Sequence[Subject], folders: dict[tuple[str, str], list[Path]], scores: Scores
) -> Iterator[_Open]:
    for subject in settings:
        for records in subject.found.values():
            for record in records:
                near = folders.get((_beginning(record), record.category), [])
                own = scores.get(record.id)
                if near and own and (found := _of(record, subject, near, decided(record, own))):
                    yield found


def _folders(heatmaps: Path) -> dict[tuple[str, str], list[Path]]:
    """(beginning of the name of a plan, category) -> the folders of pictures, the newest first."""
    found: dict[tuple[str, str], list[Path]] = {}
    every = [path for path in heatmaps.glob("*/*") if path.is_dir()]
    for path in sorted(every, key=lambda p: p.stat().st_mtime, reverse=True):
        key = path.parent.name.rpartition("-")[0], path.name
        found.setdefault(key, []).append(path)
    return found


def _beginning(record: Record) -> str:
    """What the name of a record's plan begins with, see ``adbench.bench.plan.Plan.name``."""
    presets = (record.labels.get(part, "") for part in ("method", "backbone"))
    return "-".join([dataset_of(record), *presets])


def _of(record: Record, subject: Subject, folders: Sequence[Path], own: Decided) -> _Open | None:
    """The pictures in the first folder whose names are those that this record's scores give."""
    names = [score.name for score in own.scores]
    run = Judged(own.judged.scores, own.judged.anomalous, record.threshold.get("value"))
    open_judged = Judged(own.judged.scores, own.judged.anomalous)
    for folder in folders:
        files = [file for file in sorted(folder.glob("*.png")) if is_ours(file)]
        for drawn in (run, open_judged):  # a threshold may have come after the pictures
            known = _names(drawn, names)
            if files and all(file.name in known for file in files):
                places = {known[file.name]: file for file in files}
                order = [place for place in in_order(own.judged) if place in places]
                return _Open(subject, record, own, [(places[place], place) for place in order])
    return None


def _names(judged: Judged, names: Sequence[str]) -> dict[str, int]:
    """The name of each picture that the scores give -> the place of its image."""
    return {
        picture_name(number, judged.verdict(place).word, names[place]): place
        for number, place in enumerate(in_order(judged), 1)
    }


def _picture(one: _Open, rank: int, size: int) -> Picture:
    file, place = one.files[rank]
    score, judged = one.decided.scores[place], one.decided.judged
    verdict = judged.verdict(place)
    src, width, height = _encoded(file, size)
    return Picture(
        src=src,
        width=width,
        height=height,
        alt=(
            f"{score.name}: the image, its ground truth and its anomaly map; {verdict.title}, "
            f"{judged.in_words(place)}"
        ),
        name=score.name,
        defect=score.defect,
        verdict=verdict.title,
        wrong=verdict.wrong,
        score=f"{score.score:.4g}",
        threshold="" if judged.threshold is None else f"{judged.threshold:.4g}",
    )


def _encoded(file: Path, size: int) -> tuple[str, int, int]:
    """A picture as a data URI, with its width and height."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or error
        raise AdbenchError(
            f"cannot read the picture {file}: {why}; delete it, or set pictures=0"
        ) from None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=QUALITY)
    text = base64.b64encode(content.getvalue()).decode()
    return f"data:image/webp;base64,{text}", image.width, image.height


def _group(one: _Open) -> GalleryGroup:
    judged = one.decided.judged
    value = "none" if judged.threshold is None else f"{judged.threshold:.4g}"
    verdicts = [judged.verdict(place) for place in range(len(one.decided.scores))]
    counts = ", ".join(
        f"{verdict.title} {verdicts.count(verdict)}" for verdict in FIRST if verdict in verdicts
    )
    return GalleryGroup(
        dataset=one.subject.dataset,
        category=one.record.category,
        setting=one.subject.name,
        anchor=one.record.id,
        threshold_words=(
            f"Threshold {value}: {one.decided.words}. Test images by decision: {counts}."
        ),
        wrong=sum(verdict.wrong for verdict in verdicts),
        pictures=one.taken,
    )
