"""ROC and precision-recall curves of the image scores, per category."""

import itertools
from collections.abc import Sequence
from statistics import fmean

from adbench.evaluation.curves import pr_curve, roc_curve
from adbench.reports.page.model import NOTHING, Chart
from adbench.reports.page.scale import Axis
from adbench.reports.page.scores import Scores
from adbench.reports.page.subjects import Subject, looks_of
from adbench.reports.page.svg import LOOKS, Mark, Panel, Series, drawing
from adbench.reports.repeats import seed
from adbench.results import raw
from adbench.results.notes import random_weights
from adbench.results.record import Record

SHARE = Axis("false positive rate", (0.0, 1.0), ends=(0.0, 1.0))
FOUND = Axis("true positive rate", (0.0, 1.0), ends=(0.0, 1.0))
RECALL = Axis("recall", (0.0, 1.0), ends=(0.0, 1.0))
PRECISION = Axis("precision", (0.0, 1.0), ends=(0.0, 1.0))


def curves(settings: Sequence[Subject], scores: Scores) -> tuple[list[Chart], str]:
    """ROC and precision-recall curves of the image scores, and a sentence on what is not drawn.

    There is a chart for each category. Of each method the setting with the highest image AUROC,
    the mean of its seeds, is drawn, and of its seeds the first. Where all of these are 100 there is
    nothing to see.

    Args:
        settings: Of ``subjects``.
        scores: Of ``scores_of``; a record without them is not drawn.
    """
    found: list[Chart] = []
    perfect = []
    looks = looks_of(settings)
    for dataset in sorted({s.dataset for s in settings}):
        own = [s for s in settings if s.dataset == dataset]
        for category in sorted({c for s in own for c in s.found}):
            best = _best_of_each(own, category, scores)
            if best and all(record.metrics["image_auroc"] == 1 for _, record in best):
                perfect.append(f"{category} ({dataset})")
                continue
            chart = _curves(f"curves-{len(found)}", dataset, category, best, scores, looks)
            found += [chart] if chart else []
    left = f"Every method reaches an image AUROC of 100 on {', '.join(perfect)}." if perfect else ""
    return found, left


def _best_of_each(
    settings: Sequence[Subject], category: str, scores: Scores
) -> list[tuple[Subject, Record]]:
    """The best setting of each method on a category, the highest image AUROC first."""
    best: dict[str, tuple[float, Subject, Record]] = {}
    for subject in settings:
        records = subject.found.get(category, [])
        measured = [(r, v) for r in records if (v := r.metrics.get("image_auroc")) is not None]
        values = [value for _, value in measured]
        drawn = [r for r, _ in measured if r.id in scores and not random_weights(r)]
        if not values or not drawn:
            continue
        if subject.method not in best or fmean(values) > best[subject.method][0]:
            best[subject.method] = fmean(values), subject, drawn[0]
    ranked = sorted(best.values(), key=lambda one: (-one[0], one[1].name))
    return [(subject, record) for _, subject, record in ranked]


def _curves(
    name: str,
    dataset: str,
    category: str,
    best: Sequence[tuple[Subject, Record]],
    scores: Scores,
    looks: dict[str, int],
) -> Chart | None:
    roc = [Series(0, [Mark(0.0, 0.0), Mark(1.0, 1.0)], marked=False, front=True)]  # chance
    pr: list[Series] = []
    rows: list[list[str]] = []
    key: list[tuple[int, str]] = []
    notes: list[str] = []
    for subject, record in best[:LOOKS]:
        look = looks[subject.method]
        own = raw.arrays(scores[record.id])
        false, true = roc_curve(*own)
        recall, precision = pr_curve(*own)
        roc.append(_curve(look, false.tolist(), true.tolist()))
        pr.append(_curve(look, *_steps(recall.tolist(), precision.tolist())))
        key.append((look, f"{_name(subject, record)}: {_percent(record, 'image_auroc')}"))
        rows.append(
            [_name(subject, record), *(_percent(record, m) for m in ("image_auroc", "image_ap"))]
        )
    if not key:
        return None
    if left := [subject.name for subject, _ in best[LOOKS:]]:
        notes.append(f"Left out, with lower AUROC than those drawn: {', '.join(left)}.")
    caption = (
        f"Image scores of {category} ({dataset}): each point of a curve is a threshold. Of each "
        "method the setting with the highest image AUROC is drawn, and of several seeds the first."
    )
    panels = [Panel("ROC", SHARE, FOUND, roc), Panel("precision and recall", RECALL, PRECISION, pr)]
    svg = drawing(name, caption, panels, key)
    head = ["setting", "image AUROC, % (95% interval)", "image AP, %"]
    return Chart(name, f"{category} ({dataset})", caption, svg, (head, rows), notes)


def _name(subject: Subject, record: Record) -> str:
    several = len(subject.found[record.category]) > 1
    return f"{subject.name}, seed {seed(record)}" if several else subject.name


def _curve(look: int, x: Sequence[float], y: Sequence[float]) -> Series:
    return Series(look, [Mark(a, b) for a, b in zip(x, y, strict=True)], marked=False)


def _steps(recall: list[float], precision: list[float]) -> tuple[list[float], list[float]]:
    """Between two thresholds the precision is that of the higher recall, as in the AP."""
    x = [value for pair in itertools.pairwise(recall) for value in pair]
    y = [value for after in precision[1:] for value in (after, after)]
    return x, y


def _percent(record: Record, metric: str) -> str:
    value, interval = record.metrics.get(metric), record.intervals.get(metric)
    if value is None:
        return NOTHING
    low, high = interval or (None, None)
    ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f}{ends}"
