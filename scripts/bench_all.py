"""Run every benchmark with one thread and with two, and write the page of what they found.

``results/performance/NAME-tN.json`` holds what benchmark NAME found with N threads.
``results/performance.md`` and ``results/figures/growth.*`` follow from these files alone;
``--render`` does no more than write them.
"""

import argparse
from pathlib import Path

from goals import BENCHES, Bench
from page import load, to_markdown
from processes import run_process

HERE = Path(__file__).resolve().parent


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
        done = run_process(*words)
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
