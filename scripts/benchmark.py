"""What the benchmarks share: options, contestants in turns, processes of their own, and the report that they print.

Nothing heavy is imported up here. Linux counts what a parent holds when it starts a child into the child's peak memory, so
scripts that measure processes must stay small themselves.
"""

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Contestant = Callable[[int], object]
"""Is given the number of the round; one that returns a float has taken its own time, any other is timed."""
Made = TypeVar("Made")

MISSING = "not installed (pip install 'adbench[peers]')"
SHAPES = ((256, 56), (512, 28), (1024, 14))
"""Channels and edge of WideResNet50's layers 1, 2 and 3 at 224 pixels."""


def parser(description: str | None, quick: str, repeats: int | None = None) -> argparse.ArgumentParser:
    """The options that every benchmark has; ``quick`` says what --quick does."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=1)
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats)
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--json", type=Path, metavar="FILE", help="keep the figures and the printed lines")
    return made


def set_threads(threads: int) -> None:
    """Hold torch and every BLAS that is loaded to so many threads."""
    from adbench import machine

    machine.set_threads(threads)


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(
    contestants: Mapping[str, Contestant],
    repeats: int,
    threads: int,
    warm_up: bool = False,
    once: Collection[str] = (),
) -> dict[str, float]:
    """Median seconds of each contestant; they take turns, so that a busy machine is busy for all of them.

    Args:
        contestants: What to time.
        repeats: How many rounds count.
        threads: Set once more here, for the libraries that contestants have loaded since the start.
        warm_up: Whether a round that does not count goes first.
        once: Contestants that are too dear for more than the first round.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-1 if warm_up else 0, repeats):
        for name, contestant in contestants.items():
            if turn > 0 and name in once:
                continue
            set_threads(threads)
            start = time.perf_counter()
            own = contestant(max(turn, 0))
            took = own if isinstance(own, float) else time.perf_counter() - start
            if turn >= 0:
                taken[name].append(took)
    return {name: statistics.median(times) for name, times in taken.items()}


def smooth_maps(n: int, seed: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> "list[torch.Tensor]":
    """Random layers: a mixture of 64 smooth maps per image, as correlated as a network's channels, noise, rectified."""
    import torch
    import torch.nn.functional as F

    draw, mixing = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    layers = []
    for channels, edge in shapes:
        mixture = torch.randn(channels, 64, generator=mixing) * torch.logspace(0, -2, 64)
        layer = torch.empty(n, channels, edge, edge)
        for image in layer:
            smooth = F.interpolate(torch.randn(1, 64, 7, 7, generator=draw), (edge, edge), mode="bicubic")
            image[:] = F.conv2d(smooth, mixture[:, :, None, None])[0]
            image += 0.02 * torch.randn(image.shape, generator=draw)
        layers.append(layer.relu_())
    return layers


def write_smooth_maps(folder: Path, n: int) -> None:
    """The same in files of their own, ``layer1.npy`` and on, a few images at a time."""
    import numpy as np

    files = [
        np.lib.format.open_memmap(folder / f"layer{i}.npy", "w+", np.float32, (n, channels, edge, edge))
        for i, (channels, edge) in enumerate(SHAPES, start=1)
    ]
    for first in range(0, n, 16):
        for file, layer in zip(files, smooth_maps(min(16, n - first), seed=first), strict=True):
            file[first : first + 16] = layer.numpy()


def read_maps(folder: Path, layers: Sequence[int], n: int | None = None) -> "list[torch.Tensor]":
    """The first ``n`` images of them, memory-mapped as the feature cache's are."""
    import numpy as np
    import torch

    return [torch.from_numpy(np.load(folder / f"layer{i}.npy", mmap_mode="c")[:n]) for i in layers]


def key(*words: object) -> str:
    """The name of a figure: lower-case words joined by underscores."""
    return re.sub(r"\W+", "_", " ".join(map(str, words)).lower()).strip("_")


@dataclass
class Report:
    """What one benchmark finds: lines for people as they come, and named numbers."""

    options: argparse.Namespace
    figures: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.lines.append(line)

    def table(self, medians: Mapping[str, float], ours: str, notes: Mapping[str, str] | None = None) -> None:
        """A line per contestant: seconds, and how many times those of ``ours``. Figures are ``<name>_s``."""
        width = max(map(len, medians))
        for name, value in medians.items():
            shown = f"{value:10.2f} s " if value >= 10 else f"{1e3 * value:10.2f} ms"
            note = (notes or {}).get(name, "")
            self.say(f"{name:{width}} {shown} {value / medians[ours]:9.2f} x  {note}".rstrip())
            self.figures[key(name, "s")] = value

    def peers(self, makers: Mapping[str, Callable[[], Made]]) -> dict[str, Made]:
        """What the makers make; a peer that is not installed is left out and the report says so."""
        made = {}
        for name, make in makers.items():
            try:
                made[name] = make()
            except ImportError:
                self.say(f"{name}: {MISSING}")
        return made

    def finish(self, ratio: float | None) -> None:
        """Print the last line, None where no peer is installed, and write the JSON file where one is asked for."""
        if ratio is not None:
            self.figures["ratio"] = ratio
        print(f"ratio: {'no peer to compare with' if ratio is None else f'{ratio:.2f}'}", flush=True)
        if self.options.json:
            from adbench import machine
            from adbench.files import write_whole

            set_threads(self.options.threads)
            content = {
                "script": Path(sys.argv[0]).name,
                "threads": self.options.threads,
                "quick": self.options.quick,
                "figures": self.figures,
                "lines": self.lines,
                "seconds": round(time.perf_counter() - self.started, 1),
                "machine": machine.describe("cpu"),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            }
            write_whole(self.options.json, json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Process:
    """A process that ended well."""

    seconds: float
    peak: int
    """Its highest resident memory in bytes."""
    output: str


def environment() -> dict[str, str]:
    """That of a child which is to find the same packages, however this process came to know them."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def run_process(*words: object) -> Process:
    """Run Python with these words to its end.

    Raises:
        RuntimeError: It failed; the message holds the end of what it printed.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=output, stderr=subprocess.STDOUT, env=environment()
        )
        _, status, used = os.wait4(child.pid, 0)  # the one call that tells the memory of this child alone
        took = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {child.returncode}:\n{text[-3000:]}")
    return Process(took, used.ru_maxrss * 1024, text)


def pin(cores: int) -> None:
    """Hold this process and its children to so many cores, whatever threads they start (Linux)."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def last_json(text: str) -> Any:
    """What a child printed on its last line."""
    return json.loads(text.strip().splitlines()[-1])
