"""How time and memory of each stage grow with the training images: 50 to 800, synthetic.

They have WideResNet50's shapes at 224 pixels. Each stage and size runs in a process of its own on
memory-mapped features, as the cache leaves them. Memory is the highest anonymous memory (the mapped
features themselves are not counted, caches of them are) above that before the stage, sampled every
2 ms. The slope is that of the straight line through the logarithms: 1 is linear, 0 constant. Stages
under a few milliseconds or megabytes have none that means anything.

The greedy selection takes 10% of 784 patches per image in 128 dimensions; one image's 784 patches
are searched in that bank of 1536; PaDiM keeps 550 dims; SPADE compares with 50 images; pixel
metrics are of as many 224 x 224 maps.
"""

import argparse
import ctypes
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import benchmark
from processes import last_json, run_process

SIZES, QUICK_SIZES = (50, 100, 200, 400, 800), (10, 20, 40)
QUERIES = 784
STAGES = (
    "greedy selection",
    "bank index",
    "neighbour search",
    "PaDiM fit",
    "PaDiM score",
    "SPADE fit",
    "SPADE score",
    "CRD fit",
    "CRD score",
    "pixel metrics",
)
Found = dict[str, tuple[float, float]]
"""Stage to seconds and bytes."""


def anonymous_memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the anonymous memory of a process; use Linux")


@contextmanager
def peak_above() -> Iterator[list[int]]:
    """A list that holds, after the block, the most bytes of anonymous memory above those before."""
    # Else what an earlier stage freed would seem to cost nothing.
    ctypes.CDLL(None).malloc_trim(0)
    before, peak, done = anonymous_memory(), [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous_memory() - before)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], anonymous_memory() - before)


def measure(run: Callable[[], object]) -> tuple[float, float]:
    with peak_above() as peak:
        seconds = benchmark.seconds(run)
    return seconds, float(peak[0])


# The stages; each is given the folder of features and the number of training images.


def write(folder: Path, n: int) -> Found:
    """Patches for the selection and the bank, and layers for the other methods."""
    import numpy as np
    from bench_coreset import make
    from random_maps import write_smooth_maps

    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (n * QUERIES, 1536))
    for first in range(0, n, 16):
        block = make(min(16, n - first), 1536, seed=first)
        rows[first * QUERIES : first * QUERIES + len(block)] = block.numpy()
    write_smooth_maps(folder, n)
    return {}


