"""A comparison of settings as text: Markdown with a table per metric, and plain data."""

from typing import Any

from adbench.evaluation.intervals import Spread
from adbench.evaluation.metrics import METRICS, Metric
from adbench.reports.compare import SIGNIFICANT, Compared, Comparison, letter
from adbench.results.tabulated import markdown_table
from adbench.system.printable import in_line


def to_markdown(comparison: Comparison) -> str:
    """A table per metric and other side, in percent, with a verdict in each line."""
    sides = comparison.sides
    others = "B" if len(sides) == 2 else "each of the others"
    text = [
        f"# A against {others}",
        "\n".join(f"- {letter(i)}: `{in_line(side)}`" for i, side in enumerate(sides)),
        *comparison.notes,
    ]
    if len(sides) > 2:
        text.append(
            f"p (Holm) is corrected for the {len(sides) - 1} comparisons of each line, and a "
            f"difference counts only where the corrected p is below {SIGNIFICANT:g}."
        )
    for metric in METRICS:
        for place, lines in comparison.lines.get(metric.name, {}).items():
            text += _section(metric, letter(place), lines, several=len(sides) > 2)
    return "\n\n".join(text) + "\n"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The same as plain data; numbers are fractions."""
    lines = [
        {
            "metric": metric,
            "a": comparison.sides[0],
            "b": comparison.sides[place],
            "category": one.line.category,
            "value_a": one.line.a.mean,
            "value_b": one.line.b.mean,
            "difference": one.line.difference.difference,
            "low": one.line.difference.low,
            "high": one.line.difference.high,
            "p": one.line.difference.p,
            "p_holm": one.p,
            "images": one.line.images,
            "verdict": one.verdict.replace(letter(place), "B"),
        }
        for metric, sides in comparison.lines.items()
        for place, found in sides.items()
        for one in found
    ]
    return {"sides": comparison.sides, "notes": comparison.notes, "differences": lines}


def p_in_words(p: float) -> str:
    """A p value in [0, 1] with at least two digits, however small it is."""
    return f"{p:.4f}" if p >= 0.001 else f"{p:.1e}"


def _section(metric: Metric, other: str, lines: list[Compared], several: bool) -> list[str]:
    assert metric.noise is not None
    rows = [
        [
            one.line.category,
            _spread(one.line.a),
            _spread(one.line.b),
            _points(one.line.difference.difference),
            f"{_points(one.line.difference.low)} to {_points(one.line.difference.high)}",
            p_in_words(one.line.difference.p),
            *([p_in_words(one.p)] if several else []),
            _in_words(one),
        ]
        for one in lines
    ]
    head = ["category", "A", other, f"A - {other}", "95% interval", "p"]
    head += ["p (Holm)"] if several else []
    against = f", A against {other}" if several else ""
    last = lines[-1]
    return [
        f"## {metric.title}, percent{against} ({metric.noise.method}, paired)",
        markdown_table(rows, [*head, "verdict"]),
        f"**Over all of it, A - {other} is {_points(last.line.difference.difference)} points; "
        f"{_in_words(last)}.**",
    ]


def _in_words(one: Compared) -> str:
    if one.verdict == "inconclusive":
        return f"inconclusive: within the noise of {one.line.images} images"
    return one.verdict


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def _spread(value: Spread) -> str:
    sd = f" ± {100 * value.std:.2f} ({value.n})" if value.std is not None else ""
    return f"{100 * value.mean:.2f}{sd}"
