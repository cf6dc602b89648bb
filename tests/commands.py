"""Commands as a user runs them, in a process of their own, and what they leave in the folder."""

import csv
import os
import subprocess
import sys

TIMES = ("_p50", "_p95", "_seconds", "_bytes")
SMALL = ["dataset.categories=[bottle]", "timing.repeats=2", "timing.warmup=0", "heatmaps=2"]


def adbench(folder, *words, check=True, env=None, **options):
    """Run a command in ``folder``, with a cache there."""
    done = subprocess.run(
        [sys.executable, "-m", "adbench", *words],
        cwd=folder,
        env={**os.environ, "ADBENCH_CACHE": str(folder / "cache"), **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def table(folder, name="*.csv"):
    """The rows of the only table, without times and sizes, which differ from run to run."""
    (path,) = (folder / "runs" / "tables").glob(name)
    return rows(path)


def rows(path):
    """The rows of a CSV file, without times and sizes."""
    with path.open() as file:
        return [
            {k: v for k, v in row.items() if not k.endswith(TIMES)} for row in csv.DictReader(file)
        ]


def mvtec(root):
    """Words for a dataset in MVTec's layout."""
    return ["dataset=mvtec", f"dataset.root={root}"]
