"""Figures of settings side by side: speed against accuracy, ROC and precision-recall curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from adbench.evaluation.curves import pr_curve, roc_curve
from adbench.reports.figure import PLAIN, Figures, Look, beside, note, panels, save, title
from adbench.reports.labels import Marked, place, short_names
from adbench.reports.marks import READING, averaged, reach, scale, title_of
from adbench.reports.repeats import Found, random_weights
from adbench.results import raw
from adbench.results.records import Record, load_scores
from adbench.results.style import Style, drawn_in

RANDOM = "the weights are random"


@dataclass(frozen=True)
class Side:
    """A setting and its records."""

    name: str
    """Short, and unlike those of the other sides."""
    found: Found


def named(texts: Sequence[str], found: Sequence[Found]) -> tuple[list[Side], list[str]]:
    """The sides, and the words that all of them share.

    Args:
        texts: The words of each setting, or the id of a record.
        found: The records of each.
    """
    words = [_words(text, records) for text, records in zip(texts, found, strict=True)]
    names, shared = short_names(words)
    return [Side(name, own) for name, own in zip(names, found, strict=True)], shared


def speed_accuracy(
    sides: Sequence[Side],
    folder: Path,
    metric: str = "image_auroc",
    look: Look = PLAIN,
    shared: Sequence[str] = (),
) -> Figures:
    """Time per image against a metric, on the categories that all settings have.

    A setting without a time or without the metric is left out, and named.

    Args:
        sides: The settings.
        folder: Where the figure goes.
        metric: A name of ``adbench list metrics``.
        look: Paper and formats.
        shared: Words that all settings share, for the title.
    """
    having = {side.name: [c for c in side.found if _has(side, c, metric)] for side in sides}
    shown = [side for side in sides if having[side.name]]
    figure_of = f"Speed against {metric}"
    left = [
        f"{figure_of} leaves out {side.name}: {_why(side, metric)}."
        for side in sides
        if side not in shown
    ]
    if not shown:
        return Figures([], [*left, f"{figure_of} is not drawn: no setting has both."])
    common = [c for c in having[shown[0].name] if all(c in having[s.name] for s in shown)]
    if not common:
        why = "; ".join(f"{side.name} has {', '.join(having[side.name])}" for side in shown)
        return Figures([], [*left, f"{figure_of} is not drawn: no common category ({why})."])
    others = sorted({c for side in sides for c in side.found} - set(common))
    if others:
        left.append(f"{figure_of} leaves out {', '.join(others)}: not there for every setting.")
    with drawn_in(look.style):
        figure, ((axes,),) = panels(1, 1, width=7.2, height=4.6)
        points = []
        for number, side in enumerate(shown):
            x, cell = 1000 * _seconds(side, common), averaged(side.name, metric, side.found, common)
            y = cell.measured.mean if cell.measured else float("nan")
            own = look.style.look(number) | {"linestyle": "none"}
            ends = [[end] for end in reach(cell)]
            axes.errorbar(x, y, yerr=ends, capsize=2.5, elinewidth=1.0, label=side.name, **own)
            down, up = reach(cell)
            points.append(Marked(x, y, (y - down, y + up), side.name, own["color"]))
        scale(axes, "x", [point.x for point in points], ticks=False)
        axes.margins(x=0.18, y=0.12)
        axes.set(xlabel="milliseconds per image, median, one at a time", ylabel=title_of(metric))
        title(figure, [f"Mean of {', '.join(common)}", *_shared(shared)])
        note(figure, [READING, *left])
        if not place(figure, axes, points):
            _legend(figure, axes, points)
        return Figures(
            save(figure, look.path(folder, f"speed-{metric}"), None, look.suffixes), left
        )


def roc_pr(
    sides: Sequence[Side],
    records: Path,
    folder: Path,
    look: Look = PLAIN,
    shared: Sequence[str] = (),
) -> Figures:
    """ROC and precision-recall curves of the image scores: a figure per category.

    Of several seeds the first is drawn. Settings with one class of images only or with random
    weights are left out, and named.

    Args:
        sides: The settings.
        records: The folder of records, where the raw scores lie.
        folder: Where the figures go.
        look: Paper and formats.
        shared: Words that all settings share, for the title.
    """
    files, every = [], []
    for category in sorted({c for side in sides for c in side.found}):
        left, shown = [], []
        for number, side in enumerate(sides):
            repeats = side.found.get(category, [])
            why = _no_curve(repeats)
            if why:
                left.append(f"The curves of {category} leave out {side.name}: {why}.")
            else:
                shown.append((number, side.name, repeats[0]))
        every += left
        if shown:
            with drawn_in(look.style):
                figure = _curves(category, shown, records, look.style)
                title(figure, [f"Image scores of {category}", *_shared(shared)])
                note(figure, [_curve_reading(sides), *left])
                path = look.path(folder, f"roc-{category}")
                files += save(figure, path, None, look.suffixes)
    return Figures(files, every)


def _curves(
    category: str, shown: Sequence[tuple[int, str, Record]], folder: Path, style: Style
) -> Any:
    """Two panels; the legend beside them has the best first."""
    figure, ((left, right),) = panels(1, 2, width=4.6, height=3.9)
    left.plot([0, 1], [0, 1], color=style.faint, linewidth=1)
    ranked = sorted(shown, key=lambda side: -(side[2].metrics["image_auroc"] or 0))
    for number, name, record in ranked:
        own = style.look(number)
        drawn = {"color": own["color"], "linestyle": style.dashes(number)}
        scores = raw.arrays(load_scores(folder, record))
        false, true = roc_curve(*scores)
        recall, precision = pr_curve(*scores)
        left.plot(false, true, label=f"{name}: {_auroc(record)}", **drawn)
        right.step(recall[::-1], precision[::-1], where="post", **drawn)
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall")
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    handles, labels = left.get_legend_handles_labels()
    beside(figure, handles, labels, "AUROC, % (95% interval)")
    return figure


def _legend(figure: Any, axes: Any, points: Sequence[Marked]) -> None:
    """The names beside the figure, the best first, where they find no place at the marks."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [p.text for p in sorted(points, key=lambda p: -p.y)]
    beside(figure, [handles[name] for name in names], names)