def selection(folder: Path, n: int) -> Found:
    import numpy as np
    import torch

    from adbench.kernels.coreset import greedy
    from adbench.kernels.projection import gaussian

    rows = torch.from_numpy(np.load(folder / "rows.npy", mmap_mode="c"))
    matrix = gaussian(1536, 128, 0)
    points = torch.cat([block @ matrix for block in rows[: n * QUERIES].split(8192)])
    greedy(points[:5000], 50)  # loads the compiled loops
    picks: list[np.ndarray] = []
    found = measure(lambda: picks.append(greedy(points, len(points) // 10)))
    np.save(folder / f"picks-{n}.npy", picks[0])
    return {"greedy selection": found}


def search(folder: Path, n: int) -> Found:
    import numpy as np
    import torch
    from bench_coreset import make

    from adbench.kernels.neighbors import Neighbors

    picks = np.load(folder / f"picks-{n}.npy")
    bank = torch.from_numpy(np.load(folder / "rows.npy", mmap_mode="r")[picks])
    queries = make(2, 1536, seed=10**6)
    index: list[Neighbors] = []
    build = measure(lambda: index.append(Neighbors(bank)))
    index[0].search(queries[:QUERIES], 1)  # loads the compiled loops
    found = measure(lambda: index[0].search(queries[QUERIES:], 1))
    return {"bank index": build, "neighbour search": found}


def method(folder: Path, n: int, name: str) -> Found:
    """Fit and score of one image."""
    import torch
    from random_maps import SHAPES, mapped_features, smooth_maps

    from adbench.features.features import Features
    from adbench.methods.crd import CRD
    from adbench.methods.padim import PaDiM
    from adbench.methods.spade import SPADE

    makers: dict[str, Callable[[], Any]] = {
        "PaDiM": lambda: PaDiM(dims=550),
        "SPADE": SPADE,
        "CRD": CRD,
    }
    layers = [2, 3] if name == "CRD" else [1, 2, 3]
    small, normal = (mapped_features(folder, layers, size) for size in (8, n))
    maps = smooth_maps(1, 10**6, [SHAPES[i - 1] for i in layers])
    vectors = torch.randn(1, 2048, generator=torch.Generator().manual_seed(0))
    test = Features(maps, vectors, (224, 224), source="random")
    makers[name]().fit(small).score(test)  # loads the compiled loops
    fitted = makers[name]()
    fit = measure(lambda: fitted.fit(normal))
    return {f"{name} fit": fit, f"{name} score": measure(lambda: fitted.score(test))}


def pixels(folder: Path, n: int) -> Found:
    from bench_metrics import adbench_four, make

    masks, maps = make(n, 224)
    adbench_four(masks[:4], maps[:4])  # imports
    return {"pixel metrics": measure(lambda: adbench_four(masks, maps))}


PARTS: dict[str, Callable[[Path, int], Found]] = {
    "write": write,
    "selection": selection,
    "search": search,
    "padim": lambda folder, n: method(folder, n, "PaDiM"),
    "spade": lambda folder, n: method(folder, n, "SPADE"),
    "crd": lambda folder, n: method(folder, n, "CRD"),
    "pixels": pixels,
}


def run_part(part: str, folder: Path, n: int, threads: int) -> Found:
    """In a process of its own."""
    from adbench.system.parallel import libraries_known

    benchmark.set_threads(threads)
    with libraries_known():  # as in `adbench run`
        return PARTS[part](folder, n)


# The report


def slope(x: list[int], y: list[float]) -> float:
    """Of the straight line nearest to log y over log x."""
    import numpy as np

    return float(np.polyfit(np.log(x), np.log(np.maximum(y, 1e-9)), 1)[0])


def draw(figures: dict[str, float], threads: int, folder: Path) -> list[Path]:
    """Seconds and memory over training images, from the figures alone: growth.png and .svg."""
    from adbench.reports.figure import note, panels, save, title
    from adbench.results.style import LIGHT, drawn_in

    units = ("s", "bytes"), (1, 1e6), ("seconds", "MB")
    with drawn_in(LIGHT):
        figure, (both,) = panels(1, 2, width=5.6)
        for axes, unit, scale, label in zip(both, *units, strict=True):
            for number, stage in enumerate(STAGES):
                name = benchmark.key(stage)
                keys = (k for k in figures if k.startswith(f"{name}_") and k.endswith(f"0_{unit}"))
                at = sorted(int(k.split("_")[-2]) for k in keys)
                values = [figures[f"{name}_{n}_{unit}"] / scale for n in at]
                named = f"{stage} ({figures[f'{name}_slope_{unit}']:.2f})"
                axes.plot(at, values, label=named, **LIGHT.look(number))
            axes.set(xscale="log", yscale="log", xlabel="training images", ylabel=label)
            axes.set_xticks(at, [str(n) for n in at], minor=False)
            axes.minorticks_off()
            if unit == "bytes":
                axes.set_ylim(bottom=1)  # below lies the noise of the allocator
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), title="slope")
        title(figure, [f"WideResNet50's shapes at 224 pixels, threads: {threads}"])
        note(figure, ["Slope: of the straight line through the logarithms; 1 is linear."])
        return save(figure, folder / "growth")


def main() -> None:
    parser = benchmark.parser(__doc__, quick="10, 20 and 40 images")
    argument = parser.add_argument
    argument(
        "--sizes",
        type=int,
        nargs="+",
        default=SIZES,
        help="training images; 9 GB of disk for 800",
    )
    argument("--figure", type=Path, metavar="FOLDER", help="draw growth.png and growth.svg there")
    argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        part, folder, n = options.child
        print(json.dumps(run_part(part, Path(folder), int(n), options.threads)))
        return
    report = benchmark.Report(options)
    sizes = sorted(QUICK_SIZES if options.quick else options.sizes)
    found = measure_all(sizes, options.threads)
    for unit, place, scale, title in (("s", 0, 1, "seconds"), ("bytes", 1, 1e6, "MB")):
        report.say(f"{title:17}" + "".join(f"{n:>10}" for n in sizes) + "     slope")
        for stage in STAGES:
            values = [found[n][stage][place] for n in sizes]
            name = benchmark.key(stage)
            report.figures |= {
                f"{name}_{n}_{unit}": value for n, value in zip(sizes, values, strict=True)
            }
            report.figures[f"{name}_slope_{unit}"] = slope(sizes, values)
            shown = "".join(f"{value / scale:10.3f}" for value in values)
            report.say(f"{stage:17}{shown}{report.figures[f'{name}_slope_{unit}']:10.2f}")
    if options.figure:
        draw(report.figures, options.threads, options.figure)
    report.finish(None)


def measure_all(sizes: list[int], threads: int) -> dict[int, Found]:
    """Number of training images to what was found with it; each stage in a process of its own."""
    found: dict[int, Found] = {n: {} for n in sizes}
    stages = [(part, n) for n in sizes for part in list(PARTS)[1:]]
    with tempfile.TemporaryDirectory() as folder:
        for part, n in [("write", sizes[-1]), *stages]:
            words = ["--child", part, folder, n, "--threads", threads]
            found[n] |= last_json(run_process(__file__, *words).output)
    return found


if __name__ == "__main__":
    main()
