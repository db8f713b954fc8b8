"""Tuning methods, each of which says what trains, and the parts that they share."""
