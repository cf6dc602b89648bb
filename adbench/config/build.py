"""From a config node to an object: the only place that knows ``_target_``.

What is built is a settings class of adbench or of an installed package that registers itself by an
entry point of the group ``adbench.plugins``. No other package is ever imported from here.
"""

import importlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adbench.config.compose import config_folder
from adbench.config.words import drop_words, keys_behind, nested_keys, unknown_keys, word_of
from adbench.errors import AdbenchError
from adbench.system.settings import check, unread

PLUGINS = "adbench.plugins"
"""The group of entry points by which a package registers its modules."""


def build(node: DictConfig, path: str) -> Any:
    """Make the object that a config node describes, with every setting checked.

    A key that is no setting of the class, but to which another key refers by interpolation, is a
    word for users, such as ``k`` for ``map_k: ${.k}``; it is left out.

    Args:
        node: Holds ``_target_`` (a settings class) and its settings; ``name`` labels the preset.
        path: Where the node stands in the whole config, such as ``method``; named in errors.

    Raises:
        AdbenchError: ``_target_`` is missing, not registered or unknown; a setting is unknown, of a
            wrong type or out of range. The message names every such key, what was got and what is
            allowed.
    """
    settings = plain(node, path)
    target = settings.pop("_target_", None)
    settings.pop("name", None)
    cls = _locate(target, path)
    raw = _raw(node)
    settings = drop_words(settings, cls, raw, path)
    if unknown_keys(settings, cls):  # words that nothing refers to since others were overridden
        for preset in _presets(path, target):
            settings = drop_words(settings, cls, preset, path)
    try:
        return check(cls, settings, path)
    except AdbenchError as error:
        lines = _in_words(str(error), word_of(cls, raw, path))
        lines += filter(None, (_hint(cls, keys, path) for keys in unknown_keys(settings, cls)))
        raise AdbenchError("\n".join(lines)) from None


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


def refuse_unread(overrides: Sequence[str], node: DictConfig, built: Any, part: str) -> None:
    """Refuse an override of a setting that the built object does not read.

    Args:
        overrides: What the user typed, such as ``method.eps=0.7``.
        node: The config node that the object was built from.
        built: The object.
        part: Where the node stands in the whole config, such as ``method``.

    Raises:
        AdbenchError: Names the override and where its setting would be read.
    """
    for override in overrides:
        key = override.partition("=")[0].lstrip("+")
        if not key.startswith(f"{part}."):
            continue
        keys = key.split(".")[1:]
        behind = keys_behind(keys, type(built), _raw(node), part)
        reasons = [unread(built, target) for target in behind]
        if not behind:
            raise AdbenchError(f"{override}: no setting refers to {keys[-1]}; leave it out")
        if all(reasons):
            why = "; ".join(dict.fromkeys(str(reason) for reason in reasons))
            raise AdbenchError(f"{override}: {why}; set that too, or leave this out")


def _raw(node: DictConfig) -> dict[str, Any]:
    """The node as plain Python with its interpolations as they were written."""
    raw = OmegaConf.to_container(node, resolve=False)
    return {str(key): value for key, value in raw.items()} if isinstance(raw, dict) else {}


def _presets(group: str, target: str) -> Iterator[dict[str, Any]]:
    """The presets of adbench that a class is built from, as they were written."""
    for file in sorted((config_folder() / group).glob("*.yaml")):
        preset = OmegaConf.load(file)
        if isinstance(preset, DictConfig) and preset.get("_target_") == target:
            yield _raw(preset)


def _in_words(message: str, word_of: dict[str, str]) -> list[str]:
    """The lines of a message with settings under the words that users type for them, each once."""
    parts = [line.partition(": ") for line in message.splitlines()]
    lines = [f"{word_of.get(where, where)}{colon}{what}" for where, colon, what in parts]
    return list(dict.fromkeys(lines))


def _hint(cls: type, keys: list[str], path: str) -> str:
    """Where a setting of the same name stands in a part of the class."""
    near = [".".join([path, *found]) for found in nested_keys(cls) if found[-1] == keys[-1]]
    return f"did you mean {' or '.join(near)}?" if near else ""


def _locate(target: Any, path: str) -> type:
    """The class that a target names; its module is imported only where it is registered."""
    if not isinstance(target, str):
        raise AdbenchError(
            f"{path}._target_: missing; it names the class, such as "
            "adbench.methods.patchcore.PatchCore"
        )
    module_name, _, class_name = target.rpartition(".")
    if not _registered(module_name):
        raise AdbenchError(
            f"{path}._target_: got {target!r}; only classes inside adbench are built, and those of "
            f"installed packages with an entry point of the group {PLUGINS}"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        found = None
    if not (isinstance(found, type) and is_dataclass(found)):
        raise AdbenchError(f"{path}._target_: {target!r} is not a settings class")
    return found


def _registered(module_name: str) -> bool:
    """Whether a module belongs to adbench or to a registered package."""
    if module_name.startswith("adbench."):
        return True
    registered = (point.module for point in importlib.metadata.entry_points(group=PLUGINS))
    return any(f"{module_name}.".startswith(f"{module}.") for module in registered)
