"""Published tables, comparisons, claims and figures, built from records."""
