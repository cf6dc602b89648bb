"""What 10^6 images under 10^3 settings take, and a thousandth of it beside what was planned.

The model is that of ``adbench plan``. Features are made once; the settings are those of four
methods on them, of which most share a fit.

    python scripts/cost_model.py                   # the model, as Markdown
    python scripts/cost_model.py --try FOLDER      # a thousandth of it, planned and measured
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adbench.bench.bundles import bundles
from adbench.bench.category import Category
from adbench.bench.cost import Cost, Costs, makespan, total
from adbench.bench.existing import Existing, here
from adbench.bench.growth import Estimate
from adbench.bench.plan import Plan, plan
from adbench.bench.rates import Rates
from adbench.bench.session import Session
from adbench.bench.shapes import Sized
from adbench.config.compose import Configs

IMAGES, CATEGORIES, TEST_SHARE = 10**6, 2500, 0.32
NODES = (1, 16, 256)
QUICK = ("timing.enabled=false", "heatmaps=0")
SHARES = {"spade": 0.1, "crd": 0.7, "padim": 0.1, "patchcore": 0.1}
"""Of the settings. CRD: its lambda. PaDiM: the seed, of which each takes a fit of its own.
PatchCore and SPADE: their k. SPADE comes first, because it reads all that the others read."""
SETTING = {"crd": "method.lambda_", "padim": "seed", "patchcore": "method.k", "spade": "method.k"}
TRIED = ("denim", "flange")
"""The categories of the demo dataset that are run."""
PROGRAM = """
import json, resource, sys, time
from contextlib import contextmanager
time.perf_counter = time.process_time
import adbench.bench.evaluate as evaluate, adbench.bench.run as run
import adbench.bench.session as session
seconds, open_ = {}, []
def clocked(doing):
    @contextmanager
    def block(name):
        now = time.process_time()
        if open_:
            seconds[open_[-1]] = seconds.get(open_[-1], 0.0) + now - since[0]
        open_.append(name)
        since[0] = now
        try:
            with doing(name):
                yield
        finally:
            now = time.process_time()
            seconds[name] = seconds.get(name, 0.0) + now - since[0]
            open_.pop()
            since[0] = now
    return block
since = [0.0]
for module in (evaluate, run, session):
    module.doing = clocked(module.doing)
from adbench.cli.main import main
try:
    main(sys.argv[2:])
finally:
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {**seconds, "all": time.process_time(), "peak": peak}
    open(sys.argv[1], "w").write(json.dumps(found))
"""
"""Runs a command, and writes the seconds that its process computed, by stage."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--try", dest="folder", type=Path)
    parser.add_argument("--settings", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000, help="of the run, in two categories")
    given = parser.parse_args()
    start = time.monotonic()
    if given.folder:
        tried(given.folder.absolute(), given.images, given.settings)
    else:
        model(given.settings)
    print(f"\n({time.monotonic() - start:.0f} s of this script)")


def model(settings: int) -> None:
    """Print the model: all images in categories of a usual size, and in a single one."""
    plans = planned(settings, ())
    place = here(plans[0])
    for categories in (CATEGORIES, 1):
        each = IMAGES // categories
        test = round(TEST_SHARE * each)
        content = Sized.of(each - test, test, categories)
        costs = of(plans, content)
        print(f"\n{categories} categories of {each - test} training and {test} test images\n")
        show(costs)
    print(f"\nfor {place.processor}, {place.threads} thread(s), {place.device}")


def planned(settings: int, words: Sequence[str]) -> list[Plan]:
    """The plans of all settings."""
    configs = Configs()
    jobs = [j for method in SHARES for j in sweep(method, settings)]
    made = [plan(configs.compose([*QUICK, *words, *job])) for job in jobs]
    return Session(made).plans


def sweep(method: str, settings: int) -> Iterator[tuple[str, str]]:
    """The words of the settings of a method."""
    for value in range(1, round(SHARES[method] * settings) + 1):
        yield f"method={method}", f"{SETTING[method]}={value}"


def of(plans: Sequence[Plan], content: Sized | Category) -> list[Cost]:
    """The cost of each bundle of the plans on one category."""
    own = [replace(p, categories=(content.name,)) for p in plans]
    costs = Costs(own, Rates([], here(own[0])), Existing())
    return [costs.of(bundle, content) for bundle in bundles(dict(enumerate(own)))]


