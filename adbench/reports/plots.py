"""Figures from records: sweep curves, bars beside the printed numbers, speed against accuracy, ROC and PR curves.

Each is written as PNG and SVG, with the same bytes for the same records.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from adbench.core import AdbenchError
from adbench.files import write_whole
from adbench.records import Record, load_scores
from adbench.reports.matching import random_weights, setting_key
from adbench.reports.tables import MEAN, MEASURES, Cell, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 4
"""Points that a curve of three constants is fitted to."""
TICKS = 6
"""Points that an axis can name each."""


def jl_curve(x: np.ndarray, p: float, q: float, k: float) -> np.ndarray:
    """Accuracy that the PaDiM-JL report predicts for x dimensions, x in (q, q / k^2) (its equation 15, figure 2)."""
    return np.asarray(2 * p * k / (np.sqrt(q / x) + k) + 1 - p)


def fit_jl_curve(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """The constants p, q, k of ``jl_curve`` nearest to accuracies y (fractions) in the sense of least squares.

    Raises:
        AdbenchError: Fewer than 4 points.
    """
    from scipy.optimize import least_squares

    if len(x) < FEWEST:
        raise AdbenchError(f"the predicted curve has 3 constants and needs at least {FEWEST} points, got {len(x)}")
    dims, accuracies = np.asarray(x, float), np.asarray(y, float)
    first = float(dims.min())

    def errors(constants: np.ndarray) -> np.ndarray:
        return np.asarray(jl_curve(dims, *constants) - accuracies)

    fits = [
        least_squares(errors, (0.5, first * share, k), bounds=((1e-9,) * 3, (1, first, 1)))
        for share in (0.01, 0.1, 0.9)  # the valley is long and flat: the best of a few starts
        for k in (0.001, 0.01, 0.1)
    ]
    p, q, k = min(fits, key=lambda fit: float(fit.cost)).x
    return float(p), float(q), float(k)


def table_figure(built: Table, folder: Path) -> list[Path]:
    """The figure of a table: curves where its rows lie on an axis, else bars; none where nothing is measured."""
    if not built.present:
        return []
    figure = _curves(built) if any(row.x is not None for row in built.spec.rows) else _bars(built)
    return save(figure, folder / built.name)


def speed_accuracy(records: Sequence[Record], folder: Path, metric: str = "image_auroc") -> list[Path]:
    """Time per image against a metric on the categories that all settings have; a colour per preset.

    Raises:
        AdbenchError: No record has both, or the settings have no category in common.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    settings: dict[str, list[Record]] = {}
    for record in records:
        if record.time.get("total") and record.metrics.get(metric) is not None and not random_weights(record):
            settings.setdefault(setting_key(record), []).append(record)
    if not settings:
        raise AdbenchError(
            f"no record of trained weights has both a time per image and {metric}; run with timing.enabled=true"
        )
    common = set.intersection(*({r.category for r in found} for found in settings.values()))
    if not common:
        raise AdbenchError("the settings have no category in common; speed against accuracy needs the same images")
    figure, (axes,) = _figure(1)
    colours: dict[str, str] = {}
    for found in settings.values():
        shown = [r for r in found if r.category in common]
        seconds = fmean(r.time["total"]["p50"] for r in shown)
        accuracy = 100 * fmean(r.metrics[metric] or 0.0 for r in shown)
        label = f"{shown[0].labels['method']}, {shown[0].labels['backbone']}"
        named = label if label not in colours else None
        axes.plot(1000 * seconds, accuracy, "o", color=colours.setdefault(label, f"C{len(colours)}"), label=named)
    axes.set(xscale="log", xlabel="ms per image", ylabel=MEASURES[metric].title, title=", ".join(sorted(common)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    _legend(figure)
    return save(figure, folder / f"speed-{metric}")


def roc_pr(records: Sequence[Record], results: Path, folder: Path) -> list[Path]:
    """ROC and precision-recall curves of the image scores, a figure per category, a line per record.

    Args:
        records: What to draw; those with one class of images only or with random weights are left out.
        results: The folder of records, where the raw scores lie.
        folder: Where the figures go.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    paths = []
    for category in sorted({r.category for r in records}):
        figure, (left, right) = _figure(2)
        shown = [r for r in records if r.category == category and not random_weights(r)]
        for record in (r for r in shown if r.metrics.get("image_auroc") is not None):
            scores = load_scores(results, record)
            truth, values = [s.anomalous for s in scores], [s.score for s in scores]
            false, true, _ = roc_curve(truth, values, drop_intermediate=False)
            precision, recall, _ = precision_recall_curve(truth, values)
            auroc = f"{100 * (record.metrics['image_auroc'] or 0):.1f}"
            left.plot(false, true, label=f"{record.labels['method']}, {record.labels['backbone']} ({auroc})")
            right.step(recall, precision, where="post")
        left.set(xlabel="false positive rate", ylabel="true positive rate", title=f"{category}: ROC (AUROC, %)")
        right.set(xlabel="recall", ylabel="precision", title="precision and recall")
        if left.lines:
            _legend(figure)
            paths += save(figure, folder / f"roc-{category}")
    return paths


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write ``path``.png and ``path``.svg without dates or random names."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "adbench"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            content = io.BytesIO()
            figure.savefig(content, format=suffix[1:], dpi=150, metadata=metadata)
            write_whole(path.with_name(path.name + suffix), content.getvalue())
    return [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]


def _figure(panels: int) -> tuple["Figure", list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * panels, 4), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _legend(figure: "Figure") -> None:
    """One legend below all panels, where it hides nothing; the panels share their labels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=min(3, len(labels)))


def _curves(built: Table) -> "Figure":
    """A panel per metric: measured means with intervals over the axis, printed ones beside them."""
    from matplotlib.ticker import NullLocator

    spec = built.spec
    figure, panels = _figure(len(spec.metrics))
    for axes, metric in zip(panels, spec.metrics, strict=True):
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
        printed = [(x_, c.published) for x_, c in means if x_ is not None and c.published is not None]
        if printed:
            axes.plot(*zip(*printed, strict=True), "s", fillstyle="none", color="black", label="published")
        if points and max(x) > 50 * min(x):
            axes.set_xscale("log")
        places = sorted(x_ for x_, _ in means if x_ is not None)
        if len(places) <= TICKS:
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.xaxis.set_minor_locator(NullLocator())
        counts = sorted({c.categories for _, c in means if c.measured})
        over = f", mean of {', '.join(map(str, counts))} categories" if counts else ""
        axes.set(xlabel=spec.varies, ylabel=MEASURES[metric].title + over)
    _title(figure, built)
    _legend(figure)
    return figure


def _bars(built: Table) -> "Figure":
    """A panel per metric: in each category with a record a bar per row, and the printed number as a line across it."""
    spec = built.spec
    measured = {c.metric for c in built.cells.values() if c.measured and not MEASURES[c.metric].versus}
    metrics = [m for m in spec.metrics if m in measured]
    figure, panels = _figure(len(metrics))
    for axes, metric in zip(panels, metrics, strict=True):
        rows = [row.label for row in spec.rows if (c := built.cells.get((row.label, metric, MEAN))) and c.measured]
        shown = [c for c in spec.categories if any(built.cells[r, metric, c].measured for r in rows)] + [MEAN]
        width = 0.8 / len(rows)
        lows: list[float] = []
        printed: list[tuple[float, float]] = []
        for i, row in enumerate(rows):
            cells = [(place + width * i, built.cells[row, metric, name]) for place, name in enumerate(shown)]
            bars = [(x, c.measured.mean, _reach(c)) for x, c in cells if c.measured]
            x, y, reach = zip(*bars, strict=True)
            axes.bar(x, y, width, label=row)
            axes.errorbar(x, y, np.array(reach).T, fmt="none", capsize=2, color="gray")
            lows += [height - down for height, (down, _) in zip(y, reach, strict=True)]
            printed += [(x, c.published) for x, c in cells if c.published is not None and c.measured]
        for number, (place, value) in enumerate(printed):
            ends = place - width / 2, place + width / 2
            axes.hlines(value, *ends, color="black", linestyle="--", label=None if number else "published")
        axes.set_xticks([place + width * (len(rows) - 1) / 2 for place in range(len(shown))], shown, rotation=30)
        if MEASURES[metric].accuracy:
            axes.set_ylim(max(0.0, min([*lows, *(value for _, value in printed)]) - 2), 101)
        axes.set_ylabel(MEASURES[metric].title)
    _title(figure, built)
    _legend(figure)
    return figure


def _reach(cell: Cell) -> tuple[float, float]:
    """From the measured value down and up to the ends of its interval."""
    if cell.interval is None or cell.measured is None:
        return 0.0, 0.0
    return max(0.0, cell.measured.mean - cell.interval.low), max(0.0, cell.interval.high - cell.measured.mean)


def _title(figure: "Figure", built: Table) -> None:
    """The table's title and what was measured in place of the published setting, within the figure's width."""
    marks = [f"measured with {mark}" for mark in dict.fromkeys(built.marks.values())]
    wide = int(15 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, wide) for line in [built.spec.title, *marks]), fontsize=9)
