"""Runs: every category of every job gets a record, unless it has one.

Jobs that share a network follow one another, category by category, and those that one fit serves
are fitted, scored and recorded together. What fails costs its own category and setting alone.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from adbench.bench.category import Category
from adbench.bench.evaluate import evaluate
from adbench.bench.session import Session
from adbench.bench.work import Work
from adbench.detectors.family import families
from adbench.errors import AdbenchError, ImpossibleError
from adbench.results import records
from adbench.results.disturbed import disturbed
from adbench.results.records import Record
from adbench.system.parallel import libraries_known
from adbench.system.printable import in_line
from adbench.system.progress import aside, at, doing, finished, happened, progress

log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What became of a job."""

    records: list[Record] = field(default_factory=list)
    """Of the categories that went well, in the order of the job's categories."""
    failures: dict[str, str] = field(default_factory=dict)
    """Category -> why it has no record."""
    impossible: set[str] = field(default_factory=set)
    """Categories that failed because these features cannot have the setting at all."""
    absent: list[str] = field(default_factory=list)
    """Categories without a record, where time alone was to be added."""

    def mean(self, metric: str = "image_auroc") -> float | None:
        """The mean of a metric over the categories that have it; None where none has."""
        values = [v for r in self.records if (v := r.metrics.get(metric)) is not None]
        return fmean(values) if values else None


def run(session: Session, say: Say = log.info, warn: Say = log.error) -> list[Outcome]:
    """Measure what the jobs of a session lack; what has a record is skipped.

    Args:
        session: Knows the jobs.
        say: Is told what happens, a line at a time.
        warn: Is told what fails, when it does.

    Returns:
        One outcome per job, in the order of the jobs.
    """
    outcomes = [Outcome() for _ in session.plans]
    total = sum(len(plan.categories) for plan in session.plans)

    def tell(line: str) -> None:
        with aside():
            say(line)

    def tell_failure(line: str) -> None:
        with aside():
            warn(line)

    with progress(session.shown, total), libraries_known():
        for places in session.groups():
            session.begin(places)
            for category in session.plans[places[0]].categories:
                at(category)
                _run_category(category, places, session, outcomes, tell, tell_failure)
                session.forget()
            session.plans[places[0]].detector.release()
    for plan, outcome in zip(session.plans, outcomes, strict=True):
        outcome.records.sort(key=lambda r: plan.categories.index(r.category))
    return outcomes


def _run_category(
    name: str,
    places: Sequence[int],
    session: Session,
    outcomes: list[Outcome],
    say: Say,
    warn: Say,
) -> None:
    """Bring the jobs at ``places`` up to date on one category."""
    numbers = session.numbers
    titles = {p: f"{in_line(name)}{f', job {numbers[p]}' if numbers else ''}" for p in places}
    jobs = {p: [numbers[p]] if numbers else [] for p in places}

    told: set[int] = set()

    def count(place: int) -> None:
        if place not in told:  # a picture may still fail where the record is done
            told.add(place)
            finished()

    def fail(place: int, error: Exception) -> None:
        count(place)
        message = message_of(error, session.plans[place].results)
        failures = outcomes[place].failures
        before = failures.get(name)  # such as a time that failed before the pictures did
        failures[name] = f"{before}; {message}" if before else message
        happened("failure", name, jobs=jobs[place], message=message)
        if isinstance(error, ImpossibleError):
            outcomes[place].impossible.add(name)
        warn(f"{titles[place]}: {message}")

    def done(place: int, record: Record) -> None:
        count(place)
        outcomes[place].records.append(record)
        happened("record", name, jobs=jobs[place], record=record.name, measured=True)
        (lacked,) = (work.lacks for work in works if work.place == place)
        had = "metrics" not in lacked
        what = "has a record, completed with what it lacked" if had else _in_words(record)
        say(f"{titles[place]}: {what}")
        why = disturbed(record) if "time" in lacked else None
        if why:
            say(
                f"{titles[place]}: the machine was busy while time was taken: {why}; "
                "measure it again when it is idle (existing=redo)"
            )

    works: list[Work] = []
    try:
        with doing("images"):
            category = Category.load(session.plans[places[0]], name)
    except Exception as error:
        for place in places:
            fail(place, error)
        return
    for place in places:
        plan = session.plans[place]
        try:
            identity = plan.identity(name, category.fingerprint)
            names, redo = session.names(plan.records), plan.options.existing == "redo"
            known = records.find(plan.records, identity, names, plan.labels, replacing=redo)
            work = Work(place, plan, identity, None if redo else known)
        except Exception as error:
            fail(place, error)
            continue
        if work.lacks:
            works.append(work)
        elif work.known:
            count(place)
            outcomes[place].records.append(work.known)
            happened("record", name, jobs=jobs[place], record=work.known.name, measured=False)
            say(f"{titles[place]}: has a record, skipped (existing=redo measures it again)")
        else:
            count(place)
            outcomes[place].absent.append(name)
            say(f"{titles[place]}: has no record to which time could be added")
    for family in families([work.plan.detector for work in works]):
        at(name, [number for i in family for number in jobs[works[i].place]])
        evaluate([works[i] for i in family], category, session, done, fail)


def _in_words(record: Record) -> str:
    """The metrics of a record in a line."""
    shown = {"image AUROC": "image_auroc", "pixel AUROC": "pixel_auroc"}
    values = {title: record.metrics.get(name) for title, name in shown.items()}
    words = [f"{title} {100 * v:.2f}" for title, v in values.items() if v is not None]
    return (", ".join(words) or "scored") + _left_out(record)


def _left_out(record: Record) -> str:
    """How much of the images and of their masks the geometry left out; empty for nothing."""
    shares = {"area": "the image area", "marked": "the marked pixels"}
    found = {title: record.left_out.get(name) or 0.0 for name, title in shares.items()}
    words = [f"{100 * share:.0f}% of {title}" for title, share in found.items() if share >= 0.005]
    return f"; the crop leaves out {' and '.join(words)}" if words else ""


def message_of(error: Exception, results: Path) -> str:
    """What to tell the user; an unforeseen error leaves its traceback in a file."""
    if isinstance(error, AdbenchError):
        return str(error)
    text = "".join(traceback.format_exception(error))
    line = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    try:
        path = results / "errors.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"{text}\n")
    except OSError:
        log.warning("%s", text)
        return line
    return f"{line}; {path} holds the traceback"
