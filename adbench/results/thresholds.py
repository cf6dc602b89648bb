"""The threshold of a run in its table: what it is, what it promises, and what it gives."""

from collections.abc import Sequence
from typing import Any

from adbench.results.record import Record
from adbench.results.tabulated import screen_table
from adbench.system.printable import in_line

COLUMNS = {
    "threshold_kind": "`folds`; `file`: that of a saved detector; or `train`: the largest training "
    "score, which promises nothing for methods that keep or have seen the training patches",
    "threshold": "an image is called anomalous where its score exceeds it",
    "threshold_pixel": "from folds or a file: as seldom does any pixel of a normal image exceed it",
    "threshold_alpha": "from folds or a file: the false alarm rate that was chosen",
    "threshold_promised": "from folds or a file: the false alarm rate on new normal images",
    "threshold_promised_low": "lower end of its 95% interval",
    "threshold_promised_high": "upper end",
    "threshold_fpr": "false positive rate of the threshold on the test images",
    "threshold_fpr_low": "lower end of its 95% interval (Clopper-Pearson)",
    "threshold_fpr_high": "upper end",
    "threshold_tpr": "true positive rate",
    "threshold_tpr_low": "lower end of its 95% interval (Clopper-Pearson)",
    "threshold_tpr_high": "upper end",
}
"""The columns of a run's CSV that concern the threshold."""

SCREEN = {"threshold_fpr": "false alarms %", "threshold_tpr": "found %"}
"""The columns of a sweep's table that concern the threshold."""

PROMISES_NOTHING = (
    "train: the largest score over the training images. A method that keeps or has seen their "
    "patches\nscores them lower than any new image, so for it the threshold promises nothing; "
    "use threshold=folds."
)


def row(record: Record) -> dict[str, Any]:
    """The values of ``COLUMNS``."""
    found = record.threshold
    promised = found.get("promised", {})
    values = {
        "threshold_kind": found.get("kind"),
        "threshold": found.get("value"),
        "threshold_pixel": found.get("pixel_value"),
        "threshold_alpha": found.get("alpha"),
        "threshold_promised": promised.get("mean"),
        "threshold_promised_low": promised.get("low"),
        "threshold_promised_high": promised.get("high"),
    }
    for short, name in (("fpr", "false_positive"), ("tpr", "true_positive")):
        low, high = found.get(f"{name}_interval") or (None, None)
        values[f"threshold_{short}"] = found.get(f"{name}_rate")
        values[f"threshold_{short}_low"], values[f"threshold_{short}_high"] = low, high
    return values


def to_screen(records: Sequence[Record]) -> str:
    """Threshold, promise and rates in percent, for a terminal; empty where there is no threshold.

    Below the table stands what a threshold from training images means, and why one is missing.
    """
    having = [record for record in records if record.threshold]
    if not having:
        return ""
    heads = ["category", "threshold", "", "false alarms promised", "on the test images", "found"]
    table = screen_table(map(line, having), heads, align=("left", "right", "left"))
    return "\n".join([table, *_notes(having)])


def line(record: Record) -> list[str]:
    """Category, threshold, where it is from, what it promises, false alarms and found defects."""
    found = record.threshold
    value, promised = found.get("value"), found.get("promised", {})
    normal = record.counts["test"] - record.counts["anomalous"]
    interval = [promised.get("low"), promised.get("high")]
    return [
        record.category,
        "-" if value is None else f"{value:.6g}",
        _kind(record),
        _percent(promised.get("mean"), interval),
        _percent(found.get("false_positive_rate"), found.get("false_positive_interval"), normal),
        _percent(
            found.get("true_positive_rate"),
            found.get("true_positive_interval"),
            record.counts["anomalous"],
        ),
    ]


def _kind(record: Record) -> str:
    kind = str(record.threshold.get("kind"))
    if kind == "file":
        return f"of the file, alpha {record.threshold['alpha']:g}"
    if kind != "folds":
        return kind
    return f"{record.folds['number']} folds, alpha {record.threshold['alpha']:g}"


def _percent(value: float | None, interval: Sequence[Any] | None, of: int | None = None) -> str:
    """A rate with its interval, and the number of images it is a share of."""
    if value is None:
        return "-"
    words = f"{100 * value:.1f}%"
    if interval and None not in interval:
        low, high = interval
        words += f" ({100 * low:.1f} to {100 * high:.1f})"
    return words if of is None else f"{words} of {of}"


def _notes(records: Sequence[Record]) -> list[str]:
    notes = {}  # in their order, each once
    if any(record.threshold.get("promised") for record in records):
        notes["95% intervals in brackets; promised: on new images like the training images"] = 0
    if any(record.threshold.get("kind") == "train" for record in records):
        notes[PROMISES_NOTHING] = 0
    for record in records:
        if why := record.reasons.get("threshold"):
            notes[f"{in_line(record.category)}: {why}"] = 0
    return list(notes)
