"""Runs: what is to be measured, what jobs share, how time is taken, and the records that result."""
