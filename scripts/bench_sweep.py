"""What a sweep costs beside the most expensive of its jobs alone: whole processes, start to table.

PatchCore over five coresets and four k (20 jobs in one process), and CRD over the five lambdas of
its table 3. Both sides begin with copies of the same kept features and nothing else, and leave out
what every job measures anew, whatever others have done: time per image, and pictures.
``--defaults`` puts these in. ``--cold`` keeps no features before. ``--data`` adds
``adbench reproduce han2024_table3`` on bottle beside one of its members.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import benchmark
from bench_run import BARE, WEIGHTS, Place, prepare
from processes import pin, run_process

COMMAND = ("-m", "adbench")
IMAGES = (100, 40)
"""Drawn training and test images."""


@dataclass(frozen=True)
class Sweep:
    """A command of many jobs, and that of the most expensive of them."""

    all: Sequence[str]
    dearest: Sequence[str]


COVER = Sweep(
    [
        *("run", "-m", "method=patchcore"),
        *("method.ratio=0.01,0.1,0.25,0.5,0.75", "method.k=1,3,5,9"),
    ],
    ["run", "method=patchcore", "method.ratio=0.75", "method.k=9"],
)
LAMBDAS = Sweep(
    ["run", "-m", "method=crd", "method.lambda_=0.1,1,3,5,10"],
    ["run", "method=crd", "method.lambda_=5"],
)
EXPERIMENT = "experiment=han2024"
TABLE = Sweep(["reproduce", "han2024_table3"], ["run", EXPERIMENT, "method.lambda_=5"])


def measure(
    sweep: Sweep, words: Sequence[str], folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Median seconds of the whole sweep and of its most expensive member.

    Each time both fill a cache of their own.
    """

    def run(command: Sequence[str]) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            if not options.cold:
                kept, copies = folder / "kept" / "features", Path(name, "features")
                shutil.copytree(kept, copies, copy_function=os.link)
            places = [f"cache={name}", f"results={name}/results"]
            return run_process(*COMMAND, *command, *words, *places).seconds

    contestants: dict[str, benchmark.Contestant] = {
        "all": lambda turn: run(sweep.all),
        "dearest": lambda turn: run(sweep.dearest),
    }
    return benchmark.in_turns(contestants, options.repeats, options.threads)


def keep_features(words: Sequence[str], folder: Path, experiment: Sequence[str] = ()) -> None:
    """Extract once what the sweeps read."""
    places = [f"cache={folder / 'kept'}", f"results={folder / 'first'}"]
    run_process(*COMMAND, "run", *experiment, *words, *BARE, *places)


def main() -> None:
    parser = benchmark.parser(__doc__, quick="20 training images, 10 test images, once", repeats=3)
    argument = parser.add_argument
    argument("--defaults", action="store_true", help="with time per image and pictures")
    argument("--cold", action="store_true", help="no features are kept before")
    argument(
        "--data",
        type=Path,
        help="a folder that holds MVTec's bottle; else drawn images of 256 pixels",
    )
    options = parser.parse_args()
    options.repeats = 1 if options.quick else options.repeats
    pin(options.threads)
    report = benchmark.Report(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = (20, 10) if options.quick else IMAGES
        place = prepare(folder, options.data, *images, options.quick)
        ratio = compare(options, report, place, folder)
    report.finish(ratio)


def compare(
    options: argparse.Namespace, report: benchmark.Report, place: Place, folder: Path
) -> float:
    """All sweeps; how many times its most expensive member PatchCore's costs."""
    backbone = ["backbone=wide_resnet50", f"backbone.weights={folder / WEIGHTS}"]
    words = [*place.words(), *backbone, f"threads={options.threads}"]
    settings = [*words, *([] if options.defaults else BARE)]
    sweeps = {"patchcore": COVER, "crd": LAMBDAS}
    if options.data:
        sweeps[" ".join(TABLE.all)] = TABLE
    if not options.cold:
        keep_features(words, folder)
        if options.data:
            keep_features(words, folder, [EXPERIMENT])
    state = "not kept" if options.cold else "kept"
    report.say(
        f"features {state}, {options.threads} thread(s); seconds of whole processes, "
        f"medians of {options.repeats}"
    )
    for name, sweep in sweeps.items():
        taken = measure(sweep, settings, folder, options)
        everything, dearest = taken["all"], taken["dearest"]
        times = everything / dearest
        report.say(
            f"{name:24} sweep {everything:8.1f} s, its most expensive member {dearest:8.1f} s, "
            f"{times:5.2f} times"
        )
        report.figures[benchmark.key(name, "s")] = everything
        report.figures[benchmark.key(name, "dearest_s")] = dearest
        report.figures[benchmark.key(name, "times")] = times
    return report.figures["patchcore_times"]


if __name__ == "__main__":
    main()
