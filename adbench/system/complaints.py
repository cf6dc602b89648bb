"""What pydantic finds wrong with settings, in sentences for people who do not know pydantic."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_NEEDED = {
    "int": "must be an integer",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be a text",
    "list": "must be a list, such as [1,2]",
    "tuple": "must be a list, such as [1,2]",
    "dict": "must hold settings by name",
    "dataclass": "must hold settings by name",
}
"""What is needed, by the first word of pydantic's name of the problem."""
_OF_TYPE = ("type", "parsing", "from")
"""The second word where the type is wrong. Other problems keep pydantic's sentence."""


def explain(error: ValidationError, cls: type, path: str) -> str:
    """One line for each wrong setting: what is needed and what was got.

    Args:
        error: What pydantic found wrong with settings of ``cls``.
        cls: A dataclass.
        path: Where the settings stand in the config, such as ``method``; empty at the top.
    """
    problems = error.errors(include_url=False)
    found: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for problem in problems:
        if any(_is_inside(other, problem) for other in problems):
            continue  # a list that lost its wrong items is too short only for that
        place, owner = _place(problem, cls)
        where = ".".join([*filter(None, [path]), *place])
        found.setdefault(where, []).append(_needed(problem, owner, where))
        got[where] = _got(problem, where)
    return "\n".join(
        f"{where}{': ' if where else ''}{' or '.join(dict.fromkeys(needed))}{got[where]}"
        for where, needed in found.items()
    )


def _needed(problem: ErrorDetails, owner: type, where: str) -> str:
    kind, message = problem["type"], problem["msg"]
    if kind == "unexpected_keyword_argument":
        known = ", ".join(f.name for f in fields(owner) if f.init)
        return f"unknown setting; {where.rpartition('.')[0] or 'the config'} has {known}"
    if kind == "missing":
        return "must be given"
    first, _, second = kind.partition("_")
    if first in _NEEDED and second.startswith(_OF_TYPE):
        return _NEEDED[first]
    for words in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(words)
    for kind_of_value in ("Input", "String", "List", "Tuple", "Dictionary"):
        message = message.replace(f"{kind_of_value} should ", "must ")
    return message.partition(" after validation")[0]


def _got(problem: ErrorDetails, where: str) -> str:
    """What was got, and how to write a number that is meant as a text."""
    silent = ("unexpected_keyword_argument", "missing", "value_error")
    if problem["type"] in silent or not problem["loc"]:
        return ""
    value = problem["input"]
    shown = f", got {value!r}"
    if problem["type"] in ("string_type", "literal_error") and isinstance(value, int):
        last = problem["loc"][-1]
        key = where.removesuffix(f".{last}") if isinstance(last, int) else where
        text = f"['{value}']" if isinstance(last, int) else f"'{value}'"
        shown += f'; a number that is a name is quoted twice: "{key}={text}"'
    return shown


def _place(problem: ErrorDetails, cls: type) -> tuple[list[str], type]:
    """The names of settings that lead to a problem, and the class that has the last one.

    Pydantic also names the alternatives of a type such as ``int | None``, which users do not see.
    """
    *before, last = problem["loc"] or ("",)
    place = []
    for part in before:
        hints = get_type_hints(cls)
        if isinstance(part, int) or part in hints:
            place.append(str(part))
            cls = _part(hints.get(str(part))) or cls
    unknown = problem["type"] == "unexpected_keyword_argument"
    if unknown or isinstance(last, int) or last in get_type_hints(cls):
        place.append(str(last))
    return place, cls


def _part(hint: Any) -> type | None:
    """The dataclass of a setting's value, or None where it is a plain value."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for inner in get_args(hint) if (found := _part(inner))), None)


def _is_inside(problem: ErrorDetails, other: ErrorDetails) -> bool:
    """Whether a problem lies in a part of what another one complains about."""
    place, whole = problem["loc"], other["loc"]
    return len(place) > len(whole) and place[: len(whole)] == whole
