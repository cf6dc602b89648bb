"""The table over all jobs of a sweep, whichever process ran them."""

import datetime
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adbench.cli.screen import say, say_aside
from adbench.errors import AdbenchError
from adbench.results import sweep
from adbench.results.raw import RecordError
from adbench.results.records import Record, load
from adbench.system.files import write_whole

_FILE = re.compile(r"job-(\d+)\.json")
"""The name of the file that a job leaves."""


@dataclass(frozen=True)
class Done:
    """What became of a job."""

    overrides: list[str]
    """What was typed for it."""
    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Category, file of a record, or ``settings`` -> why there is no record."""
    skipped: dict[str, str] = field(default_factory=dict)
    """The same where the settings are impossible and the user said that such jobs are skipped."""
    absent: list[str] = field(default_factory=list)
    """Categories without a record, where time alone was to be added."""

    def written(self, folder: str) -> str:
        """The text of the file that a job of a sweep leaves.

        Args:
            folder: Where the records are, relative to that file.
        """
        content = {
            "overrides": self.overrides,
            "records": [f"{record.name}.json" for record in self.records],
            "folder": folder,
            "failures": self.failures,
            "skipped": self.skipped,
            "absent": self.absent,
        }
        return json.dumps(content, indent=1)


def jobs_of(folder: Path) -> list[Done]:
    """The jobs that left a file in a folder, in the order of their numbers.

    Raises:
        AdbenchError: One of the files cannot be read, or is not what a job leaves.
    """
    named = [(_FILE.fullmatch(file.name), file) for file in folder.glob("job-*.json")]
    files = sorted((int(match[1]), file) for match, file in named if match)
    return [_done(file) for _, file in files]


def finish(folder: Path, jobs: Sequence[Done]) -> None:
    """Write and print the table of a sweep.

    Raises:
        AdbenchError: The table cannot be written.
    """
    shown = list(zip(varied(jobs), [job.records for job in jobs], strict=True))
    if any(job.records for job in jobs):
        path = folder / "sweep.csv"
        try:
            write_whole(path, sweep.sweep_csv(shown))
        except OSError as error:
            raise AdbenchError(f"cannot write {path}: {error.strerror or error}") from None
        place = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        table = sweep.sweep_to_screen(shown)
        say(f"\n{table}\n\nmetrics in percent, means over categories; table: {place}")
    for what in ("failures", "skipped"):
        count = sum(len(getattr(job, what)) for job in jobs)
        if count:
            noun = what if count > 1 or what == "skipped" else "failure"
            where = f"they are named above and in {folder}"
            say_aside(f"{count} {noun} in this sweep; {where}")


def new_folder(results: Path) -> Path:
    """A new folder for what the jobs of a sweep tell, which Hydra's own folder need not be.

    Raises:
        AdbenchError: It cannot be made.
    """
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    # Containers and machines that share the folder may have equal times and process numbers.
    own = f"{stamp}_{os.getpid()}_{secrets.token_hex(3)}"
    folder = (results / "sweeps" / own).absolute()
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise AdbenchError(f"cannot write to {folder}: {error.strerror}; set results=DIR") from None
    return folder


def varied(jobs: Sequence[Done]) -> list[dict[str, str]]:
    """The overrides of each job that are not the same in all of them."""
    found = [
        dict(word.lstrip("+").split("=", 1) for word in job.overrides if "=" in word)
        for job in jobs
    ]
    names = found[0] if len(found) > 1 else ()
    constant = {name for name in names if len({job.get(name) for job in found}) == 1}
    return [{n: v for n, v in job.items() if n not in constant} for job in found]


def _done(file: Path) -> Done:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        records = (file.parent / content.pop("folder")).resolve()
        names = [str(name) for name in content.pop("records")]
        done = Done(**content)
    except OSError as error:
        raise AdbenchError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise AdbenchError(
            f"{file}: is not what a job of a sweep leaves ({type(error).__name__}: {error}); "
            "move it out of the folder"
        ) from error
    for name in names:
        try:
            done.records.append(load(records / name))
        except RecordError as error:  # removed meanwhile, or measured again by another process
            say_aside(str(error))
            done.failures[name] = str(error)
    return done
