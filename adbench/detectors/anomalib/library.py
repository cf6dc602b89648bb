"""The library anomalib: whether it is installed, and its modules, imported only where they work."""

import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adbench.errors import AdbenchError
from adbench.system.progress import steps

PACKAGE = "anomalib"


def require_installed(title: str) -> None:
    """Raise AdbenchError, naming the system and what to install, where the library is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise AdbenchError(
            f"{title} needs adbench-vision[anomalib], which is not installed; run "
            "pip install 'adbench-vision[anomalib]'"
        )


def version() -> str:
    """The version of the library."""
    return importlib.metadata.version(PACKAGE)


def module(name: str) -> Any:
    """A module of the library, such as ``models.image.stfpm.torch_model``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the library and its dependencies are written
        return importlib.import_module(f"{PACKAGE}.{name}")


@contextmanager
def replaced(of: Any, **values: Any) -> Iterator[None]:
    """A block in which names of a module of the library stand for other values.

    Its models make their network by a class of that name, which would download the weights.
    """
    before = {name: getattr(of, name) for name in values}
    for name, value in values.items():
        setattr(of, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(of, name, value)


def counted(items: Any, desc: str = "") -> Iterator[Any]:
    """What the library's loops are counted by, in place of its own bars."""
    with steps(len(items), desc.lower().rstrip(".") or "images", "step") as done:
        for item in items:
            yield item
            done()
