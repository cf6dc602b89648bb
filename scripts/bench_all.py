"""Run every benchmark with one thread and with two, keep what each found, and write the page of all of them.

``results/performance/NAME-tN.json`` holds what benchmark NAME found with N threads. ``results/performance.md`` and
``results/figures/growth.*`` follow from these files alone; ``--render`` does no more than write them.
"""
# ruff: noqa: RUF001 (the goals are quoted as they were set, with their multiplication signs)

import argparse
import ast
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import benchmark

HERE = Path(__file__).resolve().parent
Figures = Mapping[str, float]
"""Figures with one number of threads, as ``benchmark.figure``."""
Found = dict[int, dict[str, dict[str, Any]]]
"""Threads to benchmark to the content of its file."""


@dataclass(frozen=True)
class Bench:
    """A benchmark of the page."""

    name: str
    title: str
    script: str
    arguments: Sequence[str] = ()
    takes_data: bool = False
    """Whether it can read real images."""
    once: bool = False
    """Whether the first number of threads is enough."""


BENCHES = (
    Bench("run", "Whole run", "bench_run.py", takes_data=True),
    Bench(
        "run_patchcore",
        "Memory of PatchCore 25% on 391 images",
        "bench_run.py",
        ("--memory", "patchcore"),
    ),
    Bench(
        "run_padim",
        "Memory of PaDiM with all channels on 391 images",
        "bench_run.py",
        ("--memory", "padim"),
    ),
    Bench("sweep", "Sweeps", "bench_sweep.py", takes_data=True),
    Bench("backbone", "Backbone", "bench_backbone.py"),
    Bench("coreset", "Greedy selection", "bench_coreset.py", ("--repeats", "3")),
    Bench("neighbors", "Nearest neighbours", "bench_neighbors.py"),
    Bench("padim", "PaDiM", "bench_padim.py"),
    Bench(
        "padim_memory",
        "PaDiM with all channels, from mapped features on",
        "bench_padim.py",
        ("--memory",),
    ),
    Bench("spade", "SPADE", "bench_spade.py"),
    Bench("crd", "CRD", "bench_crd.py"),
    Bench("metrics", "Pixel metrics", "bench_metrics.py", ("--repeats", "1")),
    Bench("growth", "Growth", "bench_growth.py", once=True),
)
"""In the order of the page; a peer that takes half a minute is run once."""


@dataclass(frozen=True)
class Goal:
    """A line of the goal table."""

    name: str
    what: str
    sense: Literal["≥", "≤", "<"]
    limit: float
    unit: str
    of: str
    value: Callable[[Figures], float]
    """Raises KeyError where a benchmark that it needs was not run."""

    @property
    def words(self) -> str:
        """The goal as it is read."""
        return f"{self.sense} {self.limit:g}{self.unit} {self.of}".strip()

    def reached(self, figures: Figures) -> bool:
        """Whether the value is on the right side of the limit."""
        compare = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}[self.sense]
        return bool(compare(self.value(figures), self.limit))


def _sum_of_stages(f: Figures) -> float:
    """patchcore-inspection is in no package index: its network, selection and search of bottle, one after the other."""
    return 292 / f["backbone.patchcore_inspection_s_way_images_per_s"] + (
        f["coreset.patchcore_inspection_s"] + 83 * f["neighbors.faiss_s"]
    )


