"""Configs: the YAML files of adbench and of the user, composed with Hydra (hydra.cc)."""

import copy
import pickle
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import adbench
from adbench.config.explain import explain, unknown_choice
from adbench.config.hydra_node import CheckedLoader, refuse_foreign
from adbench.config.quoting import parse, quoted, readable
from adbench.config.yaml_files import CIRCLE, check_folder, read_yaml, unreadable
from adbench.errors import AdbenchError
from adbench.system.files import expanded

_IS_NO_TEXT = re.compile(r"@package|\S+\.ya?ml$")
PRIMARY = "run"
RENAMED = "renamed.yaml"


def config_folder() -> Path:
    """The folder of adbench's configs: inside the package in a wheel, beside it in a checkout."""
    package = Path(adbench.__file__).resolve().parent
    inside, beside = package / "configs", package.parent / "configs"
    return inside if inside.is_dir() else beside


class Configs:
    """The config files of adbench, and those of the user's folders, which are searched after them.

    It keeps what it has read and composed, so that a table of many rows composes quickly.

    Args:
        folders: Folders with the layout of ``configs``, as given by ``--config-dir``.

    Raises:
        AdbenchError: A folder does not exist, or a file in it has the name of one of adbench's.
    """

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        self.user_folders = tuple(expanded(folder).absolute() for folder in folders)
        self.folders = (config_folder(), *self.user_folders)
        for folder in self.user_folders:
            check_folder(folder, config_folder())
        self._renamed = read_yaml(config_folder() / RENAMED)
        search = create_config_search_path(str(config_folder()))
        self._search_path = _extended(search, self.user_folders)
        self.loader = _Loader(self._search_path)
        self._repository = _RunAlone(self.loader.repository)
        self._bases: dict[tuple[str, ...], bytes] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._current: dict[str, str] = {}
        self._parsed: dict[str, tuple[Override, bool]] = {}

    def __reduce__(self) -> tuple[type["Configs"], tuple[tuple[Path, ...]]]:
        return Configs, (self.user_folders,)  # another process composes anew

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of ``adbench run`` with these overrides, read-only.

        Raises:
            AdbenchError: Names the override or the file that is wrong.
        """
        words = tuple(self.current_words(overrides))
        if words not in self._composed:
            try:
                config = self._compose(words)
                _refuse_unresolved(config, words)
            except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
                why = explain(error, words, self.known, self.compose)
                raise AdbenchError(why) from error
            except (UnicodeDecodeError, OSError) as error:
                raise AdbenchError(unreadable(self.user_folders, error)) from error
            except RecursionError:
                raise AdbenchError(CIRCLE) from None
            OmegaConf.set_readonly(config, True)
            self._composed[words] = config
        return self._composed[words]

    def choices(self, group: str) -> list[str]:
        """The names of the presets of a group, such as ``method``."""
        return sorted({path.stem for f in self.folders for path in (f / group).glob("*.yaml")})

    def path(self, group: str, choice: str) -> Path:
        """The file of a preset.

        Raises:
            AdbenchError: There is no such preset; names the nearest ones.
        """
        name = self.current(group, choice)
        for folder in self.folders:
            if (file := folder / group / f"{name}.yaml").is_file():
                return file
        raise AdbenchError(unknown_choice(group, choice, self.choices(group)))

    def read(self, group: str, choice: str) -> DictConfig:
        """The content of a preset's file as it stands, without its defaults list composed."""
        return DictConfig(read_yaml(self.path(group, choice)))

    def describe(self, group: str, choice: str) -> str:
        """The first comment line of a preset that tells what it is.

        It is neither Hydra's own ``@package`` nor the name of the file.
        """
        lines = self.path(group, choice).read_text("utf-8", errors="replace").splitlines()
        comments = (line.lstrip("# ") for line in lines if line.startswith("#"))
        return next((c for c in comments if c and not _IS_NO_TEXT.match(c)), "")

    def current(self, group: str, choice: str) -> str:
        """The present name of a preset, where ``choice`` is the name of an earlier version."""
        return str(self._renamed.get(group, {}).get(choice, choice))

    def current_words(self, words: Sequence[str]) -> list[str]:
        """The words as Hydra reads them, with the names of earlier versions replaced.

        The values of a sweep are replaced too.
        """
        for word in words:
            if word not in self._current:  # jobs of a sweep have most words in common
                self._current[word] = self._current_word(readable([word])[0])
        return [self._current[word] for word in words]

    def searchpath(self) -> list[str]:
        """The override by which Hydra finds the user's folders; none where there are no folders."""
        places = [quoted(f"file://{folder}") for folder in self.user_folders]
        return [f"hydra.searchpath=[{','.join(places)}]"] if places else []

    def known(self, group: str) -> list[str]:
        """The choices of any group, those of Hydra included."""
        return self.loader.repository.get_group_options(group)

    def _current_word(self, word: str) -> str:
        group, equals, value = word.partition("=")
        if group.lstrip("+") not in self._renamed:
            return word
        names = [self.current(group.lstrip("+"), name.strip()) for name in value.split(",")]
        return f"{group}{equals}{','.join(names)}"

    def _compose(self, words: tuple[str, ...]) -> DictConfig:
        if any(word.lstrip("+~").startswith(("hydra.", "hydra/")) for word in words):
            config = self.loader.load_configuration(PRIMARY, list(words), RunMode.RUN, False)
            with open_dict(config):
                del config["hydra"]
            return config
        parsed = [self._parse(word) for word in words]
        overrides = [override for override, _ in parsed]
        ConfigLoaderImpl.validate_sweep_overrides_legal(overrides, RunMode.RUN, from_shell=False)
        chosen = [override for override, chooses in parsed if chooses]
        _refuse_no_name(chosen)
        config = self._base(chosen)
        values = [override for override, chooses in parsed if not chooses]
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return config

    def _parse(self, word: str) -> tuple[Override, bool]:
        """An override, and whether it chooses a preset."""
        if word not in self._parsed:
            override = parse(word)
            chooses = self._repository.group_exists(override.key_or_group)
            self._parsed[word] = override, chooses
        return self._parsed[word]

    def _base(self, chosen: list[Override]) -> DictConfig:
        """A config of chosen presets that is the caller's own; many jobs often choose the same."""
        key = tuple(str(override.input_line) for override in chosen)
        if key not in self._bases:
            found = create_defaults_list(self._repository, PRIMARY, chosen, False, False)
            base = self.loader._compose_config_from_defaults_list(found.defaults, self._repository)
            refuse_foreign(base)
            base.pop("hydra", None)
            OmegaConf.set_struct(base, True)
            ConfigLoaderImpl._apply_overrides_to_config(found.config_overrides, base)
            self._bases[key] = pickle.dumps(base)
        config: DictConfig = pickle.loads(self._bases[key])  # a ninth of the time of deepcopy
        return config


