"""The rows of predictions, as CSV or as JSON lines, and what is told of all of them."""

import csv
import json
import time
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from adbench.evaluation.drift import drift, mostly_anomalous
from adbench.results.spreadsheet import safe
from adbench.system.printable import printable

if TYPE_CHECKING:
    from adbench.bench.predict import Prediction, Predictor

COLUMNS = ("path", "score", "threshold", "decision", "p_value", "seconds", "error")


class Rows:
    """Writes one row per image at once, so that a reader need not wait for the next image.

    Args:
        stream: Where to write.
        as_json: One JSON object a line in place of CSV with a header.
    """

    def __init__(self, stream: TextIO, as_json: bool) -> None:
        self._stream, self._json = stream, as_json
        self._csv = csv.writer(stream, lineterminator="\n")
        if not as_json:
            self._csv.writerow(COLUMNS)
            stream.flush()

    def write(self, prediction: "Prediction") -> None:
        """Write the row of an image."""
        row = _row(prediction)
        if self._json:
            self._stream.write(json.dumps(row, allow_nan=False) + "\n")
        else:
            cells = [_cell(value) for value in row.values()]
            # A program reads the names as they are; a terminal would obey what is in them.
            self._csv.writerow(map(printable, cells) if self._stream.isatty() else cells)
        self._stream.flush()


class Tally:
    """Counts what was predicted, and keeps the scores to compare them with the normal ones."""

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor
        self._start = time.perf_counter()
        self._scores, self._seconds = array("d"), 0.0
        self.errors = self.anomalous = self.images = 0

    def add(self, prediction: "Prediction") -> None:
        """Count an image."""
        self.images += 1
        self.errors += prediction.error is not None
        self.anomalous += bool(prediction.anomalous)
        if prediction.score is not None:
            self._scores.append(prediction.score)
            self._seconds += prediction.seconds or 0.0

    def told(self) -> Iterator[str]:
        """Sentences on all images: counts, time, and whether scores have drifted."""
        scores, elapsed = np.array(self._scores), time.perf_counter() - self._start
        decision = self._predictor.decision
        counts = [f"{self.errors} with an error"] if self.errors else []
        if decision is not None:
            normal = len(scores) - self.anomalous
            counts = [f"{self.anomalous} anomalous", f"{normal} normal", *counts]
        said = f": {', '.join(counts)}" if counts else ""
        plural = "" if self.images == 1 else "s"
        text = f"{self.images} image{plural}{said}; {elapsed:.1f} s"
        if len(scores) and self._seconds:
            alone = len(scores) / self._seconds
            text += f", {self.images / elapsed:.3g} images a second ({alone:.3g} from pixels on)"
        yield text
        normal_scores = self._predictor.header.normal
        if decision is None or normal_scores is None:
            return
        if most := mostly_anomalous(self.anomalous, len(scores)):
            yield most
        found = drift(np.array(normal_scores.scores), scores, decision.value)
        if found is not None and found.drifted:
            yield found.in_words()


def _row(prediction: "Prediction") -> dict[str, Any]:
    decision = {True: "anomalous", False: "normal", None: None}[prediction.anomalous]
    return {
        "path": str(prediction.path),
        "score": prediction.score,
        "threshold": prediction.threshold,
        "decision": decision,
        "p_value": prediction.p_value,
        "seconds": prediction.seconds,
        "error": prediction.error,
    }


def _cell(value: Any) -> str:
    """Numbers with all their digits, and no text that a spreadsheet would run."""
    if value is None:
        return ""
    return safe(value) if isinstance(value, str) else repr(value)
