"""Criteria: what gives each dimension a score. One file per criterion, all with one signature.

This module imports nothing heavy, so that params.yaml can be checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sensibert.importance.base import Criterion

CRITERIA: dict[str, str] = {
    "sensitivity": "sensibert.importance.sensitivity:Sensitivity",
    "mask": "sensibert.importance.mask:LearnedMask",
    "fisher": "sensibert.importance.fisher:Fisher",
    "magnitude": "sensibert.importance.magnitude:Magnitude",
    "random": "sensibert.importance.random:Random",
}
"""Name of each criterion and the class that implements it, imported when it is used."""

DATA_FREE = ("magnitude", "random")
"""The criteria that need no pass over the training data."""


def criterion_class(name: str) -> type[Criterion]:
    """The class that implements a criterion."""
    module, _, attribute = CRITERIA[name].partition(":")
    return getattr(import_module(module), attribute)
