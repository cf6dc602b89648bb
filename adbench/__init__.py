"""adbench: benchmark image anomaly detectors for industrial inspection."""

import importlib
from typing import Any

__version__ = "0.1.0"
DISTRIBUTION = "adbench-vision"
"""The name on the package index, where ``adbench`` is another project."""

__all__ = [  # the names of adbench.api, which __init__.pyi declares too
    "AdbenchError",
    "Measure",
    "Prediction",
    "Predictor",
    "extract",
    "fit",
    "load",
    "method",
    "metrics",
]


def __getattr__(name: str) -> Any:
    """A name of ``adbench.api``, which is imported only now: commands that read files need none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("adbench.api"), name)


def __dir__() -> list[str]:
    """What is here already, and the names of ``adbench.api``."""
    return sorted({*globals(), *__all__})
