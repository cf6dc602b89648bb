"""Records as runs of MLflow (mlflow.org), by its client.

A run is found by its tag ``adbench.record``. The tag ``adbench.digest`` is set last, so that a run
without it, or with another one, was left by a killed process or has changed, and is logged again.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adbench.tracking.entry import Entry

if TYPE_CHECKING:
    from mlflow.entities import Run

_RECORD, _DIGEST = "adbench.record", "adbench.digest"
_AT_ONCE = 100
"""The parameters and the tags that MLflow takes in one call."""
_A_PAGE = 1000
"""The runs that MLflow gives in one call."""


@dataclass
class MlflowTracker:
    """Logs entries to an experiment.

    Args:
        store: The URI of MLflow's store; None: a database of SQLite in ``folder``.
        project: The name of the experiment, which is made where there is none.
        folder: Where the files of the runs go in the second case.
    """

    store: str | None
    project: str
    folder: Path

    def __post_init__(self) -> None:
        # MLflow would report its use over the network; it reads this when it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # A server that does not answer is told within seconds, instead of minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient

        self.folder.mkdir(parents=True, exist_ok=True)
        uri = self.store or f"sqlite:///{self.folder.absolute() / 'mlflow.db'}"
        self._client: MlflowClient = MlflowClient(tracking_uri=uri)
        self._experiment = self._experiment_id()

    def log(self, entry: Entry) -> bool:
        """Log an entry, or bring its run up to date; whether there was anything to do."""
        known = self._known(entry.id)
        if known is not None and known.data.tags.get(_DIGEST) == entry.digest:
            return False
        run = self._new(entry) if known is None else known.info.run_id
        self._fill(run, entry)
        self._client.set_terminated(run)
        self._client.set_tag(run, _DIGEST, entry.digest)
        return True

    def held(self) -> set[str]:
        """The ids of the records that have a whole run in the experiment."""
        ids, token = set[str](), None
        while True:
            page = self._client.search_runs(
                [self._experiment], max_results=_A_PAGE, page_token=token
            )
            ids |= {run.data.tags.get(_RECORD, "") for run in page if _DIGEST in run.data.tags}
            token = page.token
            if not token:
                return ids

    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self.project)
        if known is not None:
            return str(known.experiment_id)
        place = (self.folder.absolute() / "mlflow").as_uri() if self.store is None else None
        return str(self._client.create_experiment(self.project, artifact_location=place))

    def _known(self, id_: str) -> "Run | None":
        query = f"tags.`{_RECORD}` = '{id_}'"
        return next(iter(self._client.search_runs([self._experiment], query)), None)

    def _new(self, entry: Entry) -> str:
        tags = {_RECORD: entry.id}
        run = self._client.create_run(self._experiment, tags=tags, run_name=entry.name)
        return str(run.info.run_id)

    def _fill(self, run: str, entry: Entry) -> None:
        """Log all but the digest; what is the same as before leaves no trace."""
        from mlflow.entities import Metric, Param, RunTag

        when = entry.milliseconds
        metrics = [Metric(name, value, when, 0) for name, value in entry.metrics.items()]
        parameters = [Param(name, value) for name, value in entry.parameters.items()]
        tags = [RunTag(name, value) for name, value in entry.tags.items()]
        self._client.log_batch(run, metrics=metrics, tags=tags)
        for start in range(0, len(parameters), _AT_ONCE):
            self._client.log_batch(run, params=parameters[start : start + _AT_ONCE])
        self._client.log_artifact(run, str(entry.file))
        for picture in entry.pictures:
            self._client.log_artifact(run, str(picture), "heatmaps")
