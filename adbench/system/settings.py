"""Settings.

Dataclasses that refuse what is wrong, and the part of them that bears on the numbers.
"""

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from adbench.errors import AdbenchError
from adbench.system.complaints import explain

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", validate_default=True, allow_inf_nan=False)
"""For the settings of every part: a wrong type, range or name, or an infinite number, is refused at
once."""


@dataclass(frozen=True)
class When:
    """Marks a setting that is read only where ``condition``, a property of its class, is true.

    ``dim: Annotated[int, When("is_gaussian")] = 128`` is no part of an identity where
    ``is_gaussian`` is false, and an override of it is then refused. The property's docstring
    completes "is read only where".
    """

    condition: str


def settings_of(part: Any) -> dict[str, Any]:
    """The settings of a built object that bear on its numbers, JSON-like.

    Learned state is left out.
    """
    if not is_dataclass(part) or isinstance(part, type):
        raise TypeError(f"{part!r} is not an instance of a settings dataclass")
    conditions = _conditions(type(part))
    names = [f.name for f in fields(part) if f.init]
    return {
        name: _jsonable(getattr(part, name)) for name in names if _holds(part, conditions.get(name))
    }


def class_name(cls: type) -> str:
    """What names a class in records, see ``target_name``."""
    return target_name(f"{cls.__module__}.{cls.__name__}")


def target_name(target: str) -> str:
    """What names the class at a dotted path in records: its name, and its package if not adbench.

    In which module of a package the class stands is the package's own matter.
    """
    package, name = target.split(".")[0], target.split(".")[-1]
    return name if package == "adbench" else f"{package}.{name}"


def unread(part: Any, path: list[str]) -> str | None:
    """Why the setting at ``path`` of a built object is not read; None where it is."""
    name, *rest = path
    condition = _conditions(type(part)).get(name)
    if condition is not None and not _holds(part, condition):
        words = (getattr(type(part), condition).__doc__ or condition).splitlines()[0].rstrip(".")
        return f"{name} is read only where {words[0].lower()}{words[1:]}"
    value = getattr(part, name, None)
    return unread(value, rest) if rest and is_dataclass(value) else None


def check(cls: type[T], settings: dict[str, Any], path: str) -> T:
    """Make ``cls`` from plain settings, naming in one AdbenchError all that are wrong.

    Args:
        cls: A pydantic dataclass.
        settings: JSON-like.
        path: Where the settings stand, such as ``method``; named in errors. Empty at the top.
    """
    _refuse_beyond_json(settings, path)
    try:
        # Through JSON, so that a list can fill a tuple, and a mapping a part, while types stay
        # strict.
        return TypeAdapter(cls).validate_json(json.dumps(settings))
    except ValidationError as error:
        raise AdbenchError(explain(error, cls, path)) from None


def digest(content: Any, length: int = 20) -> str:
    """A short name for JSON-like ``content``, the same whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _refuse_beyond_json(value: Any, place: str) -> None:
    """Refuse what JSON has no form for, such as the bytes that YAML's ``!!binary`` gives."""
    if isinstance(value, dict):
        for key, inner in value.items():
            where = ".".join(filter(None, [place, str(key)]))
            if isinstance(key, bytes):
                raise AdbenchError(f"{where}: the name of a setting must be a text, got {key!r}")
            _refuse_beyond_json(inner, where)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            _refuse_beyond_json(inner, f"{place}.{number}")
    elif not isinstance(value, str | int | float | None):
        raise AdbenchError(
            f"{place}: must be a text, a number, true, false, null, or a list or mapping of these, "
            f"got {value!r}"
        )


def _conditions(cls: type) -> dict[str, str]:
    """Setting -> the property on which it depends whether the setting is read."""
    hints = get_type_hints(cls, include_extras=True)
    marked = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {
        name: m.condition for name, marks in marked.items() for m in marks if isinstance(m, When)
    }


def _holds(part: Any, condition: str | None) -> bool:
    return condition is None or bool(getattr(part, condition))


def _jsonable(value: Any) -> Any:
    """A setting's value as JSON has it: nested settings as a mapping, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return settings_of(value)
    return list(value) if isinstance(value, tuple) else value
