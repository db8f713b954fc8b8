"""Choices behind the defaults, each made on carved dev splits and kept as a table under reports/studies/."""
