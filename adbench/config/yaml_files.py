"""YAML files of the user, read with errors that name the file and the line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adbench.config.explain import in_yaml
from adbench.errors import AdbenchError


def check_folder(folder: Path, ours: Path) -> None:
    """Refuse a folder that is not there, or that hides a file of ours.

    Raises:
        AdbenchError: Names the folder or the file.
    """
    if not folder.is_dir():
        raise AdbenchError(f"--config-dir {folder}: there is no such folder")
    for file in sorted(folder.rglob("*.yaml")):
        if (ours / file.relative_to(folder)).is_file():
            raise AdbenchError(
                f"{file}: adbench has a file of this name, which would be read in its place; "
                "give yours another name"
            )


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; empty where there is none.

    Raises:
        AdbenchError: Names the file and the line.
    """
    try:
        return OmegaConf.load(path) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise AdbenchError(in_yaml(error)) from error
    except (OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise AdbenchError(f"{path}: cannot be read: {error}") from error


def unreadable(folders: Iterable[Path], error: Exception) -> str:
    """Which file cannot be read; Hydra does not tell."""
    for file in (file for folder in folders for file in sorted(folder.rglob("*.yaml"))):
        try:
            file.read_text("utf-8")
        except UnicodeDecodeError:
            return f"{file}: not a text in UTF-8"
        except OSError as of_file:
            return f"{file}: cannot be read: {of_file.strerror}"
    return str(error)
