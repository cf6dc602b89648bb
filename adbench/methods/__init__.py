"""Anomaly detectors, one dataclass a file; ``configs/method`` holds their presets."""
