"""Whether the content of a JSON file has the shape of a record.

The checksum of a record tells that it was not changed. It does not tell who wrote it.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from adbench.results.record import Record

_HINTS = get_type_hints(Record)
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
    if not {"train", "test", "anomalous"} <= content["counts"].keys():
        return "it lacks the counts of its images"
    return None


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
        return isinstance(value, int | float) and math.isfinite(value)
    return value is None if hint is NoneType else isinstance(value, hint)
