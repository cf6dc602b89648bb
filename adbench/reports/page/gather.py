"""From a folder of results to all that the page shows."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import adbench
from adbench.config.compose import Configs
from adbench.reports.needed import records_of
from adbench.reports.page.about import about
from adbench.reports.page.board import board
from adbench.reports.page.curves import curves
from adbench.reports.page.decisions import BEST, defect_lines
from adbench.reports.page.gallery import Wanted, gallery
from adbench.reports.page.model import Page
from adbench.reports.page.published import claim_lines, published
from adbench.reports.page.record_view import record_views
from adbench.reports.page.repeat import Repeats
from adbench.reports.page.scores import scores_of
from adbench.reports.page.speed import speed
from adbench.reports.page.subjects import subjects
from adbench.reports.page.sweeps import sweeps
from adbench.reports.page.thresholds import threshold_lines

TITLE = "Industrial image anomaly detection: what was measured"


def gather(results: Path, wanted: Wanted, command: str, configs: Configs) -> Page:
    """Everything that the page of a folder of results shows.

    Args:
        results: The folder, with ``records`` and, where runs drew pictures, ``heatmaps``.
        wanted: How many pictures, and how large.
        command: The words that make the page again.
        configs: Where tables and presets are found.

    Raises:
        AdbenchError: There are no records, one cannot be trusted, or two claim one cell.
    """
    folder = results / "records"
    records = records_of(folder, configs).all()
    settings = subjects(records)
    scores, damaged = scores_of(settings, folder)
    tables, left = published(records, configs)
    groups, note = gallery(settings, results, wanted, scores)
    defects = defect_lines(settings, scores)
    drawn, not_drawn = curves(settings, scores)
    return Page(
        title=TITLE,
        made=_now(),
        version=adbench.__version__,
        command=command,
        about=[*about(settings, tables), *_damaged(damaged)],
        pictures_note=note,
        tables=tables,
        tables_left=left,
        claims=claim_lines(records, folder, configs),
        board=board(settings, folder),
        speed=speed(settings),
        sweeps=sweeps(settings),
        curves=drawn,
        curves_left=not_drawn,
        thresholds=threshold_lines(settings),
        defects=defects,
        defects_note=_note(len(defects)),
        gallery=groups,
        records=record_views(settings, Repeats(configs)),
    )


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _damaged(why: Sequence[str]) -> list[str]:
    """What the page lacks where raw scores cannot be read."""
    if not why:
        return []
    return [
        f"The raw scores of {len(why)} records cannot be read, so that these have no curve, no "
        f"picture and no part in the missed defects: {'; '.join(why)}."
    ]


def _note(lines: int) -> str:
    if not lines:
        return ""
    return (
        f"Here each setting has {BEST}. This compares all settings in one way, also those without "
        "a threshold, but it flatters them: a threshold that is chosen without the test images "
        "misses more or raises more false alarms. An image counts as missed where its score does "
        "not exceed the threshold."
    )
