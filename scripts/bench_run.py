"""Whole processes from start to table: ``adbench run`` against anomalib's own Engine, PatchCore 10%.

Both get WideResNet50, the same images, the same file of random weights, layers 2 and 3, 224 pixels
after a resize to 256, and the same cores, to which they are pinned. The Engine fits and tests once,
without pictures; adbench starts with an empty cache, at its defaults (pictures, time per image) and
without these, which is the work that the Engine does. A second adbench run finds the features kept;
what goes through its network is counted. Where the Engine fails or takes more than its limits, the
report says so.

``--memory`` measures something else: the peak of one whole ``adbench run`` at its defaults on 391
images, as many as hazelnut has. Seconds are the wall clock's, memory is the highest resident memory
of the process.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmark
from processes import MISSING, Process, last_json, pin, run_process

WEIGHTS = "weights.pt"
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
    run_process(__file__, "--child", "weights", folder)
    if data is not None:
        place = Place(data.resolve(), "bottle")
        return part(place, folder / "quick", train) if quick else place
    drawn = run_process(__file__, "--child", "images", folder, train, test)
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
    done = run_process(__file__, "--child", "adbench", *settings)
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
    """anomalib's Engine in a process with limits; None where it is not there or fails."""
    if find_spec("anomalib") is None:
        report.say(f"{PEER}: {MISSING}")
        return None
    options = report.options
    words = ["--child", "anomalib", place.root / place.category, folder, options.threads]
    try:
        return run_process(__file__, *words, limits=benchmark.limits(options))
    except RuntimeError as error:
        print(error, flush=True)
        lines = str(error).splitlines()
        report.say(f"{PEER}: failed within its limits of time and memory: {lines[-1]}")
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


# In processes of their own


def child(part: str, *words: str) -> None:
    parts: dict[str, Callable[..., None]] = {
        "weights": save_weights,
        "images": draw,
        "adbench": count_and_run,
        "anomalib": anomalib,
    }
    parts[part](*words)


def save_weights(folder: str) -> None:
    import timm
    import torch

    torch.default_generator.manual_seed(0)
    torch.save(timm.create_model("wide_resnet50_2").state_dict(), Path(folder, WEIGHTS))


def draw(folder: str, train: str, test: str) -> None:
    from adbench.data.demo import Demo

    demo = Demo(categories=("flange",), train=int(train), test=int(test), cache=folder)
    print(json.dumps(str(demo.load("flange").train[0].path.parents[3])))


def count_and_run(*words: str) -> None:
    """``adbench run``, and at the end how many images went through the backbone."""
    from adbench.backbones.engine import Engine
    from adbench.cli.main import main

    extract, counts = Engine.extract, []

    def counting(self: Engine, images: Any, *arguments: Any) -> Any:
        counts.append(len(images))
        return extract(self, images, *arguments)

    Engine.extract = counting  # type: ignore[method-assign]
    try:
        main(["run", *words])
    finally:
        print(json.dumps(sum(counts)))


def anomalib(category: str, folder: str, threads: str) -> None:
    """Fit and test by the Engine.

    Half of the test images validate, as is its default, so that each is scored once.
    """
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Patchcore

    benchmark.set_threads(int(threads))
    root = Path(category)
    kinds = sorted(path.name for path in (root / "ground_truth").iterdir())
    images = Folder(
        name="parts",
        normal_dir=root / "train" / "good",
        normal_test_dir=root / "test" / "good",
        abnormal_dir=[root / "test" / kind for kind in kinds],
        mask_dir=[root / "ground_truth" / kind for kind in kinds],
        num_workers=int(threads) - 1,  # beside the process itself
    )
    processor = Patchcore.configure_pre_processor(
        image_size=(256, 256), center_crop_size=(224, 224)
    )
    model = Patchcore(
        backbone="wide_resnet50_2",
        layers=["layer2", "layer3"],
        pre_trained=False,
        coreset_sampling_ratio=0.1,
        num_neighbors=1,
        pre_processor=processor,
        visualizer=False,
    )
    state = torch.load(Path(folder, WEIGHTS), weights_only=True)
    network = model.model.feature_extractor.feature_extractor
    if missing := network.load_state_dict(state, strict=False).missing_keys:
        raise RuntimeError(f"anomalib's network lacks {missing[:3]} of the weights' file")
    engine = Engine(accelerator="cpu", devices=1, default_root_dir=Path(folder, "anomalib"))
    engine.fit(model=model, datamodule=images)
    engine.test(model=model, datamodule=images)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
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
