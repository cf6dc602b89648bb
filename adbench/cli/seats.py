"""How many bundles a launcher has room for at a time, and how many threads each may use."""

import shutil
from dataclasses import dataclass

from hydra.plugins.launcher import Launcher

from adbench.errors import AdbenchError
from adbench.system.processors import processors


@dataclass(frozen=True)
class Seats:
    """What a launcher has room for."""

    together: int
    """Bundles at a time."""
    threads: int | None = None
    """Of each; None: it learns them from the launcher's variables and limits."""
    apart: bool = False
    """Whether bundles are launched one by one; they have screens of their own, which are files."""


def seats_of(launcher: Launcher, count: int) -> Seats:
    """What a launcher has room for, where ``count`` bundles wait.

    Raises:
        AdbenchError: It hands jobs to Slurm, and there is none on this machine; or its settings
            leave room for no bundle.
    """
    kind, own = type(launcher).__name__, vars(launcher)
    if kind == "SlurmLauncher":
        if shutil.which("srun") is None:
            raise AdbenchError(
                "hydra/launcher=slurm: this machine has no srun; type the command where jobs are "
                "submitted, or try it here with hydra/launcher=slurm_local"
            )
        together = own["params"]["array_parallelism"]
        if together < 1:
            raise AdbenchError(
                f"hydra.launcher.array_parallelism={together}: is how many jobs are in the queue "
                "at a time, 1 or more"
            )
        return Seats(together, apart=True)
    if kind == "LocalLauncher":
        threads = own["params"].get("cpus_per_task") or 1
        return Seats(max(1, processors() // threads), threads, apart=True)
    if kind == "JoblibLauncher":
        from joblib import effective_n_jobs

        if own["joblib"]["n_jobs"] == 0:
            raise AdbenchError(
                "hydra.launcher.n_jobs=0: is a number of processes, or -1 for as many as there are "
                "processors"
            )
        # joblib divides the processors by n_jobs, however few jobs there are.
        own["joblib"]["n_jobs"] = min(effective_n_jobs(own["joblib"]["n_jobs"]), count)
    return Seats(count)
