"""Words: keys of a preset that are no settings of its class but stand for some of them.

``k: 1`` beside ``map_k: ${.k}`` lets users type ``method.k`` for what the class calls ``map_k``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


def drop_words(
    settings: Mapping[str, Any], cls: type, raw: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """The settings without the words.

    Args:
        settings: Resolved settings of ``cls``, and words.
        cls: A dataclass.
        raw: The same with interpolations as they were written.
        path: Where the settings stand in the whole config, such as ``method``.
    """
    words = {target for _, target in _references(raw, path)}
    return _without(settings, cls, words, ())


def keys_behind(keys: list[str], cls: type, raw: Mapping[str, Any], path: str) -> list[list[str]]:
    """The settings that a key stands for: itself, or those that refer to it where it is a word."""
    if tuple(keys) in _all_keys(cls):
        return [keys]
    places = [place for place, target in _references(raw, path) if target == tuple(keys)]
    return [found for place in places for found in keys_behind(list(place), cls, raw, path)]


def word_of(cls: type, raw: Mapping[str, Any], path: str) -> dict[str, str]:
    """Settings that take their value from a word, and the word; both as ``method.k``."""
    known = _all_keys(cls)
    pairs = [(place, word) for place, word in _references(raw, path) if word not in known]
    return {".".join([path, *place]): ".".join([path, *word]) for place, word in pairs}


def unknown_keys(settings: Mapping[str, Any], cls: type) -> list[list[str]]:
    """Keys of the settings, at any depth, that the class does not have."""
    known = _all_keys(cls)
    parents = {keys[:-1] for keys in known}
    present = [keys for keys, _ in _leaves(settings)]
    return [list(keys) for keys in present if keys not in known and keys[:-1] in parents]


def nested_keys(cls: type) -> list[tuple[str, ...]]:
    """The settings of the parts of a class, such as ``("coreset", "projection")``."""
    return [keys for keys in _all_keys(cls) if len(keys) > 1]


def _without(
    settings: Mapping[str, Any], cls: type | None, words: set[tuple[str, ...]], at: tuple[str, ...]
) -> dict[str, Any]:
    own = _settings(cls) if cls else {}
    kept = {n: v for n, v in settings.items() if n in own or (*at, n) not in words}
    return {
        name: _without(value, own.get(name), words, (*at, name))
        if isinstance(value, dict)
        else value
        for name, value in kept.items()
    }


def _references(
    raw: Mapping[str, Any], path: str
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every key whose value refers to another key of the same node, and that key."""
    for keys, value in _leaves(raw):
        for dots, name in _REFERENCE.findall(value) if isinstance(value, str) else ():
            target = (*keys[: -len(dots)], *name.split(".")) if dots else tuple(name.split("."))
            if dots:
                yield keys, target
            elif target[0] == path:
                yield keys, target[1:]


def _leaves(
    node: Mapping[str, Any], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*at, name))
        yield (*at, name), value


def _all_keys(cls: type) -> set[tuple[str, ...]]:
    """The settings of a class and, below their names, of its parts."""
    found: set[tuple[str, ...]] = set()
    for name, part in _settings(cls).items():
        found |= {(name,), *((name, *inner) for inner in (_all_keys(part) if part else ()))}
    return found


def _settings(cls: type) -> dict[str, type | None]:
    """Setting -> the dataclass of its value, or None where it is a plain value."""
    hints = get_type_hints(cls)
    return {f.name: _part(hints[f.name]) for f in fields(cls) if f.init}


def _part(hint: Any) -> type | None:
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for inner in get_args(hint) if (found := _part(inner))), None)
