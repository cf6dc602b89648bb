"""The table over all jobs of a sweep, whichever process ran them."""

import json
import sys
from pathlib import Path
from typing import Any

from adbench.results import sweep
from adbench.results.records import load
from adbench.system.files import write_whole


def finish(folder: Path) -> int:
    """Write and print the table of the jobs that left a file in ``folder``; 1 where one failed."""
    files = sorted(folder.glob("job-*.json"), key=lambda f: int(f.stem.removeprefix("job-")))
    contents = [json.loads(file.read_text()) for file in files]
    jobs = list(zip(_varied(contents), [_records(c, folder) for c in contents], strict=True))
    if any(found for _, found in jobs):
        path = folder / "sweep.csv"
        write_whole(path, sweep.sweep_frame(jobs).to_csv(index=False, float_format="%.6f"))
        shown = sweep.sweep_to_screen(jobs)
        place = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        print(f"\n{shown}\n\nmetrics in percent, means over categories; table: {place}")
    failures = sum(len(content["failures"]) for content in contents)
    if failures:
        where = f"they are named above and in {folder}"
        print(f"adbench: {failures} failures in this sweep; {where}", file=sys.stderr)
    return 1 if failures else 0


def _records(content: dict[str, Any], folder: Path) -> list[Any]:
    return [load((folder / content["folder"] / name).resolve()) for name in content["records"]]


def _varied(contents: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The overrides of each job that are not the same in all of them."""
    jobs = [
        dict(word.lstrip("+").split("=", 1) for word in content["overrides"] if "=" in word)
        for content in contents
    ]
    constant = {
        name for name in (jobs[0] if len(jobs) > 1 else ()) if len({j.get(name) for j in jobs}) == 1
    }
    return [{n: v for n, v in job.items() if n not in constant} for job in jobs]
