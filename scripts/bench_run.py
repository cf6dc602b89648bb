"""Whole processes from start to table: ``adbench run`` against anomalib's own Engine.

Both get PatchCore with a coreset of 10%, WideResNet50, the same images, the same file of random
weights, layers 2 and 3, 224 pixels after a resize to 256, and the same cores, to which they are
pinned. The Engine fits and tests once, without pictures; adbench starts with an empty cache, at its
defaults (pictures, time per image) and without these, which is the work that the Engine does. A
second adbench run finds the features kept; what goes through its network is counted. Where the
Engine fails or takes more than its limits, the report says so.

``--memory`` measures something else: the peak of one whole ``adbench run`` at its defaults on 391
images, as many as hazelnut has. Seconds are the wall clock's, memory is the highest resident memory
of the process.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmark
from processes import MISSING, Process, ProcessFailed, last_json, pin, run_process
from run_parts import WEIGHTS

PARTS = Path(__file__).with_name("run_parts.py")
"""What is run in processes of its own."""
OURS = "adbench, bare"
WARM, CAPPED = f"{OURS}, features kept", f"{OURS}, the peer's images"
PEER = "anomalib Engine"
BARE = ["timing.enabled=false", "heatmaps=0"]
METHOD = ["method=patchcore", "method.ratio=0.1"]
MEMORY = {
    "patchcore": ["method=patchcore", "method.ratio=0.25"],
    # Each of 35 images that are timed alone would make all factors anew.
    "padim": ["method=padim_full", "timing.enabled=false"],
}
BOTTLE = (209, 83)
"""Training and test images."""
HAZELNUT = (391, 20)
"""Training images, and fewer test images than there are: the peak is in the fit."""


@dataclass(frozen=True)
class Place:
    """A category in MVTec's layout: ``root / category``."""

    root: Path
    category: str

    def words(self) -> list[str]:
        """What makes ``adbench run`` read it."""
        root, categories = f"dataset.root={self.root}", f"dataset.categories=[{self.category}]"
        return ["dataset=mvtec", root, categories]


def prepare(folder: Path, data: Path | None, train: int, test: int, quick: bool) -> Place:
    """The file of weights, and images: bottle of ``data``, or drawn ones of 256 pixels.

    Of bottle only a part is taken if ``quick``.
    """
    run_process(PARTS, "weights", folder)
    if data is not None:
        place = Place(data.resolve(), "bottle")
        return part(place, folder / "quick", train) if quick else place
    drawn = run_process(PARTS, "images", folder, train, test)
    return Place(Path(last_json(drawn.output)), "flange")


def part(place: Place, folder: Path, train: int) -> Place:
    """The first training images, and at most as many test images of each type, as links."""
    for kind in (place.root / place.category).glob("*/*"):
        (folder / kind.relative_to(place.root)).mkdir(parents=True)
        for path in sorted(kind.glob("*.png"))[:train]:
            (folder / path.relative_to(place.root)).symlink_to(path)
    return Place(folder, place.category)


@dataclass(frozen=True)
class Run:
    """One ``adbench run`` that ended well."""

    process: Process
    record: dict[str, Any]
    extracted: int
    """Images that went through the backbone."""


def run(place: Place, folder: Path, cache: Path, threads: int, words: Sequence[str]) -> Run:
    """One ``adbench run`` in a process of its own, with ``folder`` for its results.

    The weights are beside that folder.
    """
    weights = f"backbone.weights={folder.parent / WEIGHTS}"
    settings = [*place.words(), "backbone=wide_resnet50", weights, f"results={folder}"]
    settings += [f"cache={cache}", f"threads={threads}", "existing=redo", *words]
    done = run_process(PARTS, "adbench", *settings)
    (path,) = (folder / "records").glob("*.json")
    return Run(done, json.loads(path.read_text()), last_json(done.output))


