"""The page of all that was measured, from the kept files alone."""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from goals import BENCHES, GOALS, REASONS, Bench, Figures, Found

HERE = Path(__file__).resolve().parent


def load(folder: Path) -> Found:
    """What was kept."""
    found: Found = {}
    for path in sorted(folder.glob("*-t*.json")):
        name, _, threads = path.stem.rpartition("-t")
        found.setdefault(int(threads), {})[name] = json.loads(path.read_text())
    return dict(sorted(found.items()))


def gather(benches: Mapping[str, Mapping[str, Any]]) -> Figures:
    """All figures with one number of threads."""
    return {
        f"{name}.{key}": value
        for name, kept in benches.items()
        for key, value in kept["figures"].items()
    }


def to_markdown(found: Found) -> str:
    """The page of all that was kept."""
    parts = [
        "# Speed and memory, measured",
        _introduction(found),
        _machine(found),
        "## Goals",
        _goals(found),
    ]
    for bench in BENCHES:
        parts += [f"## {bench.title}", _section(bench, found)]
    return "\n\n".join(parts) + "\n"


def _introduction(found: Found) -> str:
    quick = sorted(
        {name for kept in found.values() for name, content in kept.items() if content["quick"]}
    )
    text = (
        "Written by `python scripts/bench_all.py` from the files in `performance/`; every number "
        "is a median of one session on one machine, peers and adbench in turns on the same arrays "
        "and threads. *scaled*: a part was run and multiplied by a law that is exactly linear."
    )
    return (
        f"{text} Not the whole work but a trial (`--quick`): {', '.join(quick)}." if quick else text
    )


def _machine(found: Found) -> str:
    kept = [content for benches in found.values() for content in benches.values()]

    def distinct(read: Callable[[dict[str, Any]], object]) -> str:
        return (
            "; ".join(dict.fromkeys(str(read(content["machine"])) for content in kept))
            or "not measured"
        )

    def listed(values: Mapping[str, object]) -> str:
        return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"

    days = sorted({content["date"][:10] for content in kept})
    rows = {
        "processor": distinct(lambda m: m["processor"]),
        "cores": distinct(lambda m: m["cores"]),
        "system": distinct(lambda m: f"{m['system']}, Python {m['python']}"),
        "BLAS kernels and threads": distinct(lambda m: ", ".join(m["blas"])),
        "variables that were set": distinct(lambda m: listed(m["variables"])),
        "versions": distinct(lambda m: listed(m["versions"])),
        "commit": distinct(lambda m: m["commit"]),
        "measured": " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "not measured",
    }
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _goals(found: Found) -> str:
    threads = list(found) or [1]
    heads = ["what", "goal", *(f"{n} thread{'s' * (n > 1)}" for n in threads), "reached"]
    rows = [heads, ["---"] * len(heads)]
    reasons = []
    for goal in GOALS:
        cells, reached = [], []
        for n in threads:
            figures = gather(found.get(n, {}))
            try:
                cells.append(shown(goal.value(figures)) + goal.unit)
                reached.append(goal.reached(figures))
            except KeyError:
                cells.append("not measured")
        verdict = ("yes" if all(reached) else "no") if reached else "not measured"
        rows.append([goal.what, goal.words, *cells, verdict])
        if verdict == "no" and goal.name in REASONS:
            reasons.append(f"- {goal.what}, {goal.words}: {REASONS[goal.name]}")
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([table, *(["Missed:\n\n" + "\n".join(reasons)] if reasons else [])])


def shown(value: float) -> str:
    """Three digits, without an exponent for what is large."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _section(bench: Bench, found: Found) -> str:
    """What the script says of itself, and the lines that it printed."""
    about = ast.get_docstring(ast.parse((HERE / bench.script).read_text())) or ""
    parts = [about.split("\n\n")[0].replace("\n", " ")]
    for threads, benches in found.items():
        if bench.name in benches:
            kept = benches[bench.name]
            command = (
                f"python scripts/{' '.join([bench.script, *bench.arguments])} --threads {threads}"
            )
            parts.append(
                "\n".join(
                    [f"`{command}`, {kept['seconds']:.0f} s", "", "```", *kept["lines"], "```"]
                )
            )
    if len(parts) == 1:
        parts.append("Not measured.")
    elif bench.name == "growth":
        parts.append("![seconds and memory over training images](figures/growth.png)")
    return "\n\n".join(parts)
