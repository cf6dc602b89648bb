"""Logs the records of a folder of results, each once, and again only where it has changed."""

import importlib.util
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from filelock import FileLock

from adbench.config.quoting import quoted
from adbench.errors import AdbenchError
from adbench.results.names import id_of
from adbench.results.raw import RecordError
from adbench.results.reading import load
from adbench.results.records import record_names
from adbench.system.files import write_whole
from adbench.system.settings import digest
from adbench.system.waiting import turn
from adbench.tracking.entry import Entry, entry_of
from adbench.tracking.pictures import Pictures

Tool = Literal["mlflow", "wandb"]
TOOLS: tuple[str, ...] = get_args(Tool)
FOLDER = "tracking"
"""Below the folder of results: what was logged, and by default the trackers' own files."""
PROJECT = "adbench"
_AT_ONCE = 100
"""Records after which it is written down what was logged."""
_NEAR = ("sqlite:", "file:")
"""How the URIs of MLflow's stores begin that are files."""


class FailedError(AdbenchError):
    """A tracker failed at work. No record is lost, and the message names what logs the rest."""


class Tracker(Protocol):
    """A place where people keep their experiments."""

    def log(self, entry: Entry) -> bool:
        """Log an entry, or bring its run up to date; whether there was anything to do."""
        ...

    def held(self) -> set[str]:
        """The ids of the records that have a whole run there."""
        ...


@dataclass(frozen=True)
class Place:
    """Where records are logged. Raises AdbenchError where it cannot be such a place."""

    tool: Tool
    store: str | None = None
    """MLflow: the URI of its store; wandb: a folder; None: below the folder of results."""
    project: str = PROJECT
    """The name of MLflow's experiment, or of the project of Weights & Biases."""
    pictures: bool = False
    """Whether heat maps are logged too."""

    def __post_init__(self) -> None:
        if self.tool not in TOOLS:
            raise AdbenchError(f"tool={self.tool}: is {' or '.join(TOOLS)}")
        if not isinstance(self.pictures, bool):
            raise AdbenchError(f"pictures={self.pictures}: is true or false")
        _refuse_no_text("project", self.project)
        if self.store is not None:
            _refuse_no_text("store", self.store)
        if self.tool == "wandb" and self.store and "://" in self.store:
            raise AdbenchError(
                f"store={self.store}: is a folder for wandb; name one, and upload what is in it by "
                "`wandb sync`"
            )

    def tracker(self, folder: Path) -> Tracker:
        """The tracker, which keeps its files in a folder where ``store`` names no other place.

        Raises:
            AdbenchError: Its library is not installed.
        """
        require(self.tool)
        if self.tool == "mlflow":
            from adbench.tracking.mlflow import MlflowTracker

            return MlflowTracker(self.store, self.project, folder)
        from adbench.tracking.wandb import WandbTracker

        return WandbTracker(self.store, self.project, folder)

    @property
    def is_near(self) -> bool:
        """Whether the tracker can tell what it holds without a network."""
        return self.tool == "wandb" or self.store is None or self.store.startswith(_NEAR)

    def words(self, results: Path) -> str:
        """The command that logs a folder there."""
        own = {"store": self.store, "project": self.project, "pictures": self.pictures}
        usual = {"store": None, "project": PROJECT, "pictures": False}
        said = [f"{n}={str(v).lower() if n == 'pictures' else v}" for n, v in own.items()]
        given = [w for w, (n, v) in zip(said, own.items(), strict=True) if v != usual[n]]
        # Hydra reads the folder of results, and would take a comma in it for a list.
        folder = str(results)
        value = quoted(folder) if re.search(r"[^\w ./-]", folder) else folder
        return shlex.join(["adbench", "track", self.tool, f"results={value}", *given])


@dataclass
class Tracked:
    """What became of the records of a folder."""

    logged: int = 0
    known: int = 0
    """Those that had been logged as they are."""
    failures: dict[str, str] = field(default_factory=dict)
    """Name of a file -> why the record in it cannot be trusted."""


