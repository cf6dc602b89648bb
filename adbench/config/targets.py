"""Which classes a config may name as ``_target_``, and where they are found.

They are those of adbench and of installed packages that register themselves by an entry point of
the group ``adbench.plugins``. No other package is ever imported from here.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from adbench.errors import AdbenchError

PLUGINS = "adbench.plugins"
"""The group of entry points by which a package registers its modules."""


def settings_class(target: Any, path: str) -> type:
    """The settings class that a target names; its module is imported only where it is registered.

    Args:
        target: Such as ``adbench.methods.patchcore.PatchCore``.
        path: Where the node stands in the whole config, such as ``method``; named in errors.

    Raises:
        AdbenchError: The target is missing, not registered, misspelt or cannot be imported.
    """
    from pydantic.dataclasses import is_pydantic_dataclass  # commands that list build nothing

    where = f"{path}._target_"
    if not isinstance(target, str):
        raise AdbenchError(
            f"{where}: missing; it names the class, such as adbench.methods.patchcore.PatchCore"
        )
    if not registered(target):
        raise AdbenchError(f"{where}: got {target!r}; {_why_not(target)}")
    found = class_at(target, where)
    if not is_pydantic_dataclass(found):
        raise AdbenchError(f"{where}: {target} is not a settings class")
    return found


def registered(target: str) -> bool:
    """Whether a class, by its dotted path, belongs to adbench or to a registered package."""
    module = target.rpartition(".")[0]
    if module.startswith("adbench."):
        return True
    import importlib.metadata  # takes 10 ms, which most configs need not pay

    points = (point.module for point in importlib.metadata.entry_points(group=PLUGINS))
    return any(f"{module}.".startswith(f"{point}.") for point in points)


def class_at(target: str, where: str) -> type:
    """The class at a dotted path; ``where`` is the key that names it.

    Raises:
        AdbenchError: There is no such module or class, or importing the module fails. A class that
            the module has from another package is none of its own.
    """
    module_name, _, name = target.rpartition(".")
    module = _imported(module_name, where)
    found = getattr(module, name, None)
    if isinstance(found, type) and found.__module__.split(".")[0] == module_name.split(".")[0]:
        return found
    if isinstance(found, type):
        raise AdbenchError(f"{where}: {target} is a class of another package, {found.__module__}")
    classes = [n for n, value in vars(module).items() if isinstance(value, type)]
    what = "is not a class" if hasattr(module, name) else "does not exist"
    raise AdbenchError(f"{where}: {target} {what}{_near(name, classes)}")


def _imported(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            message = f"{where}: {name} needs {error.name}, which is not installed"
            raise AdbenchError(message) from None
        parent, _, last = error.name.rpartition(".")
        package = importlib.import_module(parent) if parent else None
        beside = [m.name for m in pkgutil.iter_modules(getattr(package, "__path__", []))]
        message = f"{where}: there is no module {error.name}{_near(last, beside)}"
        raise AdbenchError(message) from None
    except Exception as error:  # what the code of a plugin raises is not ours to foresee
        message = f"{where}: importing {name} failed: {type(error).__name__}: {error}"
        raise AdbenchError(message) from error


def _why_not(target: str) -> str:
    package = target.split(".")[0]
    if "." not in target:
        return "a class is named with its module, such as adbench.methods.patchcore.PatchCore"
    if package != "adbench" and importlib.util.find_spec(package) is None:
        return f"no package {package} is installed here"
    return (
        "only classes inside adbench are built, and those of installed packages with an entry "
        f"point of the group {PLUGINS}"
    )


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [n for n in known if not n.startswith("_")], n=1)
    return f"; did you mean {near[0]}?" if near else ""
