"""The names of the files in a folder of records, read once and kept up to date by who writes."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adbench.results.raw import RecordError
from adbench.results.record import SCHEMA, identity_id, name_of

_NAME = re.compile(r"(?:.+-)?([0-9a-f]{16})\.json")
"""The name of a record's file; other files are not adbench's."""
_OLD_NAME = re.compile(r"[0-9a-f]{16}\.json")
"""The name of a record of schema 1."""


class Names:
    """Where the record of each experiment lies in a folder of many.

    The folder is read once. What this process writes is told to it by ``add``. What another process
    writes meanwhile is found where it has the name that this process would give it.

    Args:
        folder: The folder of records. There may be none.

    Attributes:
        folder: The same.
        old: The name of a record of schema 1; None where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old: str | None = None
        self._stems: dict[str, list[str]] = {}
        for name in json_names(folder):
            if id_ := id_of(name):
                self._stems.setdefault(id_, []).append(name.removesuffix(".json"))
                self.old = name if self.old is None and is_old(name) else self.old

    def paths(self, id_: str) -> list[Path]:
        """The files of a record: one, or several where presets were renamed."""
        return [self.folder / f"{stem}.json" for stem in sorted(self._stems.get(id_, ()))]

    def path(self, identity: dict[str, Any], labels: dict[str, str] | None) -> Path | None:
        """The file of the record of an experiment, or None.

        Args:
            identity: What was measured.
            labels: The presets of who asks, under which another process may have written it by now.
        """
        known = next((p for p in self.paths(identity_id(identity)) if p.exists()), None)
        if known is not None or labels is None:
            return known
        own = self.folder / f"{name_of(identity, labels)}.json"
        return own if own.exists() else None

    def add(self, path: Path, id_: str) -> None:
        """Note that the record of an experiment lies in this file alone."""
        self._stems[id_] = [path.stem]


def json_names(folder: Path) -> Iterator[str]:
    """The names of the JSON files of a folder; none where there is no such folder.

    Raises:
        RecordError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as files:
            for file in files:
                if file.name.endswith(".json"):
                    yield file.name
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: OSError) -> RecordError:
    """What is said of a folder of records that cannot be read."""
    why = error.strerror or error
    return RecordError(f"cannot read the records in {folder}: {why}; set results=DIR")


def id_of(name: str) -> str:
    """The id in the name of a record's file; empty where it is not the name of one."""
    found = _NAME.fullmatch(name)
    return found[1] if found else ""


def is_old(name: str) -> bool:
    """Whether a file has the name that records of schema 1 had."""
    return _OLD_NAME.fullmatch(name) is not None


def old_error(path: Path) -> RecordError:
    """What is said of a record of schema 1."""
    folder = path.parent.parent if path.parent.name == "records" else path.parent
    return RecordError(
        f"{path}: schema 1, this adbench reads {SCHEMA}; "
        f"run `adbench migrate results={folder}`, which carries the records over"
    )
