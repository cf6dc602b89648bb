"""``adbench plot``: settings side by side, the curves of a sweep, a published table."""

import sys
from argparse import Namespace
from pathlib import Path

from adbench.cli.screen import say
from adbench.cli.sides import results_of, sides_of
from adbench.cli.sweep import jobs_of, varied
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.compare import select
from adbench.reports.figure import Figures, Look
from adbench.reports.measures import MEASURES
from adbench.reports.needed import records_of
from adbench.reports.plots import table_figure
from adbench.reports.sides import named, roc_pr, speed_accuracy
from adbench.reports.sweeps import METRICS, sweep_figure
from adbench.reports.swept import axis_of, narrowed, of_jobs, of_records
from adbench.reports.tables import table
from adbench.results.style import DARK, LIGHT
from adbench.system.files import expanded
from adbench.system.printable import in_line

SWEEP, TABLE = "sweep=", "table="


def command(given: Namespace, configs: Configs) -> int:
    """Draw the figures, name their files and what they leave out; 1 where nothing was drawn."""
    look = Look(DARK if given.dark else LIGHT, _suffixes(given.format))
    unknown = [metric for metric in given.metric or () if metric not in MEASURES]
    if unknown:
        raise AdbenchError(f"--metric {unknown[0]}: unknown; there are {', '.join(MEASURES)}")
    results = results_of(given.words, configs)
    words = sides_of(given.words)
    swept = [word.removeprefix(SWEEP) for word in words if word.startswith(SWEEP)]
    published = [word.removeprefix(TABLE) for word in words if word.startswith(TABLE)]
    words = [word for word in words if not word.startswith((SWEEP, TABLE))]
    if published:
        if swept or given.x or given.per or given.metric:
            raise AdbenchError(
                f"{TABLE}{published[-1]}: {SWEEP}DIR, --x, --per and --metric do not go with it; "
                "leave them out"
            )
        drawn = _table(published[-1], given, words, results, look, configs)
    elif swept or given.x:
        drawn = _sweep(given, swept, words, results, look, configs)
    else:
        drawn = _sides(given, words, results, look, configs)
    for sentence in dict.fromkeys(drawn.left_out):
        say(sentence, sys.stderr)
    say("\n".join(map(str, drawn.files)))
    return 0 if drawn.files else 1


def _sides(
    given: Namespace, words: list[str], results: Path, look: Look, configs: Configs
) -> Figures:
    if not words:
        raise AdbenchError(
            "plot needs settings, such as 'method=padim' 'method=crd'; or sweep=DIR; or --x "
            "SETTING; or table=NAME"
        )
    folder = results / "records"
    records = records_of(folder, configs, given.words)
    sides, shared = named(words, [select(text, records, configs) for text in words])
    figures = results / "figures"
    drawn = [
        speed_accuracy(sides, figures, metric, look, shared)
        for metric in given.metric or ("image_auroc",)
    ]
    drawn.append(roc_pr(sides, folder, figures, look, shared))
    return Figures([f for d in drawn for f in d.files], [s for d in drawn for s in d.left_out])


def _table(
    name: str, given: Namespace, words: list[str], results: Path, look: Look, configs: Configs
) -> Figures:
    """The measured numbers of a published table beside the printed ones."""
    records = records_of(results / "records", configs, given.words)
    built = table(name, records, words, configs, measured=True)
    files = table_figure(built, results / "figures", look)
    return Figures(files, [] if files else [f"{TABLE}{name}: nothing of it was measured."])


def _sweep(
    given: Namespace,
    swept: list[str],
    words: list[str],
    results: Path,
    look: Look,
    configs: Configs,
) -> Figures:
    left: list[str] = []
    if swept:
        jobs = jobs_of(expanded(swept[-1]))
        if not jobs:
            raise AdbenchError(f"{SWEEP}{swept[-1]}: no job-0.json there; name a folder of sweeps/")
        for job, own in zip(jobs, varied(jobs), strict=True):
            name = " ".join(f"{key}={value}" for key, value in own.items())
            why = {**job.failures, **job.skipped}
            left += [
                f"Left out: {in_line(f'{name}: {category}')}: {w}." for category, w in why.items()
            ]
        points = of_jobs(list(zip(varied(jobs), [job.records for job in jobs], strict=True)))
        kept = {r.id for r in narrowed([p.record for p in points], words, configs)}
        points = [point for point in points if point.record.id in kept]
        x = axis_of(points, given.x)
    else:
        x = given.x
        records = records_of(results / "records", configs, given.words).all()
        points = of_records(narrowed(records, words, configs), x, configs)
    metrics = given.metric or METRICS
    return sweep_figure(points, x, results / "figures", metrics, given.per, look, left)


def _suffixes(text: str) -> tuple[str, ...]:
    """The formats as suffixes of files."""
    known = ("png", "svg", "pdf")
    formats = [part.strip() for part in text.split(",")]
    if unknown := [part for part in formats if part not in known]:
        raise AdbenchError(f"--format {unknown[0]}: unknown; there are {', '.join(known)}")
    return tuple(f".{part}" for part in formats)
