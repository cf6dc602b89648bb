"""What is known of the archive in which a dataset is given out."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Archive:
    """The file that ``adbench data prepare`` unpacks."""

    source: str
    """Where it comes from, and under which licence."""
    holds: str
    """A pattern of paths that the dataset's folder holds, by which it is found in the archive."""
    sha256: str | None = None
    """Of the whole archive, as anomalib's downloads verify it; None where none is known."""


@runtime_checkable
class Archived(Protocol):
    """A dataset that lies in one folder and is given out as an archive."""

    archive: Archive
    root: str
    """The folder."""
