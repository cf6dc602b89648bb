"""The verdict on a claim from the records of its two sides."""

from pathlib import Path
from statistics import fmean, geometric_mean

from adbench.evaluation.intervals import Difference
from adbench.reports.claim import SLACK, Claim, Test, Verdict
from adbench.reports.matching import Source
from adbench.reports.measures import MEASURES
from adbench.reports.pairing import Pairs, common, differences

WEAKEST_FIRST: list[Verdict] = ["not run", "contradicted", "inconclusive", "supported"]


def against(claim: Claim, a: Source, b: Source, folder: Path) -> tuple[Verdict, str, str]:
    """Verdict, effect and categories for side a against one side b.

    Raises:
        NotPairedError: The sides have no images in common.
    """
    pairs = common(a.found, b.found, "a", "b")
    where = ", ".join(sorted(pairs))
    if MEASURES[claim.test.metric].accuracy:
        lines = differences(pairs, claim.test.metric, folder)
        if not lines:
            return "not run", "", f"{where}, where {claim.test.metric} is undefined"
        d = lines[-1].difference
        effect = f"{100 * d.difference:+.2f} [{100 * d.low:+.2f}, {100 * d.high:+.2f}]"
        return of_difference(claim, d), effect, where
    ratios = _ratios(pairs, claim.test)
    if not ratios:
        return "not run", "", f"{where}, without {MEASURES[claim.test.metric].title}"
    least, printed = min(ratios), claim.printed[1] / claim.printed[0]
    bound = SLACK * printed if claim.test.expect == "ratio" else 1.0
    ends = f"{least:.3g} to {max(ratios):.3g}"
    which = "a / b" if claim.test.expect == "higher" else "b / a"
    effect = f"{which} {geometric_mean(ratios):.3g} ({ends})"
    return _decide(least > bound, max(ratios) < bound), effect, where


def of_difference(claim: Claim, d: Difference) -> Verdict:
    """The verdict where the two sides differ by ``d``, a fraction with its interval."""
    if claim.test.expect in ("equal", "close"):
        printed = (claim.printed[0] - claim.printed[1]) / 100
        centre = printed if claim.test.expect == "close" else 0.0
        margin = claim.test.margin / 100
        low, high = centre - margin, centre + margin
        return _decide(low <= d.low and d.high <= high, d.high < low or high < d.low)
    higher, lower = d.low > 0, d.high < 0
    return _decide(higher, lower) if claim.test.expect == "higher" else _decide(lower, higher)


def _decide(supported: bool, contradicted: bool) -> Verdict:
    return "supported" if supported else "contradicted" if contradicted else "inconclusive"


def _ratios(pairs: Pairs, test: Test) -> list[float]:
    """Per category the ratio of the mean costs, in the direction that the claim says is above 1."""
    read, ratios = MEASURES[test.metric].of, []
    for repeats in pairs.values():
        a, b = ([v for r in side if (v := read(r))] for side in zip(*repeats, strict=True))
        if a and b:
            ratio = fmean(b) / fmean(a)
            ratios.append(1 / ratio if test.expect == "higher" else ratio)
    return ratios
