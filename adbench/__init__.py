"""adbench: benchmark image anomaly detectors for industrial inspection."""

__version__ = "0.1.0"
DISTRIBUTION = "adbench-vision"
"""The name on the package index, where ``adbench`` is another project."""
