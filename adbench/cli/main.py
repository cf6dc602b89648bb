"""The command line: from words to the file of a command, which is imported only then."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import adbench
from adbench.errors import AdbenchError

if TYPE_CHECKING:
    from adbench.config.compose import Configs

COMMANDS = {
    "run": "measure a method on a dataset through a backbone: run [key=value ...] [-m]",
    "reproduce": "run what a published table lacks, build it, compare: "
    "reproduce TABLE [key=value ...]",
    "table": "build published tables from records alone: table TABLE|all [key=value ...]",
    "compare": "two settings on the same test images, paired: "
    "compare 'method=padim' 'method=padim_jl' [results=DIR]",
    "claims": "what the reports conclude, beside what was measured: claims [key=value ...]",
    "plot": "speed against accuracy, ROC and PR curves of settings: "
    "plot 'method=padim' 'method=crd' ... [--results DIR]",
    "data": "look at a dataset: data check [dataset=... dataset.root=...]",
    "migrate": "carry the records of an earlier version over: migrate [results=DIR]",
    "list": "what there is: list "
    "[datasets|geometries|backbones|methods|experiments|tables|metrics]",
}
LISTED = ("datasets", "geometries", "backbones", "methods", "experiments", "tables", "metrics")
_FOLDER_FLAGS = ("--config-dir", "-cd")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point.

    It exits with 0, with 1 where a category failed, with 2 where the words or settings are wrong.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        sys.exit(_dispatch(words))
    except AdbenchError as error:
        print(f"adbench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("adbench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _dispatch(words: list[str]) -> int:
    words, folders = take_folders(words)
    if words[:1] == ["run"]:  # Hydra reads the rest, its own flags and --help included
        given = argparse.Namespace(command="run", words=words[1:])
    elif words and words[0] in ("-sc", "--shell-completion"):
        given = argparse.Namespace(command="completion", words=words)
    else:
        given = _parser().parse_args(words)
    command = importlib.import_module(f"adbench.cli.{given.command}")
    return int(command.command(given, _configs(folders)))


def take_folders(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without ``--config-dir DIR``, and the folders that it names."""
    rest: list[str] = []
    folders: list[str] = []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag not in _FOLDER_FLAGS:
            rest.append(word)
            continue
        folder = value if equals else next(remaining, "")
        if not folder:
            raise AdbenchError(f"{word}: a folder must follow")
        folders.append(folder)
    return rest, folders


def _configs(folders: Sequence[str]) -> "Configs":
    """The config files of this process, handed to the command."""
    from adbench.config.compose import Configs

    return Configs(folders)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adbench",
        description=adbench.__doc__,
        epilog="Every command takes --config-dir DIR, a folder of your own presets and tables; it "
        "may be given several times.",
    )
    parser.add_argument("--version", action="version", version=f"adbench {adbench.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {name: commands.add_parser(name, help=t, description=t) for name, t in COMMANDS.items()}
    of["reproduce"].add_argument("table")
    of["table"].add_argument("table")
    of["compare"].add_argument("sides", nargs=2, metavar="SETTING")
    of["plot"].add_argument("sides", nargs="+", metavar="SETTING")
    of["plot"].add_argument("--results", default="runs", metavar="DIR")
    of["data"].add_argument("action", choices=["check"])
    of["list"].add_argument("what", nargs="?", choices=LISTED)
    for name in ("reproduce", "table", "compare", "claims", "data", "migrate", "list"):
        of[name].add_argument("overrides", nargs="*", metavar="key=value")
    return parser
