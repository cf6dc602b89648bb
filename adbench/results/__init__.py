"""Records of what was measured, the table of a run and its heat maps."""
