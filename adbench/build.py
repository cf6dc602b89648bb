"""From a config node to an object: the only place that knows ``_target_``, and it builds nothing outside adbench."""

import importlib
import json
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from adbench.core import AdbenchError

T = TypeVar("T")


def build(node: DictConfig, path: str) -> Any:
    """Make the object that a config node describes, with every setting checked.

    Args:
        node: Holds ``_target_`` (a dataclass inside adbench) and its settings; ``name`` is the preset's label.
        path: Where the node stands in the whole config, such as ``method``; named in errors.

    Raises:
        AdbenchError: ``_target_`` is missing, outside adbench or unknown; a setting is unknown, of a wrong type or out of
            range. The message names every such key, what was got and what is allowed.
    """
    settings = plain(node, path)
    target = settings.pop("_target_", None)
    settings.pop("name", None)
    return check(_locate(target, path), settings, path)


def check(cls: type[T], settings: dict[str, Any], path: str) -> T:
    """Make ``cls`` from plain settings, naming in one AdbenchError all that are wrong."""
    try:
        # Through JSON, so that a list can fill a tuple and a mapping a nested dataclass while types stay strict.
        return TypeAdapter(cls).validate_json(json.dumps(settings))
    except ValidationError as error:
        raise AdbenchError(_explain(error, cls, path)) from None


def plain(node: DictConfig, path: str) -> dict[str, Any]:
    """The node as plain Python with its interpolations resolved."""
    try:
        settings = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        where = error.full_key or path
        raise AdbenchError(f"{where}: {str(error).splitlines()[0]}") from None
    if not isinstance(settings, dict):
        raise AdbenchError(f"{path}: a mapping of settings is needed, got {settings!r}")
    return {str(key): value for key, value in settings.items()}


def settings_of(part: Any) -> dict[str, Any]:
    """The resolved settings of a built object, JSON-like; learned state is left out."""
    if not is_dataclass(part) or isinstance(part, type):
        raise TypeError(f"{part!r} is not an instance of a settings dataclass")
    names = [f.name for f in fields(part) if f.init]
    return {name: jsonable(getattr(part, name)) for name in names}


def jsonable(value: Any) -> Any:
    """A setting's value as JSON has it: nested settings as a mapping, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def _locate(target: Any, path: str) -> type:
    if not isinstance(target, str):
        raise AdbenchError(f"{path}._target_: missing; it names the class, such as adbench.methods.patchcore.PatchCore")
    module_name, _, class_name = target.rpartition(".")
    if not module_name.startswith("adbench."):
        raise AdbenchError(f"{path}._target_: got {target!r}; only classes inside adbench are built")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        found = None
    if not (isinstance(found, type) and is_dataclass(found)):
        raise AdbenchError(f"{path}._target_: {target!r} is not a settings class of adbench")
    return found


def _explain(error: ValidationError, cls: type, path: str) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join([path, *(str(part) for part in problem["loc"])])
        if problem["type"] == "unexpected_keyword_argument":
            known = ", ".join(f.name for f in fields(cls) if f.init)
            lines.append(f"{where}: unknown setting; {cls.__name__} has {known}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: must be given")
        elif problem["loc"]:
            lines.append(f"{where}: {problem['msg']}, got {problem['input']!r}")
        else:
            lines.append(f"{path}: {problem['msg']}")
    return "\n".join(lines)
