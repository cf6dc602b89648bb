"""Records as offline runs of Weights & Biases (docs.wandb.ai), which ``wandb sync`` uploads.

The run has the record's id. A file in its folder, written last, holds the project and the digest of
what was logged. A folder without it was left by a killed process; such a one, and one with another
digest, is removed and logged again.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adbench.system.files import expanded, write_whole
from adbench.tracking.entry import Entry

if TYPE_CHECKING:
    from wandb import Run

_DIGEST = "adbench.digest"


@dataclass
class WandbTracker:
    """Logs entries to a folder; nothing is sent.

    Args:
        store: The folder below which wandb makes its own folder ``wandb``; None: ``folder``.
        project: The name of the project.
        folder: Where offline runs go where no other folder is named.
    """

    store: str | None
    project: str
    folder: Path

    def __post_init__(self) -> None:
        # wandb would report its own errors over the network; it reads this when it is imported.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb = wandb
        self._root = expanded(self.store) if self.store else self.folder
        (self._root / "wandb").mkdir(parents=True, exist_ok=True)

    def log(self, entry: Entry) -> bool:
        """Log an entry, or log it again where it changed; whether there was anything to do."""
        for folder in sorted((self._root / "wandb").glob(f"offline-run-*-{entry.id}")):
            project, _, digest = _logged(folder).rpartition("\n")
            if digest and project != self.project:
                continue
            if digest == entry.digest:
                return False
            shutil.rmtree(folder)
        with _no_traceback_of_logs():
            self._write(entry)
        return True

    def _write(self, entry: Entry) -> None:
        run, exit_code = self._run(entry), 1
        try:  # as a context manager, the run would print the traceback of an error
            folder = Path(run.dir)
            run.log(entry.metrics)
            self._keep(run, entry.file, folder)
            for picture in entry.pictures:
                self._keep(run, picture, folder / "heatmaps")
            exit_code = 0
        finally:
            run.finish(exit_code)
        write_whole(folder.parent / _DIGEST, f"{self.project}\n{entry.digest}")

    def held(self) -> set[str]:
        """The ids of the records that have a whole run of the project in the folder."""
        return {
            folder.name.rpartition("-")[2]
            for folder in (self._root / "wandb").glob("offline-run-*")
            if _logged(folder).rpartition("\n")[0] == self.project
        }

    def _run(self, entry: Entry) -> "Run":
        settings = self._wandb.Settings(
            mode="offline",
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
        )
        return self._wandb.init(
            project=self.project,
            dir=str(self._root),
            id=entry.id,
            name=entry.name,
            group=entry.tags.get("adbench.method"),
            config={**entry.parameters, **entry.tags},
            settings=settings,
            reinit="create_new",
        )

    @staticmethod
    def _keep(run: "Run", file: Path, folder: Path) -> None:
        """Copy a file into the run, since it may change where it lies before it is uploaded."""
        folder.mkdir(exist_ok=True)
        copied = shutil.copy(file, folder)
        run.save(copied, base_path=run.dir, policy="now")


@contextmanager
def _no_traceback_of_logs() -> Iterator[None]:
    """A block in which ``logging`` prints nothing where wandb's own log meets a full disk."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _logged(folder: Path) -> str:
    """What the folder of a run says of itself; empty where nothing was written."""
    try:
        return (folder / _DIGEST).read_text(encoding="utf-8")
    except OSError:
        return ""
