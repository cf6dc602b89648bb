"""Figures from records: tables, speed against accuracy, ROC and precision-recall curves."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from adbench.errors import AdbenchError
from adbench.evaluation.curves import pr_curve, roc_curve
from adbench.reports.cells import MEAN, Cell
from adbench.reports.figure import files_of, is_drawn, key_of, legend, panels, save, title
from adbench.reports.jl import FEWEST, fit_jl_curve, jl_curve
from adbench.reports.measures import MEASURES
from adbench.reports.repeats import random_weights, setting_key
from adbench.reports.tables import Table
from adbench.results import raw
from adbench.results.records import Record, load_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = 6
"""Points that an axis can name each."""


def table_figure(built: Table, folder: Path) -> list[Path]:
    """The figure of a table: curves where its rows lie on an axis, else bars.

    Where nothing is measured there is none. One that is there already is not drawn again.
    """
    drawn = [c for c in built.cells.values() if c.measured and not MEASURES[c.metric].versus]
    if not drawn:
        return []
    path = folder / built.name
    key = key_of([asdict(built.spec), [asdict(c) for c in built.cells.values()], built.marks])
    if is_drawn(path, key):
        return files_of(path)
    on_axis = any(row.x is not None for row in built.spec.rows)
    figure = _curves(built) if on_axis else _bars(built)
    marks = [f"measured with {mark}" for mark in dict.fromkeys(built.marks.values())]
    title(figure, [built.spec.title, *marks])
    legend(figure)
    return save(figure, path, key)


def speed_accuracy(
    records: Sequence[Record], folder: Path, metric: str = "image_auroc"
) -> list[Path]:
    """Time per image against a metric on the categories that all settings have.

    A point is a setting; a colour is a preset.

    Raises:
        AdbenchError: No record has both, or the settings have no category in common.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    settings: dict[str, list[Record]] = {}
    for record in records:
        if (
            record.time.get("total")
            and record.metrics.get(metric) is not None
            and not random_weights(record)
        ):
            settings.setdefault(setting_key(record), []).append(record)
    if not settings:
        raise AdbenchError(
            f"no record of trained weights has both a time per image and {metric}; "
            "run with timing.enabled=true"
        )
    common = set.intersection(*({r.category for r in found} for found in settings.values()))
    if not common:
        raise AdbenchError(
            "the settings have no category in common; speed against accuracy needs the same images"
        )
    figure, (axes,) = panels(1)
    colours: dict[str, str] = {}
    for found in settings.values():
        shown = [r for r in found if r.category in common]
        seconds = fmean(r.time["total"]["p50"] for r in shown)
        accuracy = 100 * fmean(r.metrics[metric] or 0.0 for r in shown)
        label = f"{shown[0].labels['method']}, {shown[0].labels['backbone']}"
        named = label if label not in colours else None
        axes.plot(
            1000 * seconds,
            accuracy,
            "o",
            color=colours.setdefault(label, f"C{len(colours)}"),
            label=named,
        )
    axes.set(
        xscale="log",
        xlabel="ms per image",
        ylabel=MEASURES[metric].title,
        title=", ".join(sorted(common)),
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    legend(figure)
    return save(figure, folder / f"speed-{metric}")


def roc_pr(records: Sequence[Record], results: Path, folder: Path) -> list[Path]:
    """ROC and precision-recall curves of the image scores: a figure per category.

    Args:
        records: What to draw; those with one class of images only or with random weights are left
            out.
        results: The folder of records, where the raw scores lie.
        folder: Where the figures go.
    """
    paths = []
    for category in sorted({r.category for r in records}):
        figure, (left, right) = panels(2)
        shown = [r for r in records if r.category == category and not random_weights(r)]
        for record in (r for r in shown if r.metrics.get("image_auroc") is not None):
            scores = raw.arrays(load_scores(results, record))
            false, true = roc_curve(*scores)
            recall, precision = pr_curve(*scores)
            auroc = f"{100 * (record.metrics['image_auroc'] or 0):.1f}"
            left.plot(
                false,
                true,
                label=f"{record.labels['method']}, {record.labels['backbone']} ({auroc})",
            )
            right.step(recall[::-1], precision[::-1], where="post")
        left.set(
            xlabel="false positive rate",
            ylabel="true positive rate",
            title=f"{category}: ROC (AUROC, %)",
        )
        right.set(xlabel="recall", ylabel="precision", title="precision and recall")
        if left.lines:
            legend(figure)
            paths += save(figure, folder / f"roc-{category}")
    return paths


def _curves(built: Table) -> "Figure":
    """A panel per metric: measured means with intervals over the axis, printed ones beside them."""
    from matplotlib.ticker import NullLocator

    spec = built.spec
    figure, every = panels(len(spec.metrics))
    for axes, metric in zip(every, spec.metrics, strict=True):
        means = [(row.x, built.cells[row.label, metric, MEAN]) for row in spec.rows]
        points = [(x, c.measured.mean, _reach(c)) for x, c in means if x is not None and c.measured]
        if points:
            x, y, reach = zip(*points, strict=True)
            axes.errorbar(x, y, np.array(reach).T, marker="o", capsize=3, label="measured")
            if spec.curve == "jl" and len(points) >= FEWEST:
                p, q, k = fit_jl_curve(x, [value / 100 for value in y])
                dense = np.linspace(min(x), max(x), 200)
                label = f"predicted: p {p:.3g}, q {q:.3g}, k {k:.3g}"
                axes.plot(dense, 100 * jl_curve(dense, p, q, k), "--", label=label)
        for x_, cell in means:
            if x_ is None and cell.measured:
                axes.axhline(cell.measured.mean, linestyle=":", label=cell.row)
        printed = [
            (x_, c.published) for x_, c in means if x_ is not None and c.published is not None
        ]
        if printed:
            axes.plot(
                *zip(*printed, strict=True), "s", fillstyle="none", color="black", label="published"
            )
        if points and max(x) > 50 * min(x):
            axes.set_xscale("log")
        places = sorted(x_ for x_, _ in means if x_ is not None)
        if len(places) <= TICKS:
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.xaxis.set_minor_locator(NullLocator())
        counts = sorted({c.categories for _, c in means if c.measured})
        over = f", mean of {', '.join(map(str, counts))} categories" if counts else ""
        axes.set(xlabel=spec.varies, ylabel=MEASURES[metric].title + over)
    return figure


def _bars(built: Table) -> "Figure":
    """A panel per metric: bars for the rows in each category with a record.

    The printed number is a line across its bar.
    """
    spec = built.spec
    measured = {
        c.metric for c in built.cells.values() if c.measured and not MEASURES[c.metric].versus
    }
    metrics = [m for m in spec.metrics if m in measured]
    figure, every = panels(len(metrics))
    for axes, metric in zip(every, metrics, strict=True):
        rows = [
            row.label
            for row in spec.rows
            if (c := built.cells.get((row.label, metric, MEAN))) and c.measured
        ]
        shown = [
            c for c in spec.categories if any(built.cells[r, metric, c].measured for r in rows)
        ] + [MEAN]
        width = 0.8 / len(rows)
        lows: list[float] = []
        printed: list[tuple[float, float]] = []
        for i, row in enumerate(rows):
            cells = [
                (place + width * i, built.cells[row, metric, name])
                for place, name in enumerate(shown)
            ]
            bars = [(x, c.measured.mean, _reach(c)) for x, c in cells if c.measured]
            x, y, reach = zip(*bars, strict=True)
            axes.bar(x, y, width, label=row)
            axes.errorbar(x, y, np.array(reach).T, fmt="none", capsize=2, color="gray")
            lows += [height - down for height, (down, _) in zip(y, reach, strict=True)]
            printed += [
                (x, c.published) for x, c in cells if c.published is not None and c.measured
            ]
        for number, (place, value) in enumerate(printed):
            ends = place - width / 2, place + width / 2
            axes.hlines(
                value, *ends, color="black", linestyle="--", label=None if number else "published"
            )
        axes.set_xticks(
            [place + width * (len(rows) - 1) / 2 for place in range(len(shown))], shown, rotation=30
        )
        if MEASURES[metric].accuracy:
            axes.set_ylim(max(0.0, min([*lows, *(value for _, value in printed)]) - 2), 101)
        axes.set_ylabel(MEASURES[metric].title)
    return figure


def _reach(cell: Cell) -> tuple[float, float]:
    """From the measured value down and up to the ends of its interval."""
    if cell.interval is None or cell.measured is None:
        return 0.0, 0.0
    return max(0.0, cell.measured.mean - cell.interval.low), max(
        0.0, cell.interval.high - cell.measured.mean
    )
