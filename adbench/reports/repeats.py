"""Records of one setting: its categories, and its repeats, which differ in the seed alone."""

from collections.abc import Sequence
from typing import Any

from adbench.errors import AdbenchError
from adbench.results.notes import random_weights as random_weights
from adbench.results.record import GIVEN
from adbench.results.records import Record
from adbench.system.settings import digest

Found = dict[str, list[Record]]
"""Category -> its records, which differ in the seed alone."""

SEED = "seed"


def parts_of(record: Record) -> dict[str, Any]:
    """What the detector says of itself in the identity, such as geometry, backbone and method."""
    return {n: v for n, v in record.identity.items() if n not in ("dataset", "category")}


def seed(record: Record) -> int:
    """The seed of the record; 0 where nothing is drawn."""
    return next(iter(_seeds(parts_of(record))), 0)


def draws(record: Record) -> bool:
    """Whether anything is drawn at random, so that other seeds would give other numbers."""
    return bool(_seeds(parts_of(record)))


def unseeded(value: Any) -> Any:
    """Settings without their seeds, at any depth."""
    if isinstance(value, dict):
        return {name: unseeded(v) for name, v in value.items() if name != SEED}
    return value


def settings_shared(record: Record) -> dict[str, Any]:
    """The settings that a record has in common with those of other categories and seeds."""
    return shared_parts(parts_of(record))


def shared_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """The same of the parts of an identity."""
    parts = unseeded(parts)
    if GIVEN in parts:  # the content of the files that were given is no setting
        parts[GIVEN] = {n: v for n, v in parts[GIVEN].items() if n != "sha256"}
    return parts


def setting_key(record: Record) -> str:
    """A name that repeats of a setting have in common, whatever the dataset."""
    return digest(settings_shared(record))


def by_category(records: Sequence[Record]) -> Found:
    """Records of one setting, sorted by category and seed.

    Raises:
        AdbenchError: Two records claim one category and seed, such as those of two copies of the
            dataset.
    """
    found: Found = {}
    for record in sorted(records, key=lambda r: (r.category, seed(r), r.id)):
        repeats = found.setdefault(record.category, [])
        if repeats and seed(repeats[-1]) == seed(record):
            one = repeats[-1]
            raise AdbenchError(
                f"records {one.id} and {record.id} claim the same cell: "
                f"{record.labels.get('method')} on {record.category}, seed {seed(record)}; they "
                f"differ in {_differing(one, record)}. Move one of them out of the folder, or set "
                f"results=DIR{_narrowing(one, record)}"
            )
        repeats.append(record)
    return found


def _seeds(value: Any) -> list[int]:
    if not isinstance(value, dict):
        return []
    own = [int(value[SEED])] if isinstance(value.get(SEED), int) else []
    return own + [s for inner in value.values() for s in _seeds(inner)]


def _differing(one: Record, other: Record) -> str:
    names = {"dataset": "their images", "backbone": "their weights", GIVEN: _of_tools(one, other)}
    parts = sorted({*one.identity, *other.identity})
    differing = [p for p in parts if one.identity.get(p) != other.identity.get(p)]
    return " and ".join(names.get(part, f"their {part}") for part in differing)


def _of_tools(one: Record, other: Record) -> str:
    """What differs between two tools whose maps or scores were given."""
    old, new = (record.identity.get(GIVEN) or {} for record in (one, other))
    names = {"sha256": "files"}
    differing = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
    return f"the {', '.join(names.get(n, n) for n in differing)} of the tool"


def _narrowing(one: Record, other: Record) -> str:
    """How a comparison chooses one of two records of a tool."""
    if GIVEN not in one.identity or GIVEN not in other.identity:
        return ""
    return f"; in compare, geometry=NAME, {GIVEN}.version=V and {GIVEN}.note=TEXT choose one"
