"""What the reports conclude, set beside what was measured, with a verdict on each.

The claims are data: ``published/claims.csv`` has the words and printed values, ``published/claims.yaml`` the two sides.
"""

import csv
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from pydantic.dataclasses import dataclass as settings_class
from tabulate import tabulate

from adbench.build import check, plain
from adbench.core import STRICT
from adbench.records import Record
from adbench.reports.compare import NotPairedError, Pairs, common, differences
from adbench.reports.matching import IMPOSSIBLE, Source, Wanted, find, setting
from adbench.reports.tables import MEASURES
from adbench.statistics import Difference

SLACK = 0.9
"""Share of a printed ratio that counts as reaching it."""

Verdict = Literal["supported", "contradicted", "within noise", "not run", "not testable with these weights"]
SIGNS: dict[Verdict, str] = {
    "supported": "✔",
    "contradicted": "✘",
    "within noise": "≈",
    "not run": "-",
    "not testable with these weights": "?",
}


@settings_class(frozen=True, config=STRICT)
class Test:
    """How a claim is tested; see ``published/claims.yaml``."""

    metric: str
    expect: Literal["higher", "lower", "equal", "close", "ratio"]
    a: str
    b: tuple[str, ...]
    margin: float = 0.0
    elsewhere: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim as printed."""

    id: str
    source: str
    text: str
    sides: tuple[str, str]
    printed: tuple[float, float]
    """Values of the two sides."""
    fault: str
    """What is known to be wrong with it."""
    test: Test

    @property
    def asked(self) -> str:
        """What must hold for the claim to be supported."""
        test = self.test
        beyond = {"higher": "above", "lower": "below"}
        if not MEASURES[test.metric].accuracy:
            printed = f"at least {SLACK:g} of the printed {self.printed[1] / self.printed[0]:.3g}"
            return f"b / a {printed}" if test.expect == "ratio" else f"a {beyond[test.expect]} b"
        points = f"{test.margin:g} point{'s' if test.margin != 1 else ''}"
        if test.expect == "equal":
            return f"a and b within {points} of each other"
        if test.expect == "close":
            return f"a - b within {points} of the printed {self.printed[0] - self.printed[1]:+.1f}"
        return f"a {beyond[test.expect]} {'each b' if len(test.b) > 1 else 'b'}, beyond the noise"


@dataclass(frozen=True)
class Finding:
    """A claim beside what was measured."""

    claim: Claim
    verdict: Verdict
    effect: str
    """a - b in points with its 95% interval, or b / a with its range over the categories."""
    why: str


def load_claims() -> list[Claim]:
    """Every claim with its test, in the order of the file. Raises AdbenchError for a wrong key."""
    folder = Path(__file__).parent / "published"
    tests = plain(DictConfig(OmegaConf.load(folder / "claims.yaml")), "claims")
    with (folder / "claims.csv").open(newline="") as file:
        return [
            Claim(
                line["id"],
                line["source"],
                line["claim"],
                (line["side_a"], line["side_b"]),
                (float(line["published_a"]), float(line["published_b"])),
                line["note"],
                check(Test, tests[line["id"]], f"claim {line['id']}"),
            )
            for line in csv.DictReader(file)
        ]


def judge(claim: Claim, records: Sequence[Record], folder: Path, overrides: Sequence[str] = ()) -> Finding:
    """Set a claim beside the records.

    Args:
        claim: Of ``load_claims``.
        records: All there are.
        folder: Where they lie with their raw scores.
        overrides: Added to both sides, such as ``backbone=efficientnet_lite0``.

    Raises:
        AdbenchError: What ``matching.find`` refuses.
    """
    test = claim.test
    if test.missing:
        return Finding(claim, "not run", "", test.missing)
    sides = {side: Wanted(tuple(shlex.split(side)), tuple(shlex.split(test.elsewhere))) for side in (test.a, *test.b)}
    sources = find(sides, records, tuple(overrides), costs_only=not MEASURES[test.metric].accuracy)
    published = {setting(side.run).labels["backbone"] for side in sides.values()}
    if len(published) > 1 and any(s.mark for s in sources.values()):
        return Finding(claim, "not testable with these weights", "", f"it compares {' and '.join(sorted(published))}")
    lacking = [(side, source) for side, source in sources.items() if not source.found]
    impossible = [s.absent for _, s in lacking if s.absent.startswith(IMPOSSIBLE)]
    if impossible:
        return Finding(claim, "not testable with these weights", "", impossible[0])
    if lacking:
        return Finding(claim, "not run", "", f"no record of `{lacking[0][0]}`")
    try:
        tried = [_against(claim, sources[test.a], sources[side], folder) for side in test.b]
    except NotPairedError as error:
        return Finding(claim, "not run", "", str(error))
    verdict, effect, where = min(tried, key=lambda result: _WEAKEST_FIRST.index(result[0]))
    weakest = [f"weakest against `{test.b[tried.index((verdict, effect, where))]}`"] if len(tried) > 1 else []
    marks = dict.fromkeys(f"measured with {s.mark}" for s in sources.values() if s.mark)
    return Finding(claim, verdict, effect, "; ".join([f"on {where}", *weakest, *marks]))


def to_markdown(findings: Sequence[Finding]) -> str:
    """The page: how many claims hold, each in a line with both its effects, then what was asked of it and why."""
    counts = [(verdict, sum(f.verdict == verdict for f in findings)) for verdict in SIGNS]
    total = ", ".join(f"{SIGNS[verdict]} {n} {verdict}" for verdict, n in counts if n)
    rows = [[f"{SIGNS[f.verdict]} {f.verdict}", f.claim.text, _printed(f.claim), f.effect or "-"] for f in findings]
    legend = (
        "A claim is about two settings, a and b, named below. Differences are a - b in points, with 95% intervals for the "
        "draw of test images (paired) and of seeds; ratios have their range over the categories. Within noise: the "
        "interval leaves both answers open. Not testable with these weights: the backbones that were measured cannot "
        "tell, whatever they give."
    )
    text = ["# What the reports conclude, and what was measured", f"Of {len(findings)} claims: {total}.", legend]
    text.append(
        tabulate(rows, ["verdict", "claim", "printed, a against b", "measured"], "github", disable_numparse=True)
    )
    for source, found in itertools.groupby(findings, key=lambda f: f.claim.source):
        text += [f"## {source}", "\n".join(_line(f) for f in found)]
    return "\n\n".join(text) + "\n"


def _printed(claim: Claim) -> str:
    title = MEASURES[claim.test.metric].title
    unit = (
        f"relative {title.replace(', s/image', ' time').replace(', MB', '')}" if claim.test.expect == "ratio" else title
    )
    a, b = claim.printed
    return f"{a:g} against {b:g}, {unit}"


def _line(finding: Finding) -> str:
    """What was asked of a claim, what came of it and what is known of it."""
    claim = finding.claim
    known = f" *Known of the claim: {claim.fault}.*" if claim.fault else ""
    return (
        f"- **{claim.text}**: {SIGNS[finding.verdict]} {finding.verdict}. a: {claim.sides[0]}; b: {claim.sides[1]}. "
        f"Asked: {claim.asked}. Why: {finding.why}.{known}"
    )


_WEAKEST_FIRST: list[Verdict] = ["not run", "contradicted", "within noise", "supported"]


def _against(claim: Claim, a: Source, b: Source, folder: Path) -> tuple[Verdict, str, str]:
    """Verdict, effect and categories for side a against one side b."""
    pairs = common(a.found, b.found, "a", "b")
    where = ", ".join(sorted(pairs))
    if MEASURES[claim.test.metric].accuracy:
        lines = differences(pairs, claim.test.metric, folder)
        if not lines:
            return "not run", "", f"{where}, where {claim.test.metric} is undefined"
        d = lines[-1].difference
        effect = f"{100 * d.difference:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]"
        return _of_difference(claim, d), effect, where
    ratios = _ratios(pairs, claim.test)
    if not ratios:
        return "not run", "", f"{where}, without {MEASURES[claim.test.metric].title}"
    least, printed = min(ratios), claim.printed[1] / claim.printed[0]
    bound = SLACK * printed if claim.test.expect == "ratio" else 1.0
    ends = f"{least:.3g} to {max(ratios):.3g}"
    effect = f"{'a / b' if claim.test.expect == 'higher' else 'b / a'} {geometric_mean(ratios):.3g} ({ends})"
    return _decide(least > bound, max(ratios) < bound), effect, where


def _of_difference(claim: Claim, d: Difference) -> Verdict:
    if claim.test.expect in ("equal", "close"):
        centre = (claim.printed[0] - claim.printed[1]) / 100 if claim.test.expect == "close" else 0.0
        margin = claim.test.margin / 100
        low, high = centre - margin, centre + margin
        return _decide(low <= d.low and d.high <= high, d.high < low or high < d.low)
    higher, lower = d.low > 0, d.high < 0
    return _decide(higher, lower) if claim.test.expect == "higher" else _decide(lower, higher)


def _decide(supported: bool, contradicted: bool) -> Verdict:
    return "supported" if supported else "contradicted" if contradicted else "within noise"


def _ratios(pairs: Pairs, test: Test) -> list[float]:
    """Per category the ratio of the mean costs, in the direction that the claim says is above 1."""
    read, ratios = MEASURES[test.metric].of, []
    for repeats in pairs.values():
        a, b = ([v for r in side if (v := read(r))] for side in zip(*repeats, strict=True))
        if a and b:
            ratio = fmean(b) / fmean(a)
            ratios.append(1 / ratio if test.expect == "higher" else ratio)
    return ratios
