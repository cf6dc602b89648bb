"""The command line: from words to the file of a command, which is imported only then."""

import argparse
import errno
import importlib
import itertools
import logging
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import adbench
from adbench.cli.process import (
    FOLDER_FLAGS,
    Ended,
    ended_by_signals,
    give_up_streams,
    log_handler,
    prepare_streams,
    refuse_progress,
    refuse_replaced,
    refuse_unreadable,
    take_progress,
)
from adbench.cli.screen import complain, say_aside
from adbench.cli.words import EXIT_STATUSES, Parser
from adbench.errors import AdbenchError
from adbench.system.events import events_on

if TYPE_CHECKING:
    from adbench.config.compose import Configs

COMMANDS = {
    "run": "measure a method on a dataset through a backbone: run [key=value ...] [-m]",
    "fit": "learn from all normal images of a category, and write one file: "
    "fit [key=value ...] out=FILE.safetensors",
    "predict": "scores and decisions of images by a saved detector: predict FILE PATH...",
    "export": "a saved detector as an ONNX graph with the same scores: "
    "export FILE.safetensors FILE.onnx",
    "show": "what a saved detector says of itself: show FILE [--json]",
    "score": "exact metrics and records for the maps and scores of any other tool: "
    "score FOLDER dataset=NAME name=TOOL version=V",
    "plan": "what a run, a sweep or a table will take, before anything runs: jobs, what is there, "
    "disk, memory and hours: plan [TABLE] [key=value ...] [-m] [--nodes N] [--check]",
    "reproduce": "run what a published table lacks, build it, compare: "
    "reproduce TABLE [key=value ...]",
    "table": "build published tables from records alone: table TABLE|all [key=value ...]",
    "compare": "settings on the same test images, paired, each against the first: "
    "compare 'method=padim' 'method=padim_jl' ... [results=DIR]",
    "claims": "what the reports conclude, beside what was measured: claims [key=value ...]",
    "plot": "speed against accuracy, ROC and PR curves of settings, the curves of a sweep, or a "
    "published table: plot 'method=padim' 'method=crd' ... [results=DIR], plot sweep=DIR, "
    "plot --x method.ratio [key=value ...], plot table=NAME [key=value ...]",
    "report": "one HTML file to look at, mail and keep, of all records and pictures: "
    "report [results=DIR] [out=FILE.html] [pictures=N] [picture_size=PX] [limit=MB]",
    "data": "look at a dataset, or unpack its archive: data check [dataset=... dataset.root=...], "
    "data prepare NAME ARCHIVE [out=DIR] [sha256=HEX]",
    "track": "log the records to MLflow or Weights & Biases, each once: "
    "track mlflow|wandb [results=DIR] [store=URI] [project=NAME] [pictures=true]",
    "migrate": "carry the records of an earlier version over: migrate [results=DIR]",
    "cache": "where features and other results that can be made again are kept, and how large "
    "they are: cache [--clear]",
    "list": "what there is: list "
    "[datasets|geometries|backbones|methods|experiments|tables|metrics]",
}
LISTED = ("datasets", "geometries", "backbones", "methods", "experiments", "tables", "metrics")
_OWN_WORDS = ("run", "fit", "predict", "export", "score")
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_PIPE = 13
"""The number of SIGPIPE, which Windows lacks."""
_SWITCHES = ("--json", "--check", "--measured", "--dark", "-m", "--multirun")
_VALUED = ("--x", "--per", "--metric", "--format", "--nodes")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point.

    It exits with 0, with 1 where a category failed, with 2 where the words or settings are wrong.
    """
    prepare_streams()
    words, wanted = take_progress(list(sys.argv[1:] if argv is None else argv))
    try:
        with events_on(sys.stderr, wanted) as events:
            logging.basicConfig(level=logging.WARNING, handlers=[log_handler(events)])
            status = _status(words)
            if events:
                events.event("exit", status=status)
        sys.exit(status)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        give_up_streams()
        sys.exit(128 + _PIPE)


def _status(words: list[str]) -> int:
    """Run a command; the exit status."""
    try:
        refuse_replaced()
        with ended_by_signals():
            status = _dispatch(words)
            sys.stdout.flush()  # here, where a full disk can still be told
            return status
    except AdbenchError as error:
        return complain(error)
    except SystemExit as ended:
        return int(ended.code or 0)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        place = f"{error.filename}: " if error.filename else ""
        say_aside(f"{place}{error.strerror}; free some space, or name a folder that can be written")
        give_up_streams()
        return 1
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Ended) else signal.SIGINT
        what = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        # predict keeps nothing but its rows, and export nothing: they start anew
        anew = words[:1] in (["predict"], ["export"])
        again = "" if anew else "; the same command goes on where it stopped"
        say_aside(f"{what}{again}")
        return 128 + number


def _dispatch(words: list[str]) -> int:
    refuse_unreadable(words)
    words, folders = take_folders(words)
    if not words:
        words = ["--help"]
    if words[0] in ("--version", "-V"):
        print(_version())
        return 0
    refuse_progress(words)
    if words[0] in _OWN_WORDS:  # they read the rest themselves, --help included
        given = argparse.Namespace(command=words[0], words=words[1:])
    elif words and words[0] in ("-sc", "--shell-completion"):
        given = argparse.Namespace(command="completion", words=words)
    else:
        given = _parser().parse_args([*words[:1], *_flags_first(words[1:])])
    command = importlib.import_module(f"adbench.cli.{given.command}")
    return int(command.command(given, _configs(folders)))


def _flags_first(words: Sequence[str]) -> list[str]:
    """The words with the flags before the others, as argparse needs them; users need not."""
    flags: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word in _VALUED:
            flags += [word, *itertools.islice(remaining, 1)]
        else:
            (flags if word.partition("=")[0] in (*_SWITCHES, *_VALUED) else rest).append(word)
    return [*flags, *rest]


def take_folders(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without ``--config-dir DIR``, and the folders that it names."""
    rest: list[str] = []
    folders: list[str] = []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag not in FOLDER_FLAGS:
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


