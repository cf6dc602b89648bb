"""What type checkers and editors see of adbench: the names of ``adbench.api`` too."""

from adbench.api import (
    AdbenchError,
    Measure,
    Prediction,
    Predictor,
    extract,
    fit,
    load,
    method,
    metrics,
)

__all__ = [
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

__version__: str
DISTRIBUTION: str
