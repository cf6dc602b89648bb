"""The launchers of sweeps (hydra.cc, "Launcher plugins"), which know all jobs at once.

Hydra hands its own list of jobs to a launcher. These build the plans of all jobs before the first
one starts, let them be done together, in this process or in bundles by another launcher, and then
let Hydra go through the jobs to report each.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from adbench.bench.plan import Plan
from adbench.bench.run import Outcome
from adbench.cli.bundles import BundleTask, measured
from adbench.cli.job import Task, measure
from adbench.config.quoting import parse
from adbench.errors import AdbenchError

NAMESPACE = "hydra_plugins.adbench"
"""Hydra accepts launchers and sweepers of this namespace alone; the configs name them by it."""

Report = Callable[[int, Sequence[str]], float | None]


class SharedLauncher(Launcher):
    """Runs all jobs of a sweep together, so that they share what several of them need."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives before the sweep is known."""
        if not isinstance(task_function, Task):
            raise TypeError("hydra/launcher=shared launches the jobs of `adbench run` alone")
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Run the jobs; those whose settings contradict each other fail alone."""
        setup_globals()
        plans = {}
        errors = {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            try:
                plans[number] = self.task.planned(overrides)
            except AdbenchError as error:
                errors[number] = error
        outcomes = self.measured(plans, dict(enumerate(map(list, job_overrides), initial_job_idx)))

        def report(number: int, overrides: Sequence[str]) -> float | None:
            if number in errors:
                self.task.refuse(errors[number], number, overrides)
                return None
            return self.task.report(plans[number], outcomes[number], number, overrides)

        return [
            self._returned(number, list(overrides), report)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]

    def measured(
        self, plans: Mapping[int, Plan], overrides: Mapping[int, list[str]]
    ) -> dict[int, Outcome]:
        """What became of each job, by its number."""
        fresh, self.task.fresh = self.task.fresh, False
        outcomes = measure(list(plans.values()), fresh, list(plans))
        return dict(zip(plans, outcomes, strict=True))

    def _returned(self, number: int, overrides: list[str], report: Report) -> JobReturn:
        """Let Hydra run a job that only reports, for its callbacks and what it returns."""
        return run_job(
            hydra_context=self.context,
            task_function=lambda config: report(number, overrides),
            config=self._job_config(number, overrides),
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _job_config(self, number: int, overrides: list[str]) -> DictConfig:
        """The config of a job with Hydra's own node.

        Hydra's loader would read all its own files again for each job, which takes longer than
        many a job that shares the work of others.
        """
        try:
            config = copy.deepcopy(self.task.configs.compose(overrides))
        except AdbenchError:  # the job fails for that, and is reported all the same
            config = OmegaConf.create()
        with read_write(config), open_dict(config):
            config.hydra = copy.deepcopy(self.config.hydra)
            job = config.hydra.job
            job.id, job.num = str(number), number
            config.hydra.overrides.task = overrides
            parsed = [parse(word) for word in overrides]
            names = job.config.override_dirname
            job.override_dirname = get_overrides_dirname(
                parsed, names.exclude_keys, names.item_sep, names.kv_sep
            )
            choices = config.hydra.runtime.choices
            chosen = {o.key_or_group: o.value() for o in parsed if o.key_or_group in choices}
            choices.update(chosen)
        OmegaConf.copy_cache(from_config=self.config, to_config=config)
        return config


class BundledLauncher(SharedLauncher):
    """Lets another launcher do the jobs of a sweep in bundles that share what is computed once.

    Args:
        inner: A launcher that runs jobs side by side.
    """

    def __init__(self, inner: Launcher) -> None:
        self.inner, self.handed = inner, 0

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives; the other launcher gets bundles for its jobs."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.task.folder is not None
        self.folder = self.task.folder / "bundles"
        # A job of the other launcher is none of Hydra's: callbacks hear of those of the sweep.
        context = HydraContext(hydra_context.config_loader, Callbacks())
        task = BundleTask(self.task.configs, self.folder)
        self.inner.setup(hydra_context=context, task_function=task, config=config)

    def measured(
        self, plans: Mapping[int, Plan], overrides: Mapping[int, list[str]]
    ) -> dict[int, Outcome]:
        """What became of each job, by its number."""
        split, first = self.task.split, self.handed
        outcomes, count = measured(self.inner, self.folder, plans, overrides, split, first)
        self.handed += count
        return outcomes


class SharedSweeper(BasicSweeper):
    """Hydra's basic sweeper, but the launcher checks the jobs, and gets them in bundles."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives before the sweep is known."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        in_turn = isinstance(self.launcher, BasicLauncher | SharedLauncher)
        if isinstance(task_function, Task) and task_function.folder is not None and not in_turn:
            self.launcher = BundledLauncher(self.launcher)
            self.launcher.setup(
                hydra_context=hydra_context, task_function=task_function, config=config
            )

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the check to the launcher, which lets other jobs go on."""


def register() -> None:
    """Make the launcher and the sweeper known to Hydra in this process."""
    for plugin in (SharedLauncher, SharedSweeper):
        Plugins.instance().class_name_to_class[f"{NAMESPACE}.{plugin.__name__}"] = plugin
