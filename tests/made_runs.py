"""Plans and runs for tests, from the words of ``adbench run``."""

from adbench.bench.plan import plan
from adbench.bench.run import run
from adbench.bench.session import Session
from adbench.config.build import build
from adbench.config.compose import Configs
from adbench.detectors.detector import MakesDetector

CONFIGS = Configs()
METHODS = [
    name
    for name in CONFIGS.choices("method")
    if not isinstance(build(CONFIGS.compose([f"method={name}"]).method, "method"), MakesDetector)
]
"""The presets of methods on features; those of systems that train on images are left out."""
QUICK = ("timing.enabled=false", "heatmaps=0")


def plans(folder, *jobs, common=()):
    """One plan per job, a job being words in one string; results and cache go to ``folder``."""
    places = [f"results={folder}", f"cache={folder / 'cache'}"]
    configs = Configs()
    return [plan(configs.compose([*QUICK, *places, *common, *job.split()])) for job in jobs]


def run_jobs(folder, *jobs, common=(), say=lambda line: None):
    """The outcomes of jobs that run together in one session."""
    return run(Session(plans(folder, *jobs, common=common)), say)