RUN = "whole `adbench run`, bottle, WideResNet50 224, PatchCore 10%, start to table"
GREEDY = "greedy k-centre, 10%; its picks are those of naive greedy (tests)"
NEIGHBOUR = "nearest neighbour, bank of 16,384"
METRICS = "all four pixel metrics, exact, 67 M pixels"
SWEEP = "a sweep of coreset 1, 10, 25, 50, 75% × k 1, 3, 5, 9, without time per image, which each job measures anew"
GOALS = (
    Goal("run_anomalib", RUN, "≥", 50, "×", "anomalib's own engine", lambda f: f["run.ratio"]),
    Goal(
        "run_patchcore_inspection",
        RUN,
        "≥",
        15,
        "×",
        "patchcore-inspection (sum of its stages below)",
        lambda f: _sum_of_stages(f) / f["run.adbench_bare_s"],
    ),
    Goal(
        "greedy_patchcore_inspection",
        GREEDY,
        "≥",
        100,
        "×",
        "patchcore-inspection",
        lambda f: f["coreset.ratio"],
    ),
    Goal(
        "greedy_anomalib",
        GREEDY,
        "≥",
        400,
        "×",
        "anomalib",
        lambda f: f["coreset.anomalib_s"] / f["coreset.adbench_s"],
    ),
    Goal("neighbour_anomalib", NEIGHBOUR, "≥", 10, "×", "anomalib", lambda f: f["neighbors.ratio"]),
    Goal(
        "neighbour_product",
        NEIGHBOUR,
        "≥",
        2,
        "×",
        "below the GEMM limit",
        lambda f: f["neighbors.products_over_adbench"],
    ),
    Goal("padim_anomalib", "PaDiM d 550 fit", "≥", 15, "×", "anomalib", lambda f: f["padim.ratio"]),
    Goal(
        "padim_memory",
        "PaDiM, all 1792 dims of 391 images, fit from mapped features",
        "<",
        4,
        " GB",
        "",
        lambda f: f["padim_memory.peak_bytes"] / 1e9,
    ),
    Goal(
        "run_padim",
        "the same as a whole `adbench run`",
        "<",
        4,
        " GB",
        "",
        lambda f: f["run_padim.peak_bytes"] / 1e9,
    ),
    Goal("spade", "SPADE K 50", "≥", 500, "×", "SPADE-pytorch", lambda f: f["spade.ratio"]),
    Goal("crd_limit", "CRD", "≥", 95, "%", "of the GEMM limit", lambda f: 100 * f["crd.ratio"]),
    Goal(
        "crd_lambdas",
        "CRD, five lambdas",
        "≤",
        1.1,
        "×",
        "one",
        lambda f: f["crd.five_lambdas_over_one"],
    ),
    Goal(
        "metrics_auroc",
        METRICS,
        "≥",
        35,
        "×",
        "scikit-learn's AUROC alone",
        lambda f: f["metrics.ratio"],
    ),
    Goal(
        "metrics_aupro",
        METRICS,
        "≥",
        25,
        "×",
        "anomalib's AUPRO alone",
        lambda f: f["metrics.anomalib_aupro_s"] / f["metrics.adbench_all_four_s"],
    ),
    Goal(
        "metrics_memory",
        METRICS,
        "≤",
        1,
        " GB",
        "over the arrays",
        lambda f: f["metrics.adbench_all_four_bytes"] / 1e9,
    ),
    Goal(
        "sweep",
        SWEEP,
        "≤",
        1.3,
        "×",
        "its most expensive member",
        lambda f: f["sweep.patchcore_times"],
    ),
    Goal(
        "run_patchcore",
        "peak memory of PatchCore 25% on 391 images, WideResNet50",
        "≤",
        3,
        " GB",
        "for the whole process",
        lambda f: f["run_patchcore.peak_bytes"] / 1e9,
    ),
    Goal(
        "warm",
        "second run with warm features",
        "≤",
        0,
        " images",
        "through the backbone",
        lambda f: f["run.adbench_bare_features_kept_extracted"],
    ),
)
REASONS: dict[str, str] = {
    "run_anomalib": "with two threads both ran the whole bottle, with one thread 105 of its 209 training images, because "
    "the Engine's time grows with their square. Of our 30 s, 17 are the network and the decoding on the same two cores, 7 "
    "load torch, timm and the network, 4 select and search. The goal was set when anomalib's selection took 1636 s; on "
    "this machine it takes 395 to 702 s.",
    "run_patchcore_inspection": "the sum has neither decoding nor the loading of programs and network nor metrics. The "
    "goal was set when its selection took 444 s; here it takes 161 to 297 s.",
    "sweep": "3.8 times before jobs shared the network, hashes and checked features, 2.1 before one fit and one search "
    "served all 20 jobs. What is left is of the other 19: Hydra composes each config twice (0.1 s together), metrics and "
    "their interval take 0.1 s, maps, record and table 0.1 s.",
}
"""By the name of a goal that was missed: how far, why, and what was tried."""


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


# The page


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
        "Written by `python scripts/bench_all.py` from the files in `performance/`; every number is a median of one "
        "session on one machine, peers and adbench in turns on the same arrays and threads. *scaled*: a part was run and "
        "multiplied by a law that is exactly linear."
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


def render(results: Path) -> None:
    """Write the page and the figure."""
    from adbench.system.files import write_whole

    found = load(results / "performance")
    write_whole(results / "performance.md", to_markdown(found))
    for threads, benches in found.items():  # the fewest threads at which growth was measured
        if "growth" in benches:
            import bench_growth

            bench_growth.draw(benches["growth"]["figures"], threads, results / "figures")
            break


# Measuring


def measure(bench: Bench, threads: int, options: argparse.Namespace) -> bool:
    """Run a benchmark to its end; whether it went well."""
    kept = options.results / "performance" / f"{bench.name}-t{threads}.json"
    words = [HERE / bench.script, *bench.arguments, "--threads", threads, "--json", kept.absolute()]
    if options.data and bench.takes_data:
        words += ["--data", options.data.absolute()]
    words += ["--no-peer"] * (options.no_engine and bench.name == "run")
    words += ["--quick"] * options.quick
    print(f"{bench.name}, {threads} thread(s)", flush=True)
    try:
        done = benchmark.run_process(*words)
    except RuntimeError as error:
        print(error, flush=True)
        return False
    print(f"{done.output}\n{done.seconds:.0f} s", flush=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[bench.name for bench in BENCHES]
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder that holds MVTec's bottle, for the whole runs and sweeps",
    )
    parser.add_argument(
        "--no-engine",
        action="store_true",
        help="leave out anomalib's Engine: half an hour each time",
    )
    parser.add_argument("--quick", action="store_true", help="a trial of every script")
    parser.add_argument(
        "--render", action="store_true", help="write the page from what is kept and measure nothing"
    )
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", metavar="FOLDER")
    options = parser.parse_args()
    failed = []
    if not options.render:
        for threads in options.threads:
            for bench in BENCHES:
                chosen = (
                    bench.name in options.only
                    if options.only
                    else threads == options.threads[0] or not bench.once
                )
                if chosen and not measure(bench, threads, options):
                    failed.append(f"{bench.name} with {threads}")
    render(options.results)
    print(options.results / "performance.md")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
