"""The heat maps that belong to a record: their names are those that its own scores give."""

from collections.abc import Sequence
from pathlib import Path

from adbench.results import raw
from adbench.results.heatmaps import in_order, is_ours, picture_name
from adbench.results.judged import Judged
from adbench.results.raw import ImageScore, RecordError
from adbench.results.record import Record
from adbench.results.records import load_scores


class Pictures:
    """The pictures in a folder of results.

    Args:
        results: The folder.
    """

    def __init__(self, results: Path) -> None:
        self._records = results / "records"
        self._folders: dict[str, list[Path]] = {}
        for folder in sorted((results / "heatmaps").glob("*/*")):
            self._folders.setdefault(folder.name, []).append(folder)

    def of(self, record: Record) -> list[Path]:
        """The pictures of a record, in their order.

        There are none where the raw scores cannot be trusted, or where the pictures of two settings
        have the same names, since nobody can tell then whose they are.
        """
        presets = [record.labels.get(part, "") for part in ("dataset", "method", "backbone")]
        beginning = "-".join(presets)
        near = self._folders.get(record.category, [])
        near = [folder for folder in near if folder.parent.name.rpartition("-")[0] == beginning]
        try:
            scores = load_scores(self._records, record) if near else []
        except RecordError:
            return []
        names = _names(scores, record.threshold.get("value")) | _names(scores, None)
        found = []
        for folder in near:
            files = sorted(path for path in folder.glob("*.png") if is_ours(path))
            if files and names.issuperset(path.name for path in files):
                found.append(files)
        return found[0] if len(found) == 1 else []


def _names(scores: Sequence[ImageScore], threshold: float | None) -> set[str]:
    """The names of the pictures of all images."""
    anomalous, values = raw.arrays(scores)
    judged = Judged(values, anomalous, threshold)
    return {
        picture_name(number, judged.verdict(place).word, scores[place].name)
        for number, place in enumerate(in_order(judged), 1)
    }
