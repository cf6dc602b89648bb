"""What the reports conclude, set beside what was measured, with a verdict on each."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adbench.config.compose import Configs
from adbench.reports.claim import SIGNS, Claim, Finding
from adbench.reports.claim import load_claims as load_claims
from adbench.reports.completeness import lacking
from adbench.reports.matching import IMPOSSIBLE, Matching, Source, Wanted
from adbench.reports.measures import MEASURES
from adbench.reports.needed import Stored, needed
from adbench.reports.pairing import NotPairedError
from adbench.reports.setting import BACKBONE
from adbench.reports.verdicts import WEAKEST_FIRST, against
from adbench.results.tabulated import markdown_table

LEGEND = (
    "A claim is about two settings, a and b, named below. Differences are a - b in points, with "
    "95% intervals for the draw of test images (paired) and of seeds; ratios have their range over "
    "the categories. Inconclusive: the interval leaves both answers open. Not testable with these "
    "weights: the backbones that were measured cannot tell, whatever they give."
)


def judge(
    claim: Claim,
    records: Stored,
    folder: Path,
    overrides: Sequence[str],
    configs: Configs,
) -> Finding:
    """Set a claim beside the records.

    Args:
        claim: Of ``load_claims``.
        records: All there are, or their folder.
        folder: Where they lie with their raw scores.
        overrides: Added to both sides, such as ``backbone=efficientnet_lite0``.
        configs: Where presets are found.

    Raises:
        AdbenchError: What ``Matching.find`` refuses.
    """
    test = claim.test
    if test.missing:
        return Finding(claim, "not run", "", test.missing)
    matching = Matching((), configs)
    elsewhere = tuple(shlex.split(test.elsewhere))
    sides = {s: Wanted(tuple(shlex.split(s)), elsewhere) for s in (test.a, *test.b)}
    matching = matching.on(needed(records, matching.settings_for(sides, overrides)))
    sources = matching.find(sides, overrides, costs_only=not MEASURES[test.metric].accuracy)
    published = {matching.setting(side.run).labels[BACKBONE] for side in sides.values()}
    if len(published) > 1 and any(s.mark for s in sources.values()):
        why = f"it compares {' and '.join(sorted(published))}"
        return Finding(claim, "not testable with these weights", "", why)
    without = [(side, source) for side, source in sources.items() if not source.found]
    impossible = [s.absent for _, s in without if s.absent.startswith(IMPOSSIBLE)]
    if impossible:
        return Finding(claim, "not testable with these weights", "", impossible[0])
    if without:
        return Finding(claim, "not run", "", f"no record of `{without[0][0]}`")
    if MEASURES[test.metric].accuracy:
        repeats = [r for source in sources.values() for r in source.found.values()]
        if partial := [why for found in repeats if (why := lacking(found))]:
            sources = {side: _complete(source) for side, source in sources.items()}
            if not all(source.found for source in sources.values()):
                return Finding(claim, "not run", "", partial[0])
    try:
        tried = [against(claim, sources[test.a], sources[side], folder) for side in test.b]
    except NotPairedError as error:
        return Finding(claim, "not run", "", str(error))
    weakest = min(tried, key=lambda result: WEAKEST_FIRST.index(result[0]))
    verdict, effect, where = weakest
    reasons = [f"on {where}"]
    if len(tried) > 1:
        reasons.append(f"weakest against `{test.b[tried.index(weakest)]}`")
    reasons += dict.fromkeys(f"measured with {s.mark}" for s in sources.values() if s.mark)
    return Finding(claim, verdict, effect, "; ".join(reasons))


def _complete(source: Source) -> Source:
    """The records of the categories that were measured on all of their images."""
    found = {name: repeats for name, repeats in source.found.items() if not lacking(repeats)}
    return replace(source, found=found)


def to_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as plain data."""
    return [
        {
            "id": f.claim.id,
            "source": f.claim.source,
            "claim": f.claim.text,
            "sides": f.claim.sides,
            "metric": f.claim.test.metric,
            "printed": f.claim.printed,
            "expected": f.claim.expected,
            "verdict": f.verdict,
            "effect": f.effect,
            "why": f.why,
        }
        for f in findings
    ]


def to_markdown(findings: Sequence[Finding]) -> str:
    """The page: how many claims hold, a line for each with both effects, then the reasons."""
    counts = [(verdict, sum(f.verdict == verdict for f in findings)) for verdict in SIGNS]
    total = ", ".join(f"{SIGNS[verdict]} {n} {verdict}" for verdict, n in counts if n)
    rows = [
        [f"{SIGNS[f.verdict]} {f.verdict}", f.claim.text, printed(f.claim), f.effect or "-"]
        for f in findings
    ]
    head = ["verdict", "claim", "printed, a against b", "measured"]
    text = [
        "# What the reports conclude, and what was measured",
        f"Of {len(findings)} claims: {total}.",
        LEGEND,
        markdown_table(rows, head),
    ]
    for source, found in itertools.groupby(findings, key=lambda f: f.claim.source):
        text += [f"## {source}", "\n".join(_line(f) for f in found)]
    return "\n\n".join(text) + "\n"


def printed(claim: Claim) -> str:
    """The printed values of the two sides, and what they are values of."""
    title = MEASURES[claim.test.metric].title
    if claim.test.expect == "ratio":
        title = f"relative {title.replace(', s/image', ' time').replace(', MB', '')}"
    a, b = claim.printed
    return f"{a:g} against {b:g}, {title}"


def _line(finding: Finding) -> str:
    """What a claim needs to be supported, what came of it and what is known of it."""
    claim = finding.claim
    known = f" *Known of the claim: {claim.fault}.*" if claim.fault else ""
    return (
        f"- **{claim.text}**: {SIGNS[finding.verdict]} {finding.verdict}. "
        f"a: {claim.sides[0]}; b: {claim.sides[1]}. "
        f"Expected: {claim.expected}. Why: {finding.why}.{known}"
    )
