"""Composing configs with Hydra, from the command line or from code."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import adbench
from adbench.core import AdbenchError


def config_folder() -> Path:
    """The folder of configs: inside the package in a wheel, beside it in a checkout."""
    package = Path(adbench.__file__).resolve().parent
    inside, beside = package / "configs", package.parent / "configs"
    return inside if inside.is_dir() else beside


def choices(group: str) -> list[str]:
    """The names of the presets of a group, such as ``method``."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def compose(overrides: Sequence[str]) -> DictConfig:
    """The config of ``adbench run`` with these overrides. Raises AdbenchError naming the override that is wrong."""
    GlobalHydra.instance().clear()  # composing inside a Hydra job must not meet the job's own config
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3", job_name="adbench"):
            return hydra_compose("run", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise AdbenchError(str(error)) from error


def describe(group: str, choice: str) -> str:
    """The first comment line of a preset that is not Hydra's own ``@package``."""
    lines = (config_folder() / group / f"{choice}.yaml").read_text().splitlines()
    comments = (line.lstrip("# ") for line in lines if line.startswith("#"))
    return next((c for c in comments if not c.startswith("@package")), "")
