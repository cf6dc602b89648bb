"""Interpolations (``${...}``, omegaconf.readthedocs.io) that a config may hold, and where.

A reference such as ``${.k}`` may stand anywhere. A resolver computes a value: those that read the
environment have no place in what records keep, and those that make new nodes have none at all.
"""

import re
from collections.abc import Iterator
from typing import Any

from adbench.errors import AdbenchError

RESOLVERS = ("oc.env", "now", "hydra", "python_version")
"""The resolvers that a config may call; they give a text, or a setting of Hydra."""
_OPENED = re.compile(r"\$\{")
_REFERENCE = re.compile(r"\$\{(\.*)([\w.-]+)\}")
_CALL = re.compile(rf"\$\{{({'|'.join(map(re.escape, RESOLVERS))}):")


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of nested mappings and lists that is neither, with its place."""
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(inner, dict | list):
            yield from leaves(inner, (*at, key))
        else:
            yield (*at, key), inner


def referred(value: Any, at: tuple[Any, ...], whole: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The places that a value refers to, each with what stands there.

    Args:
        value: Where it is a text, such as ``${..seed}``.
        at: Its place in the whole config.
        whole: A whole config as plain Python, with its interpolations as they were written.
    """
    for dots, name in _REFERENCE.findall(value) if isinstance(value, str) else ():
        place = (*at[: -len(dots)], *name.split(".")) if dots else tuple(name.split("."))
        found = whole
        for key in place:
            found = found.get(key) if isinstance(found, dict) else None
        yield place, found


def refuse_unknown(raw: dict[Any, Any]) -> None:
    """Refuse an interpolation that could make a node out of a text, which no check has seen.

    Args:
        raw: A whole config with its interpolations as they were written.

    Raises:
        AdbenchError: Names the key.
    """
    for place, value in leaves(raw):
        for opened in _OPENED.finditer(value) if isinstance(value, str) else ():
            rest = value[opened.start() :]
            if not (_REFERENCE.match(rest) or _CALL.match(rest)):
                raise AdbenchError(
                    f"{'.'.join(map(str, place))}: got {value!r}; an interpolation is a reference "
                    f"to another key or one of {', '.join(RESOLVERS)}"
                )


def refuse_computed(
    raw: dict[str, Any], at: tuple[str, ...], whole: Any, path: str, keys: list[str] | None = None
) -> None:
    """Refuse resolvers in settings that records keep, behind references too.

    So no part of the environment, which may be secret, gets into records and names of files.

    Args:
        raw: A part of a whole config, such as ``method``, with its interpolations as written.
        at: Its place in the whole config.
        whole: The whole config as plain Python, with its interpolations as they were written.
        path: Where the part stands; named in errors.
        keys: Those that are recorded; None for all of them.

    Raises:
        AdbenchError: Names the key and what it holds.
    """
    for place, value in leaves(raw):
        if keys is None or place[0] in keys:
            key = ".".join(map(str, (path, *place)))
            _refuse_call(value, (*at, *place), whole, key, frozenset())


def _refuse_call(
    value: Any, at: tuple[Any, ...], whole: Any, key: str, seen: frozenset[tuple[Any, ...]]
) -> None:
    if not isinstance(value, str) or at in seen:
        return
    if _CALL.search(value):
        raise AdbenchError(
            f"{key}: got {value!r}; records keep this setting, so it is written out or refers to "
            "another key"
        )
    for target, found in referred(value, at, whole):
        below = leaves(found, target) if isinstance(found, dict | list) else [(target, found)]
        for place, inner in below:
            _refuse_call(inner, place, whole, key, seen | {at})
