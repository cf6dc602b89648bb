"""The table of a sweep, from the records of its jobs alone."""

from collections.abc import Sequence

import pandas as pd

from adbench.results import thresholds
from adbench.results.notes import below
from adbench.results.record import Record
from adbench.results.spreadsheet import safe
from adbench.results.summary import COLUMNS, EXACT, NAMES, SCREEN, exact, row, shown
from adbench.results.tabulated import screen_table

Jobs = Sequence[tuple[dict[str, str], Sequence[Record]]]
"""The overrides of each job that vary, and its records."""


def sweep_frame(jobs: Jobs) -> pd.DataFrame:
    """One row per job and category of a sweep: the job's overrides, then the columns of a run."""
    return pd.DataFrame(
        [{**_named(overrides), **row(record)} for overrides, records in jobs for record in records]
    )


def sweep_csv(jobs: Jobs) -> str:
    """``sweep_frame`` as CSV; texts that a spreadsheet would take for formulas are escaped."""
    frame = sweep_frame(jobs).rename(columns=safe)
    for name in EXACT:
        if name in frame:
            frame[name] = [None if pd.isna(value) else exact(value) for value in frame[name]]
    escaped = frame.map(lambda value: safe(value) if isinstance(value, str) else value)
    return str(escaped.to_csv(index=False, float_format="%.6f"))


def sweep_to_screen(jobs: Jobs) -> str:
    """One row per setting: means over its categories.

    Where a setting ran with several seeds, the mean of a category is over its seeds first, and the
    standard deviation over seeds stands beside the mean where every category has every seed. Where
    there are thresholds, the rates that they give on the test images. Below the table stands why
    numbers are missing, and which accuracies are of random weights.
    """
    long = sweep_frame(jobs)
    swept = dict.fromkeys(name for overrides, _ in jobs for name in _named(overrides))
    varied = [name for name in swept if name != "seed"]
    if not varied:
        long["run"], varied = "all", ["run"]
    long[varied] = long[varied].fillna("")
    every = list({record.id: record for _, records in jobs for record in records}.values())
    screen = SCREEN | (thresholds.SCREEN if any(r.threshold for r in every) else {})
    rows = []
    for setting, group in long.groupby(varied, sort=False):
        seeds = group["seed"] if "seed" in group else pd.Series(0, index=group.index)
        numbers = group[list(screen)].apply(pd.to_numeric)
        each = numbers.groupby([seeds, group["category"]]).mean()
        # A method that draws nothing has one record whatever the seed: one measurement.
        n = min(seeds.nunique(), group.groupby("category")["record"].nunique().max())
        cells = [_mean(c, each[c].unstack(), spread=n > 1 and c in NAMES) for c in screen]
        if (group["weights"] == "random").any():
            cells = [
                f"{t}*" if c in NAMES and t != "-" else t
                for c, t in zip(screen, cells, strict=True)
            ]
        rows.append([*setting, group["category"].nunique(), n, *cells])
    headers = [*varied, "categories", "seeds", *screen.values()]
    table = screen_table(rows, headers)
    return "\n".join([table, *below(every, [row(record) for record in every], screen)])


def _mean(column: str, values: pd.DataFrame, spread: bool) -> str:
    """The mean over categories, with its deviation over seeds where it is wanted and there is one.

    The mean of one seed that lacks a category is of other images than that of the next seed, so
    that their deviation would say nothing of the seeds.

    Args:
        column: Of a run's CSV.
        values: A row per seed and a column per category; NaN where there is no number.
        spread: Whether the deviation is wanted.
    """
    measured = values.dropna(axis="columns", how="all")
    text = shown(column, measured.mean().mean())
    if not spread or measured.empty or measured.isna().any(axis=None):
        return text
    return f"{text} ± {shown(column, measured.mean(axis='columns').std())}"


def _named(overrides: dict[str, str]) -> dict[str, str]:
    """The overrides by names that no column of a run has, such as ``run.threshold``."""
    return {f"run.{name}" if name in COLUMNS else name: v for name, v in overrides.items()}
