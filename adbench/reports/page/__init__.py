"""The page: one self-contained HTML file of results, for people who look before they read."""
