"""Datasets, one file each, and what all of them need."""
