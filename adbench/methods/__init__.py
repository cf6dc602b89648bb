"""Anomaly detectors on features, one file each, and the parts that they share."""
