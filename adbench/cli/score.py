"""``adbench score``: exact metrics, intervals and a record for what any other tool found."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from adbench.cli.score_words import CSV, MAXIMUM, PARTS, USAGE, Words, parsed
from adbench.cli.screen import say, say_aside
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.system.files import expanded
from adbench.system.printable import in_line

if TYPE_CHECKING:
    from adbench.bench.given import Files, Tool
    from adbench.data.geometry import Geometry
    from adbench.data.samples import Dataset
    from adbench.results.records import Record


@dataclass(frozen=True)
class _Job:
    """All that is known before anything is measured."""

    tool: "Tool"
    dataset: "Dataset"
    geometry: "Geometry"
    labels: dict[str, str]
    files: "dict[str, Files]"
    """By category."""
    records: Path
    redo: bool


def command(given: Namespace, configs: Configs) -> int:
    """Measure every category; 1 where one of them failed."""
    if {"--help", "-h"} & set(given.words):
        print(USAGE)
        return 0
    words = parsed(given.words)
    job, results = _job(words, configs)
    found, failed = _measured(job)
    if found:
        _show(job, found, results)
    return 1 if failed else 0


def _job(words: Words, configs: Configs) -> tuple[_Job, Path]:
    from adbench.config.build import build, refuse_unread
    from adbench.results.records import require_writable

    tool = _tool(words)
    if not words.folder.is_dir():  # told before a dataset is drawn or hashed
        raise AdbenchError(f"score: {words.folder}: no such folder")
    config = configs.compose(_composed(words.overrides))
    dataset, geometry = (build(config[part], part) for part in PARTS)
    for part, built in zip(PARTS, (dataset, geometry), strict=True):
        refuse_unread(words.overrides, config[part], built, part)
    if tool.covers == "crop" and geometry.crop is None:
        raise AdbenchError(
            f"score: covers=crop: geometry={_label(config, 'geometry')} crops nothing; name the "
            "geometry whose crop the maps show, such as geometry=crop224"
        )
    results = expanded(str(config.results))
    require_writable(results / "records")
    return _Job(
        tool,
        dataset,
        geometry,
        {part: _label(config, part) for part in PARTS},
        _files(words, dataset),
        results / "records",
        words.choice("existing") == "redo",
    ), results


def _composed(overrides: Sequence[str]) -> list[str]:
    chosen = any(word.startswith("geometry=") for word in overrides)
    return [*overrides] if chosen else [*overrides, "geometry=original"]


def _label(config: DictConfig, part: str) -> str:
    return str(config[part].name)


def _tool(words: Words) -> "Tool":
    from adbench.bench.given import Tool

    values = words.values
    time = None
    if "time_ms" in values:
        try:
            time = float(values["time_ms"])
        except ValueError:
            time = -1.0
        if not 0 < time < float("inf"):
            raise AdbenchError(
                f"score: time_ms={values['time_ms']}: is a number of milliseconds above 0"
            )
    return Tool(
        values["name"],
        values["version"],
        values.get("note", ""),
        "lower" if words.choice("sign") == "lower" else "higher",
        "crop" if words.choice("covers") == "crop" else "image",
        time,
    )


def _files(words: Words, dataset: "Dataset") -> "dict[str, Files]":
    """What was given for each category; all of it is found before anything is read."""
    from adbench.bench.given import Files
    from adbench.data.given_scores import find_maps, folder_of, read_scores

    chosen = words.values.get("scores")
    names = dataset.names()
    samples = {name: dataset.load(name).test for name in names}
    folders = {name: folder_of(words.folder, name, len(names) == 1) for name in names}
    maps = {
        name: find_maps(folders[name], name, samples[name], words.values.get("suffix"))
        for name in names
    }
    scores: dict[str, list[float]] = {}
    if chosen not in (None, MAXIMUM):
        scores = read_scores(expanded(chosen), samples)
    elif chosen is None and (words.folder / CSV).is_file():
        scores = read_scores(words.folder / CSV, samples)
    elif chosen is None:
        held = {name: folders[name] / CSV for name in names if (folders[name] / CSV).is_file()}
        for name, path in held.items():
            scores |= read_scores(path, {name: samples[name]})
    if nothing := [name for name in names if maps[name] is None and name not in scores]:
        raise AdbenchError(
            f"score: {words.folder} holds neither maps nor {CSV} for {', '.join(nothing)}; maps "
            "end in .npy, .npz, .tiff or .png"
        )
    return {name: Files(maps[name], scores.get(name)) for name in names}


def _measured(job: _Job) -> "tuple[list[Record], bool]":
    """The records of the categories, and whether one of them failed."""
    from adbench.system.progress import aside, at, doing, finished, happened, kind_for, progress

    found, failed = [], False
    with progress(kind_for(sys.stderr), len(job.files)):
        for name in job.files:
            at(name)
            try:
                with doing("metrics"):
                    record, new, lines = _one(job, name)
            except Exception as error:  # an unforeseen one costs its category alone, too
                from adbench.bench.run import message_of

                failed = True
                message = message_of(error, job.records.parent)
                happened("failure", name, message=message)
                with aside():
                    say_aside(f"{in_line(name)}: {message}")
            else:
                found.append(record)
                happened("record", name, record=record.name, measured=new)
                with aside():
                    for line in lines:
                        say_aside(f"{in_line(name)}: {line}")
            finished()
    return found, failed


def _one(job: _Job, name: str) -> "tuple[Record, bool, list[str]]":
    """The record of a category, whether it was measured now, and what is to be told of it."""
    from adbench.bench.category import Category
    from adbench.bench.given import measured, read
    from adbench.results import records

    geometry, tool = job.geometry, job.tool
    fixed = geometry if geometry.evaluate_at == "input" else None
    category = Category.read(job.dataset, name, fixed)
    given = read(tool, job.files[name], category, geometry, job.dataset, job.labels)
    known = records.find(job.records, given.record.identity, replacing=job.redo)
    if known is not None and not job.redo:
        return known, False, ["has a record, skipped (existing=redo measures it again)"]
    namesakes = records.namesakes(job.records, given.record)
    rivals = [r for r in namesakes if _same_cell(r, given.record)]
    if rivals and not job.redo:
        raise AdbenchError(
            f"record {rivals[0].id} holds other maps, scores or signs of {tool.name} "
            f"{tool.version}; existing=redo replaces it, and another version or note makes a "
            "second one"
        )
    record, rows, pairs, doubts = measured(given)
    record = records.load(records.save(job.records, record, rows, pairs))
    for rival in rivals:
        records.remove(job.records, rival)
    return record, True, doubts


def _same_cell(record: "Record", new: "Record") -> bool:
    """Whether two records are of the same tool, version and note, on the same images and pixels."""
    from adbench.results.record import GIVEN

    if any(record.identity.get(p) != new.identity[p] for p in ("dataset", "geometry")):
        return False
    old, own = record.identity.get(GIVEN, {}), new.identity[GIVEN]
    return all(old.get(name) == own.get(name) for name in ("name", "version", "note"))


def _show(job: _Job, found: "Sequence[Record]", results: Path) -> None:
    from adbench.results import summary
    from adbench.results.record import GIVEN, safe_name
    from adbench.system.files import write_whole
    from adbench.system.settings import digest, settings_of

    tool = job.tool
    own = [settings_of(job.dataset), settings_of(job.geometry), tool.version, tool.note]
    parts = [job.labels["dataset"], safe_name(tool.name), GIVEN, digest(own, length=8)]
    path = results / "tables" / f"{'-'.join(parts)}.csv"
    write_whole(path, summary.to_csv(found))
    say(f"{summary.to_screen(found)}\n\nmetrics in percent; table: {path}")
