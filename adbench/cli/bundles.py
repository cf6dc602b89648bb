"""Sweeps under a launcher that runs jobs side by side: one of its jobs does one bundle.

The process of the sweep writes every bundle into a folder that all processes see. A job of the
launcher reads its own, and leaves what came of it there. All that a user reads, tables and the
exit status among it, is then made by the process of the sweep, as if it had done the work.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from adbench.bench.bundles import Bundle, Split, bundles
from adbench.bench.plan import Plan, plan
from adbench.bench.run import Outcome
from adbench.bench.session import Reads
from adbench.cli.job import measure, refused_by
from adbench.cli.screen import say, say_aside
from adbench.cli.seats import Seats, seats_of
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.results.raw import RecordError
from adbench.results.records import load, require_writable
from adbench.system import machine
from adbench.system.events import Events, events_on
from adbench.system.files import write_whole
from adbench.system.printable import in_line
from adbench.system.progress import aside, finished, happened, kind_for, progress

AGAIN = "the same command goes on from there"
CONTROLLER = "submitit.local._local"
"""The module of the processes that submitit starts on this machine, one for each bundle."""


@dataclass(frozen=True)
class _Work:
    """What a job of a launcher is to do."""

    category: str
    jobs: dict[str, list[str]]
    """Number in the sweep -> overrides."""
    reads: Reads | None
    threads: int | None
    """How many this process may use; None: the launcher says so by variables or limits."""
    directory: str
    """Where the command was typed, from which relative paths start."""
    events: bool
    """Whether standard error is one of JSON lines."""


@dataclass
class BundleTask:
    """The function that a launcher calls in another process for each bundle.

    Attributes:
        configs: The config files.
        folder: Where the bundles are, an absolute path that all processes see.
    """

    configs: Configs
    folder: Path

    def __call__(self, config: DictConfig) -> None:
        """Do the bundle that has the number of this job of the launcher."""
        here = HydraConfig.get()
        work = _Work(**json.loads(_asked(self.folder, here.job.num).read_text(encoding="utf-8")))
        launcher = str(here.launcher.get("_target_", ""))
        with events_on(sys.stderr, work.events and not isinstance(sys.stderr, Events)):
            outcomes = self._done(work, refused_by(launcher), fresh="submitit" in launcher)
        write_whole(_answered(self.folder, here.job.num), json.dumps(outcomes, indent=1))

    def _done(self, work: _Work, refused: str | None, fresh: bool) -> dict[str, Any]:
        """What became of each job, as plain data.

        Args:
            work: The bundle.
            refused: Why time must not be taken.
            fresh: Whether the launcher starts a process for each of its jobs.
        """
        os.chdir(work.directory)  # Hydra goes back after the job
        try:
            plans = [
                replace(plan(self.configs.compose(words), refused), categories=(work.category,))
                for words in work.jobs.values()
            ]
            machine.set_threads(work.threads)
            numbers = [int(number) for number in work.jobs]
            outcomes = measure(plans, fresh, numbers, work.reads)
        except AdbenchError as error:  # such as a folder that this machine cannot write
            outcomes = [Outcome(failures={work.category: str(error)}) for _ in work.jobs]
        return {
            number: {
                "records": [f"{record.name}.json" for record in outcome.records],
                "failures": outcome.failures,
                "impossible": sorted(outcome.impossible),
            }
            for number, outcome in zip(work.jobs, outcomes, strict=True)
        }


def measured(
    launcher: Launcher,
    folder: Path,
    plans: Mapping[int, Plan],
    words: Mapping[int, Sequence[str]],
    split: Split,
    first: int = 0,
) -> tuple[dict[int, Outcome], int]:
    """Let a launcher do jobs, and collect what became of them.

    Args:
        launcher: It was set up with a ``BundleTask`` of the folder.
        folder: The same.
        plans: The jobs by their numbers.
        words: The overrides of each.
        split: What a bundle is.
        first: The number of the first bundle.

    Returns:
        The outcome of each job, and how many bundles there were.

    Raises:
        AdbenchError: A folder of results cannot be written, or there is no Slurm on this machine.
    """
    for place in {planned.records for planned in plans.values()}:
        require_writable(place)
    found = dict(enumerate(bundles(plans, split), first))
    if not found:  # no job of the sweep can run
        return {}, 0
    seats = seats_of(launcher, len(found))
    for number, bundle in found.items():
        work = _Work(
            category=bundle.category,
            jobs={str(job): list(words[job]) for job in bundle.jobs},
            reads=bundle.reads,
            threads=seats.threads,
            directory=str(Path.cwd()),
            events=isinstance(sys.stderr, Events),
        )
        write_whole(_asked(folder, number), json.dumps(asdict(work), indent=1))
    say(f"{_counted(len(plans), 'job')} in {_counted(len(found), 'bundle')} side by side")
    heads = {number: list(words[bundle.jobs[0]]) for number, bundle in found.items()}
    ended = launched_apart(launcher, heads, seats) if seats.apart else _launched(launcher, heads)
    outcomes = {number: Outcome() for number in plans}
    jobs = sum(len(bundle.jobs) for bundle in found.values())
    with ended_with_the_sweep(), progress(kind_for(sys.stderr), jobs):
        for number, why in ended:
            # Bundles that are launched apart have screens of their own, which are files.
            _collect(folder, number, found[number], plans, outcomes, why, tell=seats.apart)
    with suppress(OSError):  # some bundles may still be at work
        folder.rmdir()
    for number, outcome in outcomes.items():
        found_of = {record.category: record for record in outcome.records}
        outcome.records = [found_of[n] for n in plans[number].categories if n in found_of]
    return outcomes, len(found)


@contextmanager
def ended_with_the_sweep() -> Iterator[None]:
    """A block whose end by a signal ends the processes of submitit's local executor too.

    The other launchers do that themselves. It is safe: whatever was finished stays, as with kill.
    """
    try:
        yield
    except KeyboardInterrupt:
        for process in _started():
            with suppress(psutil.Error):  # it has ended meanwhile
                process.kill()
        raise


def _started() -> list[psutil.Process]:
    """The processes of submitit's local executor, and all that they started."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has ended meanwhile
                if CONTROLLER in process.cmdline():
                    found += [process, *process.children(recursive=True)]
    return found


