"""Whether jobs lack anything, told from configs, images and records: no network is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from adbench.config.build import build, plain
from adbench.config.compose import Configs
from adbench.data.content import fingerprint
from adbench.reports.matching import Matching
from adbench.reports.needed import needed, records_of
from adbench.reports.repeats import SEED, parts_of
from adbench.reports.setting import Setting
from adbench.results.records import Record, RecordError, present
from adbench.system.files import expanded
from adbench.system.settings import digest

JOBS = 200
"""Of more jobs the plans are faster, though they load networks."""


def complete(jobs: Sequence[Sequence[str]], configs: Configs) -> bool:
    """Whether every job has a record on each of its categories that lacks nothing.

    It is a quick look before a thorough one: where it says no, a record may be there all the same.

    Args:
        jobs: The words of each.
        configs: Where presets are found.

    Raises:
        AdbenchError: A word is wrong, or a dataset is not there.
    """
    composed = [configs.compose(words) for words in jobs[:JOBS]]
    folder = expanded(str(composed[0].results)) / "records"
    saved = any(config.detector is not None for config in composed)
    if len(jobs) > JOBS or saved or not present(folder):
        return False
    settings = [Setting.of(config) for config in composed]
    try:
        matching = Matching(needed(records_of(folder, configs, jobs[0]), settings), configs)
    except RecordError:  # the thorough look names it where it matters
        return False
    names: dict[str, dict[str, str]] = {}
    return all(_has_all(config, folder, matching, names) for config in composed)


def _has_all(
    config: DictConfig, folder: Path, matching: Matching, names: dict[str, dict[str, str]]
) -> bool:
    """Whether a job has every record.

    Args:
        config: Of the job.
        folder: Of the records.
        matching: Knows the records.
        names: Dataset -> category -> fingerprint, as far as they were read.
    """
    usual = config.existing == "skip" and config.threshold == "none"
    if not usual or expanded(str(config.results)) / "records" != folder:
        return False
    key = digest(plain(config.dataset, "dataset"))
    if key not in names:
        dataset = build(config.dataset, "dataset")
        names[key] = {name: fingerprint(dataset.load(name)) for name in dataset.names()}
    setting = Setting.of(config)
    method = plain(config.method, "method")
    known = {
        (record.category, record.identity["dataset"].get("fingerprint"))
        for record in matching.records
        if (record.time or not config.timing.enabled)
        and record.identity["dataset"]["name"] == setting.dataset
        and matching.measured(setting, record)
        and _same_seeds(_settings(record), method)
    }
    return known.issuperset(names[key].items())


def _settings(record: Record) -> dict[str, Any]:
    settings: dict[str, Any] = parts_of(record).get("method", {}).get("settings", {})
    return settings


def _same_seeds(recorded: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether every seed of a record, at any depth, is that of the composed settings."""
    return all(
        _same_seeds(value, own.get(name) or {})
        if isinstance(value, dict)
        else name != SEED or own.get(name) == value
        for name, value in recorded.items()
    )
