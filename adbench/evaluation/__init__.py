"""Metrics, intervals and paired tests of anomaly scores."""
