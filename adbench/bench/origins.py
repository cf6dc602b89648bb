"""The installed packages other than adbench that the parts of a run come from."""

import importlib.metadata
from collections.abc import Iterator
from typing import Any

from adbench.config.targets import PLUGINS
from adbench.system.settings import class_name


def origins(dataset: object, identity: dict[str, Any]) -> dict[str, str]:
    """Distribution -> version of the packages that classes of a run belong to.

    Args:
        dataset: The built dataset, whose class is no part of the identity.
        identity: Holds the classes of the other parts under ``class``, see
            ``adbench.system.settings.target_name``.
    """
    names = [class_name(type(dataset)), *_classes(identity)]
    packages = {name.split(".")[0] for name in names if "." in name}
    points = importlib.metadata.entry_points(group=PLUGINS) if packages else ()
    owners = [point.dist for point in points if point.module.split(".")[0] in packages]
    return {owner.name: owner.version for owner in owners if owner is not None}


def _classes(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("class"), str):
            yield value["class"]
        for inner in value.values():
            yield from _classes(inner)
