"""Detectors: what is fitted on images, scores images, and is measured and timed."""
