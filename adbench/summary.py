"""The table of one run or of a sweep, from records alone."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from adbench.records import Record

METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
SCREEN = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "total_p50": "ms/image",
    "fit_seconds": "fit s",
    "state_bytes": "state MB",
}
COLUMNS = {
    "category": "category, or `mean` over those listed",
    "train": "normal training images",
    "test": "test images",
    "anomalous": "anomalous ones among them",
    "image_auroc": "area under the ROC curve of the image scores, a fraction like all metrics here",
    "image_auroc_low": "lower end of its 95% interval (DeLong)",
    "image_auroc_high": "upper end",
    "image_ap": "average precision of the image scores",
    "image_f1_max": "largest F1 of the image scores over all thresholds",
    "pixel_auroc": "area under the ROC curve of all test pixels",
    "pixel_auroc_low": "lower end of its 95% interval (bootstrap over images)",
    "pixel_auroc_high": "upper end",
    "pixel_ap": "average precision of all test pixels",
    "pixel_f1_max": "largest F1 of all test pixels",
    "aupro": "per-region overlap, averaged to a false positive rate of 0.3",
    "threshold": "largest image score over the normal training images",
    "threshold_fpr": "false positive rate of that threshold on the test images",
    "threshold_tpr": "true positive rate",
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
    "extract_seconds": "decode and backbone for all images, as it cost when the features were made",
    "fit_seconds": "the fit, as it cost when it was computed; of a bank cut from a larger one, an upper bound",
    "score_seconds": "scoring all test images here; less where neighbours were kept, more where they serve a sweep",
    "peak_bytes": "highest resident memory of the process, with what it keeps for the other jobs of a sweep",
    "state_bytes": "the fitted state",
    "record": "id of the record",
}
"""The columns of a run's CSV and what they hold."""


def row(record: Record) -> dict[str, Any]:
    """One line of the table."""
    values: dict[str, Any] = {"category": record.category, **record.counts, **record.metrics}
    for name, interval in record.intervals.items():
        values[f"{name}_low"], values[f"{name}_high"] = interval or (None, None)
    values["threshold"] = record.threshold.get("value")
    values["threshold_fpr"] = record.threshold.get("false_positive_rate")
    values["threshold_tpr"] = record.threshold.get("true_positive_rate")
    for stage, seconds in record.time.items():
        values[f"{stage}_p50"], values[f"{stage}_p95"] = seconds["p50"], seconds["p95"]
    values.update({f"{stage}_seconds": seconds for stage, seconds in record.seconds.items()})
    values.update({f"{what}_bytes": size for what, size in record.memory.items()})
    values["multiply_adds"] = record.work.get("multiply_adds_per_patch")
    for name, rival in record.work.get("rivals", {}).items():
        values["rival"] = name
        values["rival_distance_p50"] = rival.get("time", {}).get("distance", {}).get("p50")
        values["rival_multiply_adds"] = rival.get("multiply_adds_per_patch")
    values["record"] = record.id
    return {name: values.get(name) for name in COLUMNS}


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per category and a mean row over them, with the columns of ``COLUMNS``."""
    table = pd.DataFrame([row(r) for r in records], columns=list(COLUMNS))
    numbers = [c for c in COLUMNS if c not in ("category", "rival", "record")]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    intervals = [
        c for c in numbers if c.endswith(("_low", "_high")) or c == "threshold"
    ]  # a mean of these means nothing
    mean = table[numbers].mean()
    mean[intervals] = float("nan")
    return pd.concat([table, pd.DataFrame([{"category": "mean", **mean}])], ignore_index=True)


def to_csv(table: pd.DataFrame) -> str:
    """Plain numbers to 6 places; an empty cell where there is none."""
    counts = ["train", "test", "anomalous", "multiply_adds", "rival_multiply_adds", "peak_bytes", "state_bytes"]
    shown = table.copy()
    for name in counts:
        shown[name] = [f"{v:.10g}" if pd.notna(v) else "" for v in shown[name]]
    return str(shown.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def to_screen(records: Sequence[Record]) -> str:
    """The main columns, metrics in percent, for a terminal."""
    table = frame(records)
    rows = [[r["category"], *(_shown(name, r[name]) for name in SCREEN)] for _, r in table.iterrows()]
    return tabulate(
        rows, headers=["category", *SCREEN.values()], stralign="right", colalign=("left",), disable_numparse=True
    )


def rivals_to_screen(records: Sequence[Record]) -> str:
    """The distance stage of a method beside that of the rivals it names; empty where it names none."""
    rows = []
    for record in records:
        own = [record.labels["method"], record.time, record.work.get("multiply_adds_per_patch")]
        others = [
            [name, r.get("time", {}), r.get("multiply_adds_per_patch")]
            for name, r in record.work.get("rivals", {}).items()
        ]
        for name, time, work in [own, *others] if others else []:
            seconds = [time.get(stage, {}).get("p50", float("nan")) for stage in ("distance", "total")]
            rows.append([record.category, name, *(f"{1000 * s:.2f}" for s in seconds), f"{work:,}" if work else "-"])
    heads = ["category", "method", "distance ms/image", "whole ms/image", "multiply-adds/patch"]
    return tabulate(rows, headers=heads, stralign="right", disable_numparse=True) if rows else ""


def _shown(name: str, value: float) -> str:
    if pd.isna(value):
        return "-"
    if name in METRICS:
        return f"{100 * value:.2f}"
    if name == "total_p50":
        return f"{1000 * value:.1f}"
    if name == "state_bytes":
        return f"{value / 1e6:.1f}"
    return f"{value:.2f}"


def sweep_frame(jobs: Sequence[tuple[dict[str, str], Sequence[Record]]]) -> pd.DataFrame:
    """One row per job and category of a sweep: the overrides of the job, then the columns of a run."""
    return pd.DataFrame([{**overrides, **row(record)} for overrides, records in jobs for record in records])


def sweep_to_screen(jobs: Sequence[tuple[dict[str, str], Sequence[Record]]]) -> str:
    """One row per setting: means over its categories, and mean ± standard deviation where it ran with several seeds."""
    long = sweep_frame(jobs)
    varied = [name for name in dict.fromkeys(n for overrides, _ in jobs for n in overrides) if name != "seed"]
    if not varied:
        long["run"], varied = "all", ["run"]
    long[varied] = long[varied].fillna("")
    rows = []
    for setting, group in long.groupby(varied, sort=False):
        seeds = group["seed"] if "seed" in group else pd.Series(0, index=group.index)
        per_seed = group[list(SCREEN)].apply(pd.to_numeric).groupby(seeds).mean()
        # A method that draws nothing has one record whatever the seed: that is one measurement, not several.
        n = min(len(per_seed), group.groupby("category")["record"].nunique().max())
        cells = [_shown(c, per_seed[c].mean()) for c in SCREEN]
        if n > 1:
            deviations = [_shown(c, per_seed[c].std()) for c in SCREEN]
            cells = [f"{m} ± {s}" if c in METRICS else m for c, m, s in zip(SCREEN, cells, deviations, strict=True)]
        rows.append([*setting, group["category"].nunique(), n, *cells])
    headers = [*varied, "categories", "seeds", *SCREEN.values()]
    return tabulate(rows, headers=headers, stralign="right", disable_numparse=True)
