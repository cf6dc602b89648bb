"""Logs the records of a run or a sweep at its end, as a callback of Hydra (hydra.cc, "Callbacks").

Hydra calls it in the process in which the command was typed, whatever the launcher.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from adbench.errors import AdbenchError
from adbench.results.records import present
from adbench.system.files import expanded
from adbench.tracking.track import PROJECT, Place, Tool, track

_failures: ContextVar[list[str] | None] = ContextVar("failures", default=None)


class Track(Callback):
    """Logs what the folder of results holds.

    Args:
        tool: mlflow or wandb.
        store: Where, see ``Place``.
        project: The name of MLflow's experiment, or of the project of Weights & Biases.
        pictures: Whether heat maps are logged too.
    """

    def __init__(
        self, tool: Tool, store: str | None = None, project: str = PROJECT, pictures: bool = False
    ) -> None:
        self._place = Place(tool, store, project, pictures)
        self._folders: set[Path] = set()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note the folder of results of a job."""
        if results := config.get("results"):
            self._folders.add(expanded(str(results)))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Log at the end of a run."""
        self._log()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Log at the end of a sweep."""
        self._log()

    def _log(self) -> None:
        """Log every folder; Hydra would make a failure a mere warning, so it is noted."""
        noted = _failures.get()
        for results in sorted(self._folders):
            if not present(results / "records"):
                continue
            try:
                tracked = track(results, self._place)
            except AdbenchError as error:
                if noted is None:
                    raise
                noted.append(str(error))
            else:
                if noted is not None:
                    noted.extend(tracked.failures.values())


@contextmanager
def failures() -> Iterator[list[str]]:
    """A block that learns what its callbacks could not log, which costs no record."""
    noted: list[str] = []
    token = _failures.set(noted)
    try:
        yield noted
    finally:
        _failures.reset(token)