def _auroc(record: Record) -> str:
    interval = record.intervals.get("image_auroc")
    ends = "" if interval is None else " ({:.1f} to {:.1f})".format(*(100 * e for e in interval))
    return f"{100 * (record.metrics['image_auroc'] or 0):.1f}{ends}"


def _no_curve(repeats: Sequence[Record]) -> str:
    if not repeats:
        return "it has no record"
    if random_weights(repeats[0]):
        return RANDOM
    if repeats[0].metrics.get("image_auroc") is None:
        return repeats[0].reasons.get("image_auroc", "it has no image AUROC")
    return ""


def _curve_reading(sides: Sequence[Side]) -> str:
    seeds = any(len(repeats) > 1 for side in sides for repeats in side.found.values())
    return "Each point is a threshold." + (" Of several seeds the first is drawn." if seeds else "")


def _has(side: Side, category: str, metric: str) -> bool:
    repeats = side.found[category]
    measured = averaged(side.name, metric, side.found, [category]).measured
    return measured is not None and any(r.time.get("total") for r in repeats)


def _why(side: Side, metric: str) -> str:
    """Why a setting has no point."""
    repeats = [record for records in side.found.values() for record in records]
    if all(map(random_weights, repeats)):
        return RANDOM
    if all(r.metrics.get(metric) is None for r in repeats):
        return repeats[0].reasons.get(metric, f"it has no {metric}")
    why = next((r.reasons["time"] for r in repeats if "time" in r.reasons), "")
    return f"it has no time per image ({why or 'run it with timing.enabled=true'})"


def _seconds(side: Side, categories: Sequence[str]) -> float:
    each = [
        [r.time["total"]["p50"] for r in side.found[c] if r.time.get("total")] for c in categories
    ]
    return fmean(fmean(values) for values in each)


def _shared(words: Sequence[str]) -> list[str]:
    return [f"all with {' '.join(words)}"] if words else []


def _words(text: str, found: Found) -> str:
    """The words of a setting; for the id of a record, its presets and the beginning of the id."""
    if "=" in text:
        return text
    labels = next(iter(found.values()))[0].labels
    return f"method={labels.get('method')} backbone={labels.get('backbone')} id={text[:6]}"