def compare(options: argparse.Namespace, folder: Path) -> None:
    report = benchmark.Report(options)
    images = (10, 20) if options.quick else BOTTLE
    place = prepare(folder, options.data, *images, options.quick)
    theirs = place
    plans = {
        "adbench, defaults": (place, "first", METHOD),
        OURS: (place, "second", [*METHOD, *BARE]),
        WARM: (place, "second", [*METHOD, *BARE]),
    }
    if options.peer_images:
        theirs = part(place, folder / "part", options.peer_images)
        plans[CAPPED] = (theirs, "third", [*METHOD, *BARE])
    processes: dict[str, Process] = {}
    for name, (given, cache, words) in plans.items():
        done = run(given, folder / benchmark.key(name), folder / cache, options.threads, words)
        processes[name] = done.process
        counts = done.record["counts"]
        report.say(
            f"{name}: {counts['train']} training and {counts['test']} test images, "
            f"{done.extracted} through the backbone; in the record: {in_record(done.record)}"
        )
        report.figures[benchmark.key(name, "extracted")] = done.extracted
    if not options.no_peer:
        engine = run_engine(report, theirs, folder)
        processes |= {PEER: engine} if engine else {}
    notes = {name: f"peak {process.peak / 1e9:.2f} GB" for name, process in processes.items()}
    if PEER in notes and options.peer_images:
        notes[PEER] += f", {options.peer_images} training images"
    medians = {name: process.seconds for name, process in processes.items()}
    report.table(medians, OURS, notes)
    report.figures |= {
        benchmark.key(name, "bytes"): process.peak for name, process in processes.items()
    }
    report.finish(benchmark.over(medians, PEER, CAPPED if CAPPED in medians else OURS))


def in_record(record: dict[str, Any]) -> str:
    """The seconds of each step as the record has them; none of a step that was taken over."""
    seconds = record["seconds"].items()
    return ", ".join(f"{step} {'-' if s is None else f'{s:.1f} s'}" for step, s in seconds)


def run_engine(report: benchmark.Report, place: Place, folder: Path) -> Process | None:
    """The Engine of anomalib in a process with limits; None where it is not there or fails."""
    if find_spec("anomalib") is None:
        report.say(f"{PEER}: {MISSING}")
        return None
    options = report.options
    words = ["anomalib", place.root / place.category, folder, options.threads]
    try:
        return run_process(PARTS, *words, limits=benchmark.limits(options))
    except ProcessFailed as error:
        print(error, flush=True)
        report.say(f"{PEER}: {error.why}; it printed last: {error.last}")
        return None


def memory(options: argparse.Namespace, folder: Path) -> None:
    report = benchmark.Report(options)
    place = prepare(folder, None, *((10, 5) if options.quick else HAZELNUT), options.quick)
    words = MEMORY[options.memory]
    done = run(place, folder / "run", folder / "cache", options.threads, words)
    state, counts = done.record["memory"]["state"] / 1e9, done.record["counts"]
    seconds, peak = done.process.seconds, done.process.peak
    report.say(f"{' '.join(words)}, {counts['train']} training images, {options.threads} thread(s)")
    report.say(f"whole process {seconds:.1f} s, peak {peak / 1e9:.2f} GB, state {state:.2f} GB")
    report.figures |= {"adbench_s": seconds, "peak_bytes": peak}
    report.finish(None)


def main() -> None:
    parser = benchmark.parser(
        __doc__,
        quick="10 training images and at most 10 test images of a type",
        peer_seconds=3600,
    )
    argument = parser.add_argument
    argument(
        "--data",
        type=Path,
        help="a folder that holds MVTec's bottle; else drawn images of 256 pixels",
    )
    argument(
        "--peer-images",
        type=int,
        metavar="N",
        help="hold anomalib, and a run of adbench, to N images",
    )
    argument(
        "--no-peer",
        action="store_true",
        help="leave out anomalib: half an hour on the whole bottle",
    )
    argument(
        "--memory",
        choices=MEMORY,
        help="the peak of PatchCore 25%% or of PaDiM with all channels",
    )
    options = parser.parse_args()
    pin(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            memory(options, Path(folder))
        else:
            compare(options, Path(folder))


if __name__ == "__main__":
    main()
