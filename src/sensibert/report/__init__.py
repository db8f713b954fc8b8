"""The report: results, masks and scores gathered from the grid and turned into tables and plots."""