def _refuse_no_text(name: str, value: object) -> None:
    """Refuse what a callback of Hydra may be given, whose config has no types."""
    if isinstance(value, str) and value.strip():
        return
    shown = "null" if value is None else value
    raise AdbenchError(
        f"{name}={shown}: is no text; one that looks like a number is quoted twice, such as "
        f"\"{name}='5'\""
    )


def require(tool: str) -> None:
    """Refuse a tracker whose library is not installed. Raises AdbenchError."""
    # A folder of that name, which wandb makes, has a spec too, but no origin.
    if getattr(importlib.util.find_spec(tool), "origin", None) is None:
        raise AdbenchError(f"{tool}: not installed; run pip install 'adbench-vision[{tool}]'")


def track(results: Path, place: Place, tracker: Callable[[Path], Tracker] | None = None) -> Tracked:
    """Log the records of a folder of results that are not logged as they are.

    What was logged is written down below the folder, with the size and time of each record's file,
    so that of very many records only new ones are read. It is believed of the runs that the tracker
    still holds, or of all where only a server could tell. Without that file, the tracker tells.

    Args:
        results: The folder.
        place: Where they are logged.
        tracker: Gives the tracker for its folder; None: that of ``place``.

    Raises:
        AdbenchError: There are no records, the tracker is not installed, or the folder of results
            cannot be written.
        FailedError: The tracker fails.
    """
    records, folder = results / "records", results / FOLDER
    names = record_names(records)
    tracked = Tracked()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdbenchError(
            f"cannot write to {folder}: {error.strerror or error}; copy the records to a folder "
            "that can be written, and name it by results=DIR"
        ) from error
    try:
        ledger = _Ledger(folder / f"{place.tool}-{digest(vars(place), length=8)}.json")
        with turn(FileLock(folder / ".lock"), "logs records"):
            made = None
            ledger.read()
            if ledger.of and place.is_near:
                made = (tracker or place.tracker)(folder)
                ledger.keep(made.held())
            new = {n: state for n in names if (state := _state(records / n)) != ledger.of.get(n)}
            tracked.known = len(names) - len(new)
            if new:
                made = made or (tracker or place.tracker)(folder)
                _log(new, results, place, made, ledger, tracked)
    except AdbenchError:
        raise
    except Exception as error:  # what a tracker's library raises is not ours to foresee
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise FailedError(
            f"{place.tool}: {tracked.logged} of {len(names)} records were logged, then it failed: "
            f"{type(error).__name__}: {why}; the records are kept, and "
            f"`{place.words(results)}` logs the rest"
        ) from error
    return tracked


class _Ledger:
    """What was logged to one place: the name of each record's file -> its size and time."""

    def __init__(self, path: Path) -> None:
        self.path, self.of = path, dict[str, str]()

    def read(self) -> None:
        """Read it; one that is not there or is damaged is empty, and the tracker is asked."""
        try:
            content = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return
        self.of = content if isinstance(content, dict) else {}

    def keep(self, ids: set[str]) -> None:
        """Forget the records whose ids are not among these."""
        self.of = {name: state for name, state in self.of.items() if id_of(name) in ids}

    def write(self) -> None:
        write_whole(self.path, json.dumps(self.of, indent=0))


def _log(
    new: dict[str, str],
    results: Path,
    place: Place,
    tracker: Tracker,
    ledger: _Ledger,
    tracked: Tracked,
) -> None:
    pictures = Pictures(results) if place.pictures else None
    try:
        for count, (name, state) in enumerate(new.items(), 1):
            path = results / "records" / name
            try:
                record = load(path)
            except RecordError as error:
                tracked.failures[name] = str(error)
                continue
            drawn = pictures.of(record) if pictures is not None else []
            if tracker.log(entry_of(record, path, drawn)):
                tracked.logged += 1
            else:
                tracked.known += 1
            ledger.of[name] = state
            if count % _AT_ONCE == 0:
                ledger.write()
    finally:
        ledger.write()


def _state(path: Path) -> str:
    """The size and time of a file; empty where it has gone."""
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"
