"""adbench: benchmark image anomaly detectors for industrial inspection."""

__version__ = "0.1.0"
