"""Which setting to take for a category: the fastest of those that no test tells from the best."""

from collections.abc import Sequence

from adbench.reports.page.model import NOTHING, BoardRow

ACCURACY, PIXELS, TIME = "image_auroc", "pixel_auroc", "inference_time_s"
HEAD = ["category", "best AUROC, %", "by", "not told from it", "fastest of these", "ms"]
OWN = ["image AUROC, %", "pixel AUROC, %"]
RATES = ["found, %", "false alarms, %"]


def choices(rows: Sequence[BoardRow]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a table: a line for each category where two settings or more compare.

    Args:
        rows: Of the leaderboard.
    """
    groups: dict[tuple[str, str, bool], list[BoardRow]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.category, row.is_mean), []).append(row)
    head = [*HEAD, *OWN]
    if any(row.found is not None for row in rows):
        head += RATES
    lines = [line for key, own in groups.items() if (line := _line(*key[:2], own))]
    return head, [[*line, *[NOTHING] * (len(head) - len(line))][: len(head)] for line in lines]


def _line(dataset: str, category: str, rows: Sequence[BoardRow]) -> list[str]:
    best = [row for row in rows if row.cells[ACCURACY].best]
    equal = [row for row in rows if row.cells[ACCURACY].best or row.cells[ACCURACY].within]
    measured = [row for row in rows if row.cells[ACCURACY].value is not None]
    compared = any(row.cells[TIME].best for row in rows)  # not so for times of several machines
    timed = [row for row in equal if compared and row.cells[TIME].value is not None]
    if not best:
        return []
    others = f" and {len(best) - 1} more" if len(best) > 1 else ""
    first = [
        f"{dataset}: {category}",
        best[0].cells[ACCURACY].text,
        f"{best[0].setting}{others}",
        f"{len(equal)} of {len(measured)}",
    ]
    if not timed:
        return first
    fastest = min(timed, key=lambda row: row.cells[TIME].value or 0.0)
    numbers = [fastest.cells[name].text for name in (TIME, ACCURACY, PIXELS)]
    rates = [fastest.found, fastest.false_alarms]
    shown = [NOTHING if rate is None else f"{100 * rate:.1f}" for rate in rates]
    return [*first, fastest.setting, *numbers, *shown]
