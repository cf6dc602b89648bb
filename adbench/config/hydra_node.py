"""What a config may tell Hydra to build: classes of known packages, and loggers that only log.

Hydra builds its callbacks, launcher, sweeper and loggers from the composed config before any job
starts. A config file can come from somebody else, so that every class in it is checked here first.
"""

import importlib.util
import re
import warnings
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from adbench.config.interpolation import leaves, referred, refuse_unknown
from adbench.config.targets import PLUGINS, class_at, registered
from adbench.errors import AdbenchError

_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
"""Hydra builds launchers and sweepers of these packages alone, from its own list of plugins."""
_PARTS = (*_PLUGINS, "hydra.experimental.", "optuna.samplers.", "optuna.pruners.")
"""Packages of Hydra's callbacks, and of what its launchers and sweepers are made of."""
_BY_NAME = ("hydra.launcher._target_", "hydra.sweeper._target_")
_EXTRAS = {
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.hydra_submitit_launcher": "slurm",
    "hydra_plugins.hydra_ray_launcher": "ray",
}
"""Packages of launchers that have a preset, and the extras that bring them."""
_TRACK = "adbench.tracking.callback.Track"
"""The callback that logs records; its tool is a package, and an extra of the same name."""
_LOGGERS = ("hydra.job_logging", "hydra.hydra_logging")
_LOGGING = (
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.Formatter",
    "colorlog.ColoredFormatter",
)
_VARIABLE = re.compile(r"hydra\.job\.env_set\.(\w+_NUM_THREADS|CUDA_VISIBLE_DEVICES)")
"""Variables that a job may have set; others, such as PATH, decide which programs are run."""
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, of which no config leaves unchecked; other processes get it too."""

    def load_configuration(self, *given: Any, **options: Any) -> DictConfig:
        """The composed config; raises AdbenchError where it would build something foreign."""
        config = super().load_configuration(*given, **options)
        refuse_foreign(config)
        _refuse_missing(config)
        return config

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        with warnings.catch_warnings():
            # A preset of a launcher has the name of the plugin's own, whose settings it takes over.
            warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated", UserWarning)
            return super()._load_single_config(default, repo)


def refuse_foreign(config: DictConfig) -> None:
    """Refuse a composed config that would have Hydra build a class of an unknown package.

    Raises:
        AdbenchError: Names the key and what may stand there.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    if not isinstance(raw, dict):
        return
    refuse_unknown(raw)
    for place, value in leaves({"hydra": raw.get("hydra", {})}):
        key = ".".join(map(str, place))
        if any(isinstance(found, dict | list) for _, found in referred(value, place, raw)):
            raise AdbenchError(f"{key}: got {value!r}; write out here what it refers to")
        if place[-1] == "_target_":
            _refuse_target(key, str(value))
        elif key.startswith(_LOGGERS):
            _refuse_logging(key, str(place[-1]), value)
        elif key.startswith("hydra.job.env_set.") and not _VARIABLE.fullmatch(key):
            raise AdbenchError(f"{key}: got {value!r}; set this variable in the shell instead")


def _refuse_target(key: str, target: str) -> None:
    if key in _BY_NAME:
        allowed = target.startswith(_PLUGINS)
    else:
        allowed = target.startswith(_PARTS) or registered(target)
    if not allowed:
        raise AdbenchError(
            f"{key}: got {target!r}; Hydra builds only classes of adbench, of its launchers and "
            f"sweepers and of packages with an entry point of the group {PLUGINS}"
        )
    if key not in _BY_NAME:
        class_at(target, key)


def _refuse_missing(config: DictConfig) -> None:
    """Refuse a launcher or a tracker that has a preset and is not installed."""
    target = str(OmegaConf.select(config, "hydra.launcher._target_"))
    for package, extra in _EXTRAS.items():
        if target.startswith(f"{package}.") and not _installed(package):
            raise AdbenchError(
                f"{package.rpartition('.')[2]}: not installed; "
                f"run pip install 'adbench-vision[{extra}]'"
            )
    callbacks = OmegaConf.select(config, "hydra.callbacks") or {}
    for callback in callbacks.values():
        tool = str(callback.get("tool"))
        if callback.get("_target_") == _TRACK and not _installed(tool):
            raise AdbenchError(f"{tool}: not installed; run pip install 'adbench-vision[{tool}]'")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # no plugin of Hydra is installed at all
        return False


def _refuse_logging(key: str, name: str, value: Any) -> None:
    text = str(value)
    if name in ("()", "class") and text not in _LOGGING:
        raise AdbenchError(f"{key}: got {text!r}; a logger may use {', '.join(_LOGGING)}")
    if text.startswith("ext:") and text not in _STREAMS:
        raise AdbenchError(f"{key}: got {text!r}; a logger may use {', '.join(_STREAMS)}")
    if name == "filename" and not text.endswith(".log"):
        raise AdbenchError(f"{key}: got {text!r}; a logger writes to a file that ends in .log")
