"""The command line: words to functions."""

import argparse
import datetime
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import adbench
from adbench.compose import choices, compose, config_folder, describe
from adbench.core import AdbenchError
from adbench.files import write_whole

if TYPE_CHECKING:
    from adbench.reports.tables import Table
    from adbench.run import Plan

GROUPS = {"datasets": "dataset", "geometries": "geometry", "backbones": "backbone", "methods": "method"}
LISTED = (*GROUPS, "experiments", "tables")
COMMANDS = {
    "run": "measure a method on a dataset through a backbone: run [key=value ...] [-m]",
    "reproduce": "run what a published table lacks, build it, compare: reproduce TABLE [key=value ...]",
    "table": "build published tables from records alone: table TABLE|all [key=value ...]",
    "compare": "two settings on the same test images, paired: compare 'method=padim' 'method=padim_jl' [results=DIR]",
    "claims": "what the reports conclude, beside what was measured: claims [key=value ...]",
    "plot": "speed against accuracy, ROC and PR curves of settings: plot 'method=padim' 'method=crd' ... [--results DIR]",
    "data": "look at a dataset: data check [dataset=... dataset.root=...]",
    "list": f"what there is: list [{'|'.join(LISTED)}]",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exits with 0, with 1 where a category failed, with 2 where the words or settings are wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
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
    if words[:1] == ["run"]:
        return _run(words[1:])
    if words and words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    parser = argparse.ArgumentParser(prog="adbench", description=adbench.__doc__)
    parser.add_argument("--version", action="version", version=f"adbench {adbench.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    of["reproduce"].add_argument("table")
    of["table"].add_argument("table")
    of["compare"].add_argument("sides", nargs=2, metavar="SETTING")
    of["plot"].add_argument("sides", nargs="+", metavar="SETTING")
    of["plot"].add_argument("--results", default="runs", metavar="DIR")
    of["data"].add_argument("action", choices=["check"])
    of["list"].add_argument("what", nargs="?", choices=LISTED)
    for name in ("reproduce", "table", "compare", "claims", "data", "list"):
        of[name].add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_args(words)
    match given.command:
        case "reproduce":
            return _reproduce(given.table, given.overrides)
        case "table":
            return _tables(choices("table") if given.table == "all" else [given.table], given.overrides)
        case "compare":
            return _compare(given.sides, given.overrides)
        case "claims":
            return _claims(given.overrides)
        case "plot":
            return _plot(given.sides, Path(given.results))
        case "data":
            return _data_check(given.overrides)
        case _:
            return _list(given.what, given.overrides)


# run


def _run(words: list[str]) -> int:
    """Hand the words to Hydra, after a check of every override that Hydra would only meet in the middle of a sweep."""
    asks_only = any(w in ("--help", "-h", "--hydra-help", "--version", "--info", "-i", "--cfg", "-c") for w in words)
    multirun = any(w in ("-m", "--multirun") for w in words)
    failed = [False]
    sweep: Path | None = None
    tried: list[Plan] = []
    if not asks_only:
        from adbench.overrides import check_overrides

        tried = check_overrides(words)
        if multirun and tried:
            stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
            sweep = tried[0].results / "sweeps" / f"{stamp}_{os.getpid()}"
            if not any(w.startswith("hydra.sweep.dir=") for w in words):
                words = [*words, f"hydra.sweep.dir='{sweep}'"]

    def job(config: DictConfig) -> None:
        failed[0] |= not _job(config, tried[1:])

    sys.argv = ["adbench run", *words]
    hydra.main(config_path=str(config_folder()), config_name="run", version_base="1.3")(job)()
    if sweep is not None and sweep.is_dir():
        return _finish_sweep(sweep)
    return 1 if failed[0] else 0


def _job(config: DictConfig, coming: "list[Plan]") -> bool:
    """One run inside Hydra, of a sweep that also holds what is ``coming``; whether every category went well."""
    from adbench import run as runner  # torch and all that comes with it: only when there is work to do
    from adbench import summary

    here = HydraConfig.get()
    in_sweep = here.mode is not None and here.mode.name == "MULTIRUN"
    launcher = str(here.launcher.get("_target_", ""))
    refused = None if launcher.endswith("BasicLauncher") else f"never under a parallel launcher ({launcher})"
    outcome = runner.Outcome()
    try:
        plan = runner.plan(config, refused)
        if in_sweep:
            print(f"job {here.job.num}: {' '.join(here.overrides.task) or 'defaults'}", flush=True)
        others = coming if in_sweep and refused is None else []  # what other processes run is theirs to compute
        outcome = runner.run(plan, runner.process_fits(), sys.stderr.isatty(), _say, others)
        if outcome.records:
            path = plan.results / "tables" / f"{plan.name}.csv"
            write_whole(path, summary.to_csv(summary.frame(outcome.records)))
            tables = [summary.to_screen(outcome.records), summary.rivals_to_screen(outcome.records)]
            shown = "\n\n".join(filter(None, tables))
            print(f"\n{shown}\n\nmetrics in percent; table: {path}", flush=True)
            pictures = plan.results / "heatmaps" / plan.name
            if pictures.is_dir():
                print(f"pictures: {pictures}", flush=True)
    except AdbenchError as error:
        if not in_sweep:
            raise SystemExit(_complain(error)) from None
        outcome.failures["settings"] = str(error)
        _say(f"job {here.job.num}: {error}")
    except OSError as error:
        if not in_sweep:
            raise SystemExit(_complain(error)) from None
        outcome.failures["results"] = str(error)
    for category, message in outcome.failures.items():
        print(f"adbench: {category}: {message}", file=sys.stderr, flush=True)
    if in_sweep:
        content = {
            "overrides": list(here.overrides.task),
            "records": [r.id for r in outcome.records],
            "folder": str(Path(str(config.results)).expanduser().absolute() / "records"),
            "failures": outcome.failures,
        }
        write_whole(Path(here.sweep.dir) / f"job-{here.job.num}.json", json.dumps(content, indent=1))
    return not outcome.failures


def _finish_sweep(folder: Path) -> int:
    """The table over all jobs of a sweep, whichever process ran them."""
    from adbench import records, summary

    jobs, failures = [], 0
    for path in sorted(folder.glob("job-*.json"), key=lambda p: int(p.stem.removeprefix("job-"))):
        content = json.loads(path.read_text())
        overrides = dict(word.lstrip("+").split("=", 1) for word in content["overrides"] if "=" in word)
        jobs.append((overrides, [records.load(Path(content["folder"]) / f"{id_}.json") for id_ in content["records"]]))
        failures += len(content["failures"])
    constant = {name for name in jobs[0][0] if len({job[0].get(name) for job in jobs}) == 1} if len(jobs) > 1 else set()
    jobs = [({n: v for n, v in overrides.items() if n not in constant}, found) for overrides, found in jobs]
    if any(found for _, found in jobs):
        path = folder / "sweep.csv"
        write_whole(path, summary.sweep_frame(jobs).to_csv(index=False, float_format="%.6f"))
        print(f"\n{summary.sweep_to_screen(jobs)}\n\nmetrics in percent, means over categories; table: {path}")
    if failures:
        print(f"adbench: {failures} failures in this sweep; they are named above and in {folder}", file=sys.stderr)
    return 1 if failures else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(error: Exception) -> int:
    print(f"adbench: {error}", file=sys.stderr, flush=True)
    return 2


def _complete(words: list[str]) -> int:
    """Tab completion by Hydra, which knows nothing of commands: those are completed here, the rest is its own."""
    line = os.environ.get("COMP_LINE", "")
    if any(w.startswith("query=") for w in words):
        typed = line.split()
        if len(typed) < 2 or (len(typed) == 2 and not line.endswith(" ")):
            print("\n".join(COMMANDS))
            return 0
        os.environ["COMP_LINE"] = line.replace(f" {typed[1]} ", " ", 1)
    sys.argv = ["adbench", *words]
    hydra.main(config_path=str(config_folder()), config_name="run", version_base="1.3")(lambda config: None)()
    return 0


# reproduce, table, compare, claims


def _reproduce(name: str, overrides: list[str]) -> int:
    from adbench.reports.reproduce import reproduce

    done = reproduce(name, overrides, sys.stderr.isatty(), _say)
    _show(done.table, overrides)
    for run, message in done.failures.items():
        print(f"adbench: {run}: {message}", file=sys.stderr)
    return 1 if done.failures else 0


def _tables(names: list[str], overrides: list[str]) -> int:
    from adbench.records import load_all
    from adbench.reports.tables import results_folder, table

    for name in names:
        records = load_all(results_folder(name, overrides) / "records")
        _show(table(name, records, overrides), overrides)
    return 0


def _show(built: "Table", overrides: list[str]) -> None:
    from adbench.reports import plots
    from adbench.reports import text as table_text
    from adbench.reports.tables import results_folder

    folder = results_folder(built.name, overrides)
    written = table_text.write(built, folder / "published")
    if built.present:
        written += plots.table_figure(built, folder / "figures")
    print(table_text.to_markdown(built))
    print("\n".join(str(path) for path in written), flush=True)


def _compare(sides: list[str], overrides: list[str]) -> int:
    from adbench.records import load_all
    from adbench.reports.compare import compare, to_markdown

    folder = _results(overrides) / "records"
    print(to_markdown(compare(sides[0], sides[1], folder, load_all(folder))))
    return 0


def _claims(overrides: list[str]) -> int:
    from adbench.records import load_all
    from adbench.reports.claims import judge, load_claims, to_markdown

    results = _results(overrides)
    records = load_all(results / "records")
    page = to_markdown([judge(claim, records, results / "records", overrides) for claim in load_claims()])
    write_whole(results / "claims.md", page)
    print(f"{page}\n{results / 'claims.md'}")
    return 0


def _plot(sides: list[str], results: Path) -> int:
    from adbench.records import load_all
    from adbench.reports import plots
    from adbench.reports.compare import select

    folder = results / "records"
    records = load_all(folder)
    found = [select(side, records) for side in sides]
    every = [r for categories in found for repeats in categories.values() for r in repeats]
    first = [repeats[0] for categories in found for repeats in categories.values()]  # one seed is one line
    written = plots.speed_accuracy(every, results / "figures") + plots.roc_pr(first, folder, results / "figures")
    print("\n".join(str(path) for path in written), flush=True)
    return 0


def _results(overrides: list[str]) -> Path:
    return Path(str(compose(overrides).results)).expanduser()


# data, list


def _data_check(overrides: list[str]) -> int:
    from tabulate import tabulate

    from adbench.build import build

    dataset: Any = build(compose(overrides)["dataset"], "dataset")
    rows = dataset.check()
    shown = [{name: value for name, value in r.items() if name != "problems"} for r in rows]
    print(tabulate(shown, headers="keys"))
    problems = [f"{r['category']}: {problem}" for r in rows for problem in r["problems"]]
    print("\n".join(problems) if problems else "no problems found")
    return 1 if problems else 0


def _list(what: str | None, overrides: list[str]) -> int:
    for name in [what] if what else LISTED:
        group = GROUPS.get(name, name.removesuffix("s"))
        print(f"{name} (adbench table NAME)" if name == "tables" else f"{name} ({group}=NAME)")
        lines = _about_tables(overrides) if name == "tables" else [(c, describe(group, c)) for c in choices(group)]
        width = max((len(choice) for choice, _ in lines), default=0)
        print("\n".join(f"  {choice:<{width}}  {about}" for choice, about in lines))
    return 0


def _about_tables(overrides: list[str]) -> list[tuple[str, str]]:
    from adbench.records import load_all
    from adbench.reports.tables import overview, results_folder

    folder = results_folder(choices("table")[0], overrides) / "records"
    records = load_all(folder) if any(folder.glob("*.json")) else []
    return [(name, f"{title}: {state}") for name, state, title in overview(records, overrides)]
