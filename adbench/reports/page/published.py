"""Published tables and claims beside what was measured, with a verdict on each number."""

from collections.abc import Sequence
from pathlib import Path

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports import claims, remarks
from adbench.reports.cells import Cell
from adbench.reports.claim import Claim, Finding
from adbench.reports.claim import Verdict as ClaimVerdict
from adbench.reports.grid import plain, spread
from adbench.reports.measures import MEASURES
from adbench.reports.page.model import (
    NOTHING,
    SYMBOLS,
    ClaimLine,
    Kind,
    PublishedTable,
    VerdictLine,
)
from adbench.reports.tables import Table, table
from adbench.results.records import Record

HEAD = [
    *("setting", "category", "metric", "measured", "95% interval"),
    *("published", "difference", "verdict"),
]
_CLAIMS: dict[ClaimVerdict, Kind] = {
    "supported": "within",
    "contradicted": "outside",
    "inconclusive": "inconclusive",
    "not run": "none",
    "not testable with these weights": "none",
}


def published(records: Sequence[Record], configs: Configs) -> tuple[list[PublishedTable], str]:
    """The tables with a measured number beside a printed one, and a sentence on the others.

    Args:
        records: All there are.
        configs: Where tables and presets are found.
    """
    found: list[PublishedTable] = []
    without, broken = list[str](), list[str]()
    for name in configs.choices("table"):
        try:
            built = table(name, records, (), configs, measured=True)
        except AdbenchError as error:  # a file of the user's, or several backbones that would fit
            broken.append(f"{name} is left out: {error}.")
            continue
        shown = _shown(built)
        if shown.lines:
            found.append(shown)
        else:
            without.append(name)
    left = f"Of these tables nothing was measured: {', '.join(without)}." if without else ""
    return found, " ".join(filter(None, [left, *broken]))


def _shown(built: Table) -> PublishedTable:
    beside = [c for c in built.cells.values() if c.measured and c.published is not None]
    printed = sum(c.published is not None for c in built.cells.values())
    left = ""
    if lacking := printed - len(beside):
        left = (
            f"{lacking} more printed numbers of these rows and categories have no measured one "
            f"beside them; `adbench table {built.name}` shows them."
        )
    notes = [*remarks.stars(built), *remarks.incomplete(built), *built.spec.notes]
    if any(cell.compared for cell in beside):
        notes.append(remarks.VERDICTS)
    lines = [_line(cell, built) for cell in beside]
    return PublishedTable(built.name, built.spec.title, built.spec.source, HEAD, lines, notes, left)


def _line(cell: Cell, built: Table) -> VerdictLine:
    kind = _kind(cell)
    measure = MEASURES[cell.metric]
    measured = spread(cell.measured, cell.metric) if cell.measured else NOTHING
    interval = NOTHING
    if cell.interval is not None:
        interval = (
            f"{cell.interval.low:.{measure.digits}f} to {cell.interval.high:.{measure.digits}f}"
        )
    difference = NOTHING
    if cell.difference is not None and measure.accuracy:
        difference = f"{cell.difference:+.{measure.digits}f}"
    return VerdictLine(
        row=f"{cell.row}*" if cell.row in built.marks else cell.row,
        category=cell.category,
        metric=measure.title,
        measured=measured,
        interval=interval,
        published=plain(cell.published, cell.metric),
        difference=difference,
        verdict=_words(cell, built),
        kind=kind,
        symbol=SYMBOLS[kind],
    )


def _kind(cell: Cell) -> Kind:
    if cell.verdict in ("within", "outside", "inconclusive"):
        return cell.verdict
    return "none"


def _words(cell: Cell, built: Table) -> str:
    """The verdict with its reason, but for one that stands below the table."""
    if cell.row in built.marks and not cell.compared:
        return f"{cell.words}, see * below"
    return f"{cell.words}: {cell.reason}" if cell.reason else cell.words


def claim_lines(records: Sequence[Record], folder: Path, configs: Configs) -> list[ClaimLine]:
    """What the reports conclude; those that no record bears on come last.

    Args:
        records: All there are.
        folder: Where they lie with their raw scores.
        configs: Where presets are found.
    """
    found = [_judged(claim, records, folder, configs) for claim in claims.load_claims()]
    return [_claim(one) for one in sorted(found, key=lambda one: one.verdict == "not run")]


def _judged(claim: Claim, records: Sequence[Record], folder: Path, configs: Configs) -> Finding:
    try:
        return claims.judge(claim, records, folder, (), configs)
    except AdbenchError as error:  # several backbones that would fit, or a damaged file
        return Finding(claim, "not run", "", str(error))


def _claim(finding: Finding) -> ClaimLine:
    kind = _CLAIMS[finding.verdict]
    notes = [finding.why]
    if finding.claim.fault:
        notes.append(f"known of the claim: {finding.claim.fault}")
    return ClaimLine(
        claim=f"{finding.claim.text} ({finding.claim.source})",
        printed=claims.printed(finding.claim),
        effect=finding.effect or NOTHING,
        verdict=finding.verdict,
        kind=kind,
        symbol=SYMBOLS[kind],
        note="; ".join(filter(None, notes)),
    )
