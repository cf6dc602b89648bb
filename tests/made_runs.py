"""Plans and runs for tests, from the words of ``adbench run``."""

from adbench.bench.plan import plan
from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.config.compose import Configs

QUICK = ("timing.enabled=false", "heatmaps=0")


def plans(folder, *jobs, common=()):
    """One plan per job, a job being words in one string; results and cache go to ``folder``."""
    places = [f"results={folder}", f"cache={folder / 'cache'}"]
    configs = Configs()
    return [plan(configs.compose([*QUICK, *places, *common, *job.split()])) for job in jobs]


def run_jobs(folder, *jobs, common=(), say=lambda line: None):
    """The outcomes of jobs that run together in one session."""
    return run(Session(plans(folder, *jobs, common=common)), say)
