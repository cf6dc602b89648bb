"""A claim of a report, how it is tested, and what was found.

The claims are data: ``published/claims.csv`` has the words and printed values, and
``published/claims.yaml`` the two sides.
"""

import csv
from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from pydantic.dataclasses import dataclass as settings_class

from adbench.config.build import plain
from adbench.reports.measures import MEASURES
from adbench.reports.printed import FOLDER
from adbench.system.settings import STRICT, check

SLACK = 0.9
"""Share of a printed ratio that counts as reaching it."""

Verdict = Literal[
    "supported", "contradicted", "inconclusive", "not run", "not testable with these weights"
]
SIGNS: dict[Verdict, str] = {
    "supported": "✔",
    "contradicted": "✘",
    "inconclusive": "≈",
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
    def expected(self) -> str:
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
    tests = plain(DictConfig(OmegaConf.load(FOLDER / "claims.yaml")), "claims")
    with (FOLDER / "claims.csv").open(newline="", encoding="utf-8") as file:
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
