"""Defaults that the command line and the library share; the command line shows them before it imports the library."""

from __future__ import annotations

SCORED_TEXTS = 2048
"""Training texts that the scoring pass of `compress` and `score` sees: more change the mask no more than another seed
does (docs/importance.md)."""