class _RunAlone(CachingConfigRepository):
    """The files of a run without Hydra's own, which take most of the time of composing."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        found = super().load_config(config_path)
        if found is None:
            return None
        own = copy.copy(found)  # composing changes the lists, and the config in the loader alone
        own.defaults_list = [copy.copy(d) for d in found.defaults_list or [] if not _is_hydras(d)]
        return own


class _Loader(CheckedLoader):
    """Composes from copies, so that the files that are kept stay as they were read."""

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        own = copy.copy(super()._load_single_config(default, repo))
        own.config = copy.deepcopy(own.config)
        return own


def _is_hydras(default: Any) -> bool:
    return isinstance(default, GroupDefault) and str(default.group).startswith("hydra/")


def _extended(search: ConfigSearchPath, folders: Sequence[Path]) -> ConfigSearchPath:
    """Hydra's search path with the user's folders before its last entry, which must stay last."""
    last = search.get_path().pop()
    for folder in folders:
        search.append("command-line", f"file://{folder}")
    search.get_path().append(last)
    return search


def _refuse_no_name(chosen: Iterable[Override]) -> None:
    """Refuse a choice that is not the name of a preset; an experiment may be none, or several."""
    for override in chosen:
        value, group = override.value(), override.key_or_group
        if not isinstance(value, str) and group != "experiment" and not override.is_delete():
            raise AdbenchError(f"{override.input_line}: {group} takes the name of one preset")


def _refuse_unresolved(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse settings that nothing reads, and interpolations in words that lead nowhere."""
    if config.get("experiment") is not None:
        raise AdbenchError(
            f"experiment: nothing reads {', '.join(map(str, config.experiment))} below it; leave "
            "'experiment.' out of a word, or begin the file with '# @package _global_'"
        )
    computed = [word for word in words if "${" in word]
    if computed:
        refuse_foreign(config)
    for word in computed:
        key = word.partition("=")[0].lstrip("+~")
        OmegaConf.select(config, key, throw_on_resolution_failure=True)
