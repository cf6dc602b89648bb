"""What a report needs to know of a folder of records: few of very many are read."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from adbench.config.compose import Configs
from adbench.reports.repeats import setting_key, shared_parts
from adbench.reports.setting import BACKBONE, METHOD, Setting
from adbench.results.index import Parts, Records
from adbench.results.record import GIVEN
from adbench.results.records import Record
from adbench.system.files import cache_folder
from adbench.system.settings import digest, target_name

Stored = Sequence[Record] | Records
"""Records: all there are, or the folder in which they lie."""
_CACHE = "cache="


def records_of(folder: Path, configs: Configs, words: Sequence[str] = ()) -> Records:
    """The records of a folder, found through the index in the user's cache.

    Args:
        folder: The folder of records.
        configs: Say where the cache is.
        words: Of the user, of which ``cache=DIR`` may be one.

    Raises:
        AdbenchError: What ``Records`` refuses.
    """
    chosen = configs.compose([word for word in words if word.startswith(_CACHE)]).cache
    return Records(folder, cache_folder(str(chosen) if chosen else None))


def needed(
    stored: Stored, settings: Iterable[Setting], tools: Collection[str] = ()
) -> Sequence[Record]:
    """The records on which a report of some settings depends, whatever the backbone.

    The report is the same as one from all records.

    Args:
        stored: A folder, or the records themselves, which are given back as they are.
        settings: All that the report asks for.
        tools: Names of tools whose maps and scores were given.

    Raises:
        RecordError: One of the records cannot be trusted.
    """
    if not isinstance(stored, Records):
        return stored
    names = {name.casefold() for name in tools}
    of_class: dict[str, list[Setting]] = {}
    every = _without_their_backbone(settings)
    for setting in every:
        target = setting.parts.get(METHOD, {}).get("_target_")
        of_class.setdefault(target_name(str(target)) if target else "", []).append(setting)

    def fits(parts: Parts) -> bool:
        if GIVEN in parts:
            return str(parts[GIVEN].get("name", "")).casefold() in names
        own = parts.get(METHOD, {}).get("class")
        likely = every if own is None else of_class.get(own, ())
        return any(setting.has(parts) for setting in likely)

    return stored.bearing_on(fits)


def of_the_setting_of(id_: str, stored: Stored) -> list[Record]:
    """The records of the same setting and dataset as the one with this id; none where it is not.

    Raises:
        RecordError: One of the records cannot be trusted.
    """
    if isinstance(stored, Records):
        named = stored.with_id(id_)
    else:
        named = next((record for record in stored if record.id == id_), None)
    if named is None:
        return []
    key, dataset = setting_key(named), named.identity["dataset"]["name"]
    if isinstance(stored, Records):
        stored = stored.bearing_on(lambda parts: digest(shared_parts(parts)) == key)
    return [r for r in stored if setting_key(r) == key and r.identity["dataset"]["name"] == dataset]


def one_of_each(stored: Stored) -> Sequence[Record]:
    """A record of each setting, whatever the category, but for those that cannot be trusted.

    Records that are not in a folder are all given back.
    """
    return stored.one_of_each() if isinstance(stored, Records) else stored


def _without_their_backbone(settings: Iterable[Setting]) -> list[Setting]:
    """One of those settings that differ in their backbone alone."""
    found: dict[str, Setting] = {}
    for setting in settings:
        parts = {name: own for name, own in setting.parts.items() if name != BACKBONE}
        found.setdefault(digest(parts), setting)
    return list(found.values())
