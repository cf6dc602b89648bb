"""The same sweep by each launcher: records, whether they are the same, what was made, seconds.

Three methods, three sets of layers and the categories that are named, without times. Each launcher
begins with an empty cache and an empty folder of results. Every process notes which files of the
cache it puts in place (an audit hook of Python), so that features and selections that were made
twice are seen. A launcher whose extra is not installed is left out.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tabulate

HOOK = """
import os, sys

def note(event, given):
    if event == "os.rename":
        place = os.fsdecode(given[1])
        if place.endswith(".npy"):
            with open({log!r}, "a") as file:
                file.write(place + "\\n")

sys.addaudithook(note)
"""
PACKAGES = {
    "shared": "hydra",
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "slurm_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}
SWEEP = ("method=patchcore,padim,crd", "method.layers=[2,3],[1,2],[3]")


@dataclass(frozen=True)
class Made:
    """What a sweep left."""

    records: dict[str, Any]
    """Name -> identity, metrics, intervals, and the raw scores."""
    features: Counter[str]
    selections: Counter[str]
    seconds: float
    status: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="a folder in MVTec AD's layout")
    parser.add_argument("--categories", default="bottle,grid")
    parser.add_argument("--launchers", default=",".join(PACKAGES))
    parser.add_argument("words", nargs="*", help="further words of the sweep, such as device=cpu")
    options = parser.parse_args()
    common = [
        *("run", "-m", *SWEEP, "timing.enabled=false", "heatmaps=0", "dataset=mvtec"),
        *(f"dataset.root={options.root.absolute()}", f"dataset.categories=[{options.categories}]"),
        *options.words,
    ]
    done: dict[str, Made] = {}
    with tempfile.TemporaryDirectory() as name:
        for launcher in options.launchers.split(","):
            if not _installed(PACKAGES[launcher]):
                print(f"{launcher}: not installed, left out", flush=True)
                continue
            folder = Path(name) / launcher
            folder.mkdir()
            done[launcher] = sweep(folder, [*common, f"hydra/launcher={launcher}"])
            print(_table(done), flush=True)


def sweep(folder: Path, words: list[str]) -> Made:
    """Run a sweep in a new folder."""
    log = folder / "made.txt"
    log.touch()
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK.format(log=str(log)))
    paths = [str(folder / "hook"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    more = {"ADBENCH_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
    start = time.perf_counter()
    with (folder / "screen.txt").open("w") as screen:
        command = [sys.executable, "-m", "adbench", *words]
        status = subprocess.run(
            command, cwd=folder, env=os.environ | more, stdout=screen, stderr=screen, check=False
        ).returncode
    seconds = time.perf_counter() - start
    if status:
        print((folder / "screen.txt").read_text()[-3000:], file=sys.stderr)
    places = [Path(line).relative_to(folder / "cache") for line in log.read_text().splitlines()]
    return Made(
        records=_records(folder / "runs" / "records"),
        features=Counter(str(p) for p in places if p.parts[0] == "features"),
        selections=Counter(str(p) for p in places if p.parts[0] == "orders"),
        seconds=seconds,
        status=status,
    )


def _records(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        raw = path.with_suffix("").with_suffix(".scores.csv")
        kept = {name: content[name] for name in ("identity", "metrics", "intervals", "counts")}
        found[path.name] = kept | {"raw": raw.read_text(encoding="utf-8") if raw.exists() else ""}
    return found


def _table(done: dict[str, Made]) -> str:
    first = next(iter(done.values()))
    rows = [
        {
            "launcher": name,
            "status": made.status,
            "records": len(made.records),
            "as the first": "yes" if made.records == first.records else "NO",
            "features made": made.features.total(),
            "of them twice": made.features.total() - len(made.features),
            "selections made": made.selections.total(),
            "selected twice": made.selections.total() - len(made.selections),
            "seconds": round(made.seconds, 1),
        }
        for name, made in done.items()
    ]
    return tabulate.tabulate(rows, headers="keys")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main()
