"""Records of other tools, whose maps and scores were given to ``adbench score``, by their names."""

from collections.abc import Mapping, Sequence

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.matching import Source
from adbench.reports.repeats import by_category
from adbench.reports.setting import Setting
from adbench.results.record import GIVEN
from adbench.results.records import Record

GEOMETRY = "geometry"
_KEYS = {GIVEN: "name", f"{GIVEN}.version": "version", f"{GIVEN}.note": "note"}
"""Words of a side -> what they must equal in the identity."""
_VALUES = {GIVEN: "TOOL", f"{GIVEN}.version": "V", f"{GIVEN}.note": "TEXT"}
"""Words of a side -> what stands for their value in messages."""


def names_tool(words: Sequence[str]) -> bool:
    """Whether a side of a comparison names a tool, as ``given=TOOL`` does."""
    return any(word.startswith(f"{GIVEN}=") for word in words)


def setting_words(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a side that are those of ``adbench run``."""
    return tuple(word for word in words if word.partition("=")[0] not in _KEYS)


def tools_of(words: Sequence[str]) -> list[str]:
    """The names of the tools that the words of a side name."""
    key = f"{GIVEN}="
    return [word.removeprefix(key) for word in words if word.startswith(key)]


def of_words(words: Sequence[str], records: Sequence[Record], configs: Configs) -> list[Record]:
    """The records of a tool.

    Args:
        words: ``given=TOOL``, and ``given.version``, ``given.note``, ``geometry`` and ``dataset``
            where they are to be narrowed.
        records: All there are.
        configs: Where presets are found.

    Raises:
        AdbenchError: Another word, or one without a value.
    """
    rest = setting_words(words)
    for word in words:
        if word in _KEYS:
            raise AdbenchError(f"{word}: has no value; write {word}={_VALUES[word]}")
    for word in rest:
        if word.partition("=")[0].partition(".")[0] not in (GEOMETRY, "dataset"):
            raise AdbenchError(
                f"{word}: does not go with {GIVEN}=TOOL, which takes {GIVEN}.version, "
                f"{GIVEN}.note, {GEOMETRY} and dataset"
            )
    wanted = dict(word.split("=", 1) for word in words if word not in rest)
    found = [r for r in records if _is(r, {_KEYS[key]: text for key, text in wanted.items()})]
    setting = Setting.of(configs.compose(rest))
    if any(word.startswith(GEOMETRY) for word in rest):
        found = [r for r in found if setting.matches(GEOMETRY, r.identity.get(GEOMETRY))]
    if any(word.startswith("dataset=") for word in rest):
        found = setting.of_dataset(found)
    return found


def of_tools(records: Sequence[Record]) -> list[Record]:
    """The records of other tools among all."""
    return [record for record in records if GIVEN in record.identity]


def source_of(
    names: Sequence[str], records: Sequence[Record], setting: Setting, categories: Sequence[str]
) -> Source:
    """What fills a row of a table.

    Args:
        names: Those of the tool, in any case.
        records: Of ``of_tools``.
        setting: Of the row or of the table, which names the dataset.
        categories: Those of the table.

    Raises:
        AdbenchError: Two records claim one cell, such as those of two versions.
    """
    found = [
        r
        for r in setting.of_dataset(records)
        if r.category in categories and any(_is(r, {"name": name}) for name in names)
    ]
    if not found:
        return Source()
    tools = ", ".join(dict.fromkeys(_title(r) for r in found))
    return Source(by_category(found), f"the maps and scores of {tools}, given to adbench score")


def _is(record: Record, wanted: Mapping[str, str]) -> bool:
    own = record.identity.get(GIVEN)
    if own is None:
        return False
    return all(str(own.get(n, "")).casefold() == text.casefold() for n, text in wanted.items())


def _title(record: Record) -> str:
    own = record.identity[GIVEN]
    more = [own["note"]] if own.get("note") else []
    more.append(f"geometry {record.labels.get(GEOMETRY)}")
    return f"{own['name']} {own['version']} ({', '.join(more)})"