def _version() -> str:
    from adbench.system.origin import commit

    which = f"commit {found}" if (found := commit()) else "of an unknown commit"
    return f"adbench {adbench.__version__} (distribution {adbench.DISTRIBUTION}, {which})"


def _listed(word: str) -> str:
    """The presets of a group by the name of the group too: ``method`` for ``methods``."""
    plurals = {name.removesuffix("s"): name for name in LISTED} | {"geometry": "geometries"}
    return plurals.get(word, word)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="adbench",
        description=adbench.__doc__,
        epilog="Every command takes --config-dir DIR, a folder of your own presets and tables; it "
        f"may be given several times. {EXIT_STATUSES}.",
    )
    parser.add_argument("--version", "-V", action="store_true", help="the version and the commit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {
        name: commands.add_parser(name, help=t, description=t, epilog=EXIT_STATUSES)
        for name, t in COMMANDS.items()
    }
    of["reproduce"].add_argument("table")
    of["table"].add_argument("table")
    of["compare"].add_argument("words", nargs="+", metavar="SETTING")
    of["plot"].add_argument("words", nargs="*", metavar="SETTING")
    of["track"].add_argument("tool", metavar="mlflow|wandb")
    of["track"].add_argument("words", nargs="*", metavar="key=value")
    of["report"].add_argument("words", nargs="*", metavar="key=value")
    plan = of["plan"]
    plan.add_argument("words", nargs="*", metavar="TABLE|key=value")
    plan.add_argument("--multirun", "-m", action="store_true", help="every combination of values")
    plan.add_argument("--nodes", metavar="N", help="the hours on so many machines too")
    about = {
        "--x": "a setting for the axis, such as method.ratio; words are then key=value",
        "--per": "a setting, or category, with a panel for each of its values",
        "--metric": "a column of tables; may be given several times",
    }
    for flag, text in about.items():
        action = "append" if flag == "--metric" else "store"
        of["plot"].add_argument(flag, action=action, metavar="NAME", help=text)
    of["plot"].add_argument("--dark", action="store_true", help="on dark paper")
    of["plot"].add_argument("--format", default="png,svg", help="png, svg, pdf; several by commas")
    of["show"].add_argument("file", metavar="FILE")
    of["data"].add_argument("action", choices=["check", "prepare"])
    of["list"].add_argument("what", nargs="?", choices=LISTED, type=_listed)
    of["cache"].add_argument("--clear", action="store_true", help="delete what is listed")
    for name in ("reproduce", "table", "claims", "data", "migrate", "cache", "list"):
        of[name].add_argument("overrides", nargs="*", metavar="key=value")
    plan.add_argument(
        "--check", action="store_true", help="exit with 1 where disk or memory do not suffice"
    )
    for name in ("plan", "reproduce", "table", "compare", "claims", "list", "show"):
        of[name].add_argument(
            "--json", action="store_true", help="one JSON document on standard output"
        )
    for name in ("reproduce", "table"):
        of[name].add_argument(
            "--check",
            action="store_true",
            help="exit with 1 where a number is outside the band of the printed one, or none could "
            "be compared",
        )
        of[name].add_argument(
            "--measured", action="store_true", help="leave out what has no record"
        )
    return parser