Ended = tuple[int, str | None]
"""The number of a bundle, and why it failed, as far as its launcher tells."""


def _launched(launcher: Launcher, heads: Mapping[int, list[str]]) -> list[Ended]:
    """Launch bundles together, and wait for all of them."""
    try:
        returned = launcher.launch(list(heads.values()), initial_job_idx=min(heads))
    except Exception as error:  # of the launcher or of a lost process; what is done stays done
        return [(number, f"the launcher ended with {_in_a_line(error)}") for number in heads]
    return [
        (number, _in_a_line(job._return_value) if job.status == JobStatus.FAILED else None)
        for number, job in zip(heads, returned, strict=True)
    ]


def launched_apart(
    launcher: Launcher, heads: Mapping[int, list[str]], seats: Seats
) -> Iterator[Ended]:
    """As ``_launched``, each bundle by itself, so that one that is lost ends the wait for no other.

    The threads wait, and do not keep a process alive that the user ends. A bundle is given as soon
    as it has ended.
    """
    left, ended = deque(heads.items()), SimpleQueue[Ended]()

    def wait() -> None:
        while True:
            try:
                number, head = left.popleft()
            except IndexError:  # no bundle is left
                return
            try:
                [found] = _launched(launcher, {number: head})
            except BaseException as error:  # an answer to every bundle is waited for
                found = number, f"the launcher ended with {_in_a_line(error)}"
            ended.put(found)

    for _ in range(min(seats.together, len(heads))):
        Thread(target=wait, daemon=True).start()
    try:
        for _ in heads:
            yield ended.get()
    finally:
        left.clear()  # where the sweep is ended, no other bundle begins


def _collect(
    folder: Path,
    number: int,
    bundle: Bundle,
    plans: Mapping[int, Plan],
    outcomes: dict[int, Outcome],
    why: str | None,
    tell: bool,
) -> None:
    """Add to the outcomes what a bundle left.

    Args:
        folder: Where the bundles are.
        number: Of the bundle, by which its files are named.
        bundle: What was to be done.
        plans: The jobs by their numbers.
        outcomes: Of each job.
        why: Why the bundle failed, as far as its launcher tells.
        tell: Whether its records and failures are still to be told.
    """
    path = _answered(folder, number)
    problem = ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {job: content[str(job)] for job in bundle.jobs}
    except FileNotFoundError:
        problem = why or "its process ended without one"
    except (OSError, ValueError, KeyError, TypeError) as error:  # such as a stale NFS handle
        problem = f"{path} cannot be read ({_in_a_line(error)})"
    if problem:
        reason = f"no result: {problem}; {AGAIN}"
        jobs = "job" if len(bundle.jobs) == 1 else "jobs"
        numbers = ", ".join(map(str, bundle.jobs))
        with aside():
            say_aside(f"{in_line(bundle.category)}, {jobs} {numbers}: {reason}")
        for job in bundle.jobs:
            finished()
            outcomes[job].failures[bundle.category] = reason
            happened("failure", bundle.category, jobs=[job], message=reason)
        return
    for job in bundle.jobs:
        finished()
        part, outcome = parts[job], outcomes[job]
        failures = dict(part["failures"])
        for name in part["records"]:
            try:
                record = load(plans[job].records / name)
            except RecordError as error:  # removed meanwhile, or measured again by another process
                failures[bundle.category] = str(error)
                continue
            outcome.records.append(record)
            if tell:
                happened("record", record.category, jobs=[job], record=record.name, measured=None)
        outcome.failures |= failures
        outcome.impossible |= set(part["impossible"])
        for name, reason in failures.items():
            if tell or name not in part["failures"]:
                happened("failure", name, jobs=[job], message=reason)
                with aside():
                    say_aside(f"{in_line(name)}, job {job}: {reason}")
    with suppress(OSError):  # what is left there does no harm
        path.unlink()
        _asked(folder, number).unlink()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _in_a_line(error: Any) -> str:
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def _asked(folder: Path, number: int) -> Path:
    return folder / f"bundle-{number}.json"


def _answered(folder: Path, number: int) -> Path:
    return folder / f"bundle-{number}-done.json"
