"""Whether the content of a JSON file has the shape of a record.

The checksum of a record tells that it was not changed. It does not tell who wrote it.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from adbench.results.record import Record

_HINTS = get_type_hints(Record)
_INSIDE: dict[tuple[str, ...], Any] = {
    ("identity", "method", "class"): str,
    ("identity", "method", "settings"): dict[str, Any],
    ("environment", "versions"): dict[str, str | None],
    ("environment", "threads"): int,
    ("threshold", "kind"): str,
    ("threshold", "value"): float | None,
    ("weights", "setting"): str | None,
    ("weights", "name"): str | None,
}
"""What stands deeper in the fields, where it stands there, as far as reports rely on it."""
_REQUIRED = [f.name for f in fields(Record) if f.default is f.default_factory is MISSING]


def misshapen(content: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields of a record; None where they are those of ``Record``.

    Args:
        content: Field -> value, as JSON gives them.
    """
    if unknown := sorted(content.keys() - _HINTS.keys()):
        return f"unknown fields {unknown}"
    for name in _REQUIRED:
        if name not in content:
            return f"the field {name} is missing"
    for name, value in content.items():
        if not _fits(value, _HINTS[name]):
            return f"the field {name} does not hold what it should"
    dataset, category = content["identity"].get("dataset"), content["identity"].get("category")
    if not isinstance(category, str) or not isinstance(dataset, dict):
        return "its identity names no dataset and category"
    if not all(isinstance(dataset.get(name), str) for name in ("name", "fingerprint")):
        return "its identity names no dataset"
    if not all(
        isinstance(part, dict) for n, part in content["identity"].items() if n != "category"
    ):
        return "a part of its identity holds no settings"
    if not {"train", "test", "anomalous"} <= content["counts"].keys():
        return "it lacks the counts of its images"
    if not all(ends is None or len(ends) == 2 for ends in content.get("intervals", {}).values()):
        return "an interval has not two ends"
    if not all({"p50", "p95"} <= of.keys() for of in content.get("time", {}).values()):
        return "a time lacks its p50 or its p95"
    for path, hint in _INSIDE.items():
        if not _holds(content, path, hint):
            return f"{'.'.join(path)} does not hold what it should"
    return None


def _holds(content: Any, path: Sequence[str], hint: Any) -> bool:
    """Whether the value at the end of a path is of a type; where there is none, all is well."""
    for name in path:
        if not isinstance(content, dict) or name not in content:
            return True
        content = content[name]
    return _fits(content, hint)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a type; numbers are finite."""
    if hint is Any:
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, inner[1]) for v in value.values())
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        # An integer of JSON has no bound, and 10**400 is no float.
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return value is None if hint is NoneType else isinstance(value, hint)
