"""Scores of the dimensions, and the masks that a budget cuts from them."""
