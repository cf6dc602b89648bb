"""Hydra's application for ``adbench run`` (hydra.cc, ``hydra.main``), with our own checks.

It differs in that every config passes through a loader that checks what would be built from it,
and that what is wrong is raised as one sentence.
"""

from argparse import Namespace
from collections.abc import Sequence

import yaml  # type: ignore[import-untyped]
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf.errors import OmegaConfBaseException

from adbench.cli.words import Parser
from adbench.config.compose import PRIMARY, Configs, config_folder
from adbench.config.explain import explain
from adbench.config.hydra_node import CheckedLoader
from adbench.config.quoting import parse
from adbench.config.yaml_files import CIRCLE
from adbench.errors import AdbenchError


def run_hydra(
    task: TaskFunction, configs: Configs, overrides: Sequence[str], flags: Sequence[str]
) -> None:
    """Let Hydra run jobs, or answer a question such as ``--help``.

    Args:
        task: Called with the composed config of every job.
        configs: The config files.
        overrides: What was typed, as Hydra reads it.
        flags: Those of Hydra, with their values.

    Raises:
        AdbenchError: A word or a config is wrong, or a launcher does not work here.
    """
    given = _parsed(flags)
    for word in overrides:
        parse(word)
    version.setbase("1.3")
    try:
        hydra = _hydra(given)
        _answer(hydra, given, list(overrides), task)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        why = explain(error, overrides, configs.known, configs.compose)
        raise AdbenchError(why) from error
    except RecursionError:
        raise AdbenchError(CIRCLE) from None
    finally:
        GlobalHydra.instance().clear()


def launcher_for(task: TaskFunction, configs: Configs, words: Sequence[str]) -> Launcher:
    """A launcher for jobs that come from somewhere else than a sweep of Hydra.

    Args:
        task: Called in the processes of the launcher.
        configs: The config files.
        words: ``hydra/launcher=NAME`` and the settings of it.

    Raises:
        AdbenchError: A word is wrong, or the launcher is not installed.
    """
    given = [*words, *configs.searchpath()]
    for word in given:
        parse(word)
    version.setbase("1.3")
    try:
        loader = CheckedLoader(create_config_search_path(str(config_folder())))
        config = loader.load_configuration(PRIMARY, given, RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        return Plugins.instance().instantiate_launcher(context, task, config)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise AdbenchError(explain(error, words, configs.known, configs.compose)) from error
    except RecursionError:
        raise AdbenchError(CIRCLE) from None


def _parsed(flags: Sequence[str]) -> Namespace:
    known = get_args_parser()
    given = Parser(prog="adbench run", parents=[known], add_help=False).parse_args(flags)
    if given.experimental_rerun is not None:
        raise AdbenchError(
            "--experimental-rerun: a pickled config would be run unchecked; type its words again"
        )
    modes = [given.run, given.multirun, given.cfg, given.info, given.shell_completion]
    if sum(bool(mode) for mode in modes) > 1:
        raise AdbenchError("only one of --run, --multirun, --cfg and --info can be given")
    if given.resolve and not (given.cfg or given.help):
        raise AdbenchError("--resolve goes with --cfg or --help alone")
    given.config_name = given.config_name or PRIMARY
    return given


def _hydra(given: Namespace) -> Hydra:
    search_path = create_config_search_path(given.config_path or str(config_folder()))
    hydra = Hydra("adbench", CheckedLoader(search_path))
    GlobalHydra.instance().initialize(hydra)
    return hydra


def _answer(hydra: Hydra, given: Namespace, overrides: list[str], task: TaskFunction) -> None:
    name = given.config_name
    given.overrides = overrides
    if given.help:
        hydra.app_help(config_name=name, args_parser=get_args_parser(), args=given)
    elif given.hydra_help:
        hydra.hydra_help(config_name=name, args_parser=get_args_parser(), args=given)
    elif given.cfg:
        hydra.show_cfg(name, overrides, given.cfg, given.package, given.resolve)
    elif given.info:
        hydra.show_info(given.info, config_name=name, overrides=overrides)
    else:
        _run(hydra, name, overrides, given.multirun, task)


def _run(hydra: Hydra, name: str, overrides: list[str], multirun: bool, task: TaskFunction) -> None:
    mode = hydra.get_mode(config_name=name, overrides=overrides)
    if multirun or mode == RunMode.MULTIRUN:
        try:
            hydra.multirun(name, task, [*overrides, "hydra.mode=MULTIRUN"])
        except (ImportError, RuntimeError) as error:
            raise AdbenchError(f"the launcher or the sweeper failed: {error}") from error
    else:
        hydra.run(name, task, [*overrides, "hydra.mode=RUN"])
