"""From a config node to an object of a settings class, with every setting checked."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adbench.config.compose import config_folder
from adbench.config.explain import unresolved
from adbench.config.interpolation import refuse_computed
from adbench.config.targets import settings_class
from adbench.config.words import drop_words, keys_behind, nested_keys, unknown_keys, word_of
from adbench.errors import AdbenchError
from adbench.system.settings import check, unread

_NAME = re.compile(r"[^\W_][\w .+@:-]{0,99}")
"""Names of presets, which become parts of file names."""
_RECORDED = {"dataset": ["name", "category", "categories"], "backbone": ["name", "model"]}
"""The settings that records keep, of parts that also have others, such as folders and files."""


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
            allowed. Or the name cannot be a part of file names, or a setting that records keep is
            read from the environment.
    """
    if not isinstance(node, DictConfig):
        raise _no_node(path, node)
    root = node._get_root()
    raw, at = _raw(node), () if root is node else tuple(path.split("."))
    refuse_computed(raw, at, _raw(root), path, _RECORDED.get(path))
    return _built(raw, plain(node, path), path)


class Builder:
    """Builds the parts of many configs.

    Parts that are described alike, such as one network in many jobs, are built once. Callers share
    them and must not change them.
    """

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}
        self._config: DictConfig | None = None

    def settings(self, config: DictConfig) -> dict[str, Any]:
        """A composed config as plain Python with its interpolations resolved."""
        if config is not self._config:
            self._settings, self._raw = plain(config, "run"), _raw(config)
            self._config = config
        return self._settings

    def part(self, config: DictConfig, path: str) -> Any:
        """What ``build`` gives for a part of a composed config. Raises what it raises."""
        settings = self.settings(config).get(path)
        if not isinstance(settings, dict):
            raise _no_node(path, settings)
        raw = self._raw[path]
        refuse_computed(raw, (path,), self._raw, path, _RECORDED.get(path))
        key = repr([path, raw, settings])
        if key not in self._built:
            self._built[key] = _built(raw, settings, path)
        return self._built[key]


def class_of(node: DictConfig, path: str) -> type:
    """The settings class of a config node. Raises AdbenchError where it is not registered."""
    return settings_class(node.get("_target_"), path)


def plain(node: DictConfig, path: str) -> dict[str, Any]:
    """The node as plain Python with its interpolations resolved."""
    try:
        settings = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise AdbenchError(unresolved(error, path)) from None
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
        if keys == ["name"]:
            continue  # the label in tables
        behind = keys_behind(keys, type(built), _raw(node), part)
        reasons = [unread(built, target) for target in behind]
        if not behind:
            raise AdbenchError(f"{override}: no setting refers to {keys[-1]}; leave it out")
        if all(reasons):
            why = "; ".join(dict.fromkeys(str(reason) for reason in reasons))
            raise AdbenchError(f"{override}: {why}; set that too, or leave this out")


def _built(raw: dict[str, Any], settings: dict[str, Any], path: str) -> Any:
    """The object of a node, as it was written and with its interpolations resolved."""
    settings = dict(settings)
    target = settings.pop("_target_", None)
    _check_name(settings.pop("name", None), path)
    cls = settings_class(target, path)
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


def _no_node(path: str, got: Any) -> AdbenchError:
    return AdbenchError(f"{path}: must hold _target_ and settings, got {got!r}")


def _raw(node: Container) -> dict[str, Any]:
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


def _check_name(name: Any, path: str) -> None:
    """Refuse a name that could not be a part of file names; one that is missing is none."""
    if name is not None and not _NAME.fullmatch(str(name)):
        raise AdbenchError(
            f"{path}.name: got {name!r}, which cannot be a part of file names; it begins with a "
            "letter or digit and has up to 100 letters, digits, spaces and . + - _ @ :"
        )
