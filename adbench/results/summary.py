"""The table of one run, from records alone."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from adbench.evaluation.metrics import METRICS
from adbench.results import notes, thresholds
from adbench.results.record import Record
from adbench.results.spreadsheet import as_csv, safe
from adbench.results.tabulated import screen_table

NAMES = tuple(metric.name for metric in METRICS)
"""The metrics, which tables show in percent."""

SCREEN = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "total_p50": "ms/image",
    "fit_seconds": "fit s",
    "state_bytes": "state MB",
}
"""The columns for a terminal."""


def _metric_columns() -> dict[str, str]:
    """Every metric, each with the ends of its interval where it has one."""
    columns = {}
    for metric in METRICS:
        columns[metric.name] = metric.about
        if metric.noise is not None:
            columns[f"{metric.name}_low"] = f"lower end of its 95% interval ({metric.noise.method})"
            columns[f"{metric.name}_high"] = "upper end"
    return columns


COLUMNS = {
    "category": "category, or `mean` over those listed",
    "train": "normal training images",
    "test": "test images",
    "anomalous": "anomalous ones among them",
    **_metric_columns(),
    **thresholds.COLUMNS,
    "decode_p50": "seconds to decode one image file, median; not in the total",
    "preprocess_p50": "seconds to resize, crop and stack one image, median",
    "backbone_p50": "seconds in the backbone for one image, median",
    "score_p50": "seconds in the method for one image, median",
    "distance_p50": "the part of them that measures distances",
    "map_p50": "the part of them that makes the anomaly map",
    "rival": "what the method names to be timed beside it, on the same features",
    "rival_distance_p50": "seconds of the rival's distance stage for one image, median",
    "multiply_adds": "multiply-adds per patch of the distance stage, without any pruning",
    "rival_multiply_adds": "the same of the rival",
    "total_p50": "preprocess + backbone + score for one image, median",
    "total_p95": "the same, 95th percentile",
    "batched_p50": "total per image in a batch",
    "extract_seconds": "decode and backbone for all images; empty where any features were kept",
    "fit_seconds": "the fit; empty where it was not made alone",
    "score_seconds": "scoring all test images; empty where this served other settings too",
    "folds_seconds": "fits and scores of all folds; empty where these served other settings too",
    "peak_bytes": "highest resident memory of the process; empty where it was not measured alone",
    "state_bytes": "what the method learned, as a saved detector would hold it",
    "weights": "where the backbone's weights come from; `random`: accuracies mean nothing",
    "record": "id of the record",
}
"""The columns of a run's CSV and what they hold."""

TEXTS = ("category", "threshold_kind", "rival", "weights", "record")
"""The columns that hold no numbers."""
COUNTS = (
    *("train", "test", "anomalous", "multiply_adds", "rival_multiply_adds"),
    *("peak_bytes", "state_bytes"),
)
"""The columns that hold whole numbers."""
EXACT = ("threshold", "threshold_pixel")
"""The columns in the units of a method's scores, which may be of any size."""


def row(record: Record) -> dict[str, Any]:
    """One line of the table."""
    values: dict[str, Any] = {"category": record.category, **record.counts, **record.metrics}
    for name, interval in record.intervals.items():
        values[f"{name}_low"], values[f"{name}_high"] = interval or (None, None)
    values |= thresholds.row(record)
    for stage, seconds in record.time.items():
        values[f"{stage}_p50"], values[f"{stage}_p95"] = seconds["p50"], seconds["p95"]
    values["folds_seconds"] = record.folds.get("seconds")
    values.update({f"{stage}_seconds": seconds for stage, seconds in record.seconds.items()})
    values.update({f"{what}_bytes": size for what, size in record.memory.items()})
    values["multiply_adds"] = record.work.get("multiply_adds_per_patch")
    for name, rival in record.work.get("rivals", {}).items():
        values["rival"] = name
        values["rival_distance_p50"] = rival.get("time", {}).get("distance", {}).get("p50")
        values["rival_multiply_adds"] = rival.get("multiply_adds_per_patch")
    values["weights"] = record.weights.get("setting")
    values["record"] = record.id
    return {name: values.get(name) for name in COLUMNS}


def lines(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One line per category and one of means over them, with the keys of ``COLUMNS``."""
    found = [row(record) for record in records]
    mean: dict[str, Any] = {
        name: _mean([line[name] for line in found]) for name in COLUMNS if has_mean(name)
    }
    return [*found, {**dict.fromkeys(COLUMNS), **mean, "category": "mean"}]


def to_csv(records: Sequence[Record]) -> str:
    """Plain numbers to 6 places, and scores with every digit; an empty cell where there is none.

    Texts that a spreadsheet would take for formulas have an apostrophe before them.
    """
    rows = ([_plain(name, v) for name, v in line.items()] for line in lines(records))
    return as_csv([COLUMNS, *rows])


def to_screen(records: Sequence[Record]) -> str:
    """The main columns, metrics in percent, for a terminal; below them why numbers are missing."""
    found = lines(records)
    of = [*records, *records[:1]]  # the mean is starred like what it is over
    rows = [
        [line["category"], *(notes.starred(record, n, shown(n, line[n])) for n in SCREEN)]
        for record, line in zip(of, found, strict=True)
    ]
    table = screen_table(rows, ["category", *SCREEN.values()], align=["left"])
    return "\n".join([table, *notes.below(records, found[:-1], SCREEN)])


def rivals_to_screen(records: Sequence[Record]) -> str:
    """The distance stage of a method beside that of its rivals; empty where it names none."""
    rows = []
    for record in records:
        own = [record.labels["method"], record.time, record.work.get("multiply_adds_per_patch")]
        others = [
            [name, r.get("time", {}), r.get("multiply_adds_per_patch")]
            for name, r in record.work.get("rivals", {}).items()
        ]
        for name, time, work in [own, *others] if others else []:
            seconds = [
                time.get(stage, {}).get("p50", float("nan")) for stage in ("distance", "total")
            ]
            rows.append(
                [
                    record.category,
                    name,
                    *(f"{1000 * s:.2f}" for s in seconds),
                    f"{work:,}" if work else "-",
                ]
            )
    heads = ["category", "method", "distance ms/image", "whole ms/image", "multiply-adds/patch"]
    return screen_table(rows, heads) if rows else ""


def shown(name: str, value: float | None) -> str:
    """A number of a column as a terminal shows it."""
    if value is None or math.isnan(value):
        return "-"
    if name in NAMES:
        return f"{100 * value:.2f}"
    if name in thresholds.SCREEN:
        return f"{100 * value:.1f}"
    if name == "total_p50":
        return f"{1000 * value:.1f}"
    if name == "state_bytes":
        return f"{value / 1e6:.1f}"
    return f"{value:.2f}"


def exact(score: float) -> str:
    """A score as text, every digit kept."""
    return repr(float(score))


def has_mean(name: str) -> bool:
    """Whether a column holds numbers whose mean over categories means something."""
    single = (*TEXTS, *EXACT, "threshold_alpha")
    return name not in single and not name.endswith(("_low", "_high"))


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _plain(name: str, value: Any) -> str:
    if value is None or name in TEXTS:
        return safe(value or "")
    if name in EXACT:
        return exact(value)
    return f"{value:.15g}" if name in COUNTS else f"{value:.6f}"