def show(costs: Sequence[Cost]) -> None:
    """Print hours by stage on several numbers of nodes, and sizes."""
    print("| stage | hours on 1 node | low | high |\n|---|---|---|---|")
    for stage in dict.fromkeys(name for cost in costs for name in cost.stages):
        print(row(stage, total(c.stages[stage] * c.times for c in costs if stage in c.stages)))
    print(row("sum", total(c.seconds * c.times for c in costs)))
    for nodes in NODES[1:]:
        jobs = [(c.seconds.about, c.times) for c in costs]
        print(f"| on {nodes} nodes | {makespan(jobs, nodes) / 3600:.1f} | | |")
    print(f"\nfeatures on disk: {sum(c.features * c.times for c in costs) / 1e9:,.1f} GB")
    results = total(c.results * c.times for c in costs)
    print(f"records and raw scores: {results.about / 1e9:,.1f} GB")
    print(f"records: {sum(c.settings * c.times for c in costs):,}")
    memory = [c.memory.about for c in costs if c.memory is not None]
    print(f"memory of a process: {max(memory) / 1e9:,.1f} GB")
    if unknown := {name for cost in costs for name in cost.unknown}:
        print(f"without a rate: {', '.join(sorted(unknown))}")
    for line in {line for cost in costs for line in cost.impossible}:
        print(f"cannot run: {line}")


def row(stage: str, seconds: Estimate) -> str:
    hours = (value / 3600 for value in (seconds.about, seconds.low, seconds.high))
    return f"| {stage} | {' | '.join(f'{value:,.2f}' for value in hours)} |"


def tried(folder: Path, images: int, settings: int) -> None:
    """Plan a share, run it, and print both."""
    folder.mkdir(parents=True, exist_ok=True)
    test = round(TEST_SHARE * images / len(TRIED))
    train = images // len(TRIED) - test
    dataset = (f"dataset.train={train}", f"dataset.test={test}")
    measured, peak = run(folder, settings, dataset)
    # Planned as if nothing had been there.
    empty = folder / "empty"
    plans = planned(settings, (f"cache={empty}", f"results={empty}", *dataset))
    contents = [Category.load(plans[0], name) for name in TRIED]
    costs = [cost for content in contents for cost in of(plans, content)]
    images = sum(len(content.train) + len(content.test) for content in contents)
    share = images * settings / 1e6
    print(f"{images} images x {settings} settings: {100 * share:.1f}% of a thousandth\n")
    counted = ("images", "features", "fit", "score", "metrics")
    measured["rest"] = measured["all"] - sum(measured.get(name, 0.0) for name in counted)
    names = {"images": "images", "extract": "features", "fit": "fit", "score": "score"}
    print("| stage | planned s | low | high | measured s |\n|---|---|---|---|---|")
    for stage, name in names.items():
        print(beside(stage, spent(costs, stage), measured.get(name, 0.0)))
    start = costs[0].stages["start"] * len(SHARES)  # a process for each sweep
    rest = total([start, spent(costs, "metrics"), spent(costs, "jobs")])
    print(beside("metrics, records, jobs, start", rest, measured["metrics"] + measured["rest"]))
    print(beside("sum", total([*(spent(costs, name) for name in names), rest]), measured["all"]))
    features = size(folder / "cache" / "features")
    planned_features = sum(cost.features for cost in costs) / 1e6
    print(f"\nfeatures: planned {planned_features:.1f} MB, measured {features / 1e6:.1f} MB")
    records = size(folder / "runs" / "records") / 1e6
    results = total(cost.results for cost in costs).about / 1e6
    print(f"records: planned {results:.1f} MB, measured {records:.1f} MB")
    memory = max(cost.memory.about for cost in costs if cost.memory is not None) / 1e9
    print(f"peak memory: planned {memory:.2f} GB, measured {peak / 1e9:.2f} GB")


def spent(costs: Sequence[Cost], stage: str) -> Estimate:
    return total(cost.stages[stage] for cost in costs)


def run(folder: Path, settings: int, dataset: Sequence[str]) -> tuple[dict[str, float], int]:
    """Run the sweeps; seconds by stage, and the bytes of the largest process at its peak."""
    places = (f"cache={folder / 'cache'}", f"results={folder / 'runs'}", *dataset)
    measured: dict[str, float] = {}
    peak = 0
    for method in SHARES:
        words = list(sweep(method, settings))
        values = ",".join(value.partition("=")[2] for _, value in words)
        own = (*QUICK, *places, f"method={method}", f"{SETTING[method]}={values}")
        out = folder / f"{method}.json"
        if not out.exists():
            command = [sys.executable, "-c", PROGRAM, str(out), "run", "-m", *own]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        found = json.loads(out.read_text())
        peak = max(peak, found.pop("peak"))
        for stage, seconds in found.items():
            measured[stage] = measured.get(stage, 0.0) + seconds
    return measured, int(peak)


def beside(stage: str, planned: Estimate, measured: float) -> str:
    values = (planned.about, planned.low, planned.high, measured)
    return f"| {stage} | {' | '.join(f'{value:.1f}' for value in values)} |"


def size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


if __name__ == "__main__":
    main()
