"""Pruning procedures: whole recipes from a task to a smaller model, beside scoring once and fine-tuning once.

Every procedure is a function `prune(context) -> Pruned` (see `base.py`). This module imports nothing heavy, so that
params.yaml can be checked without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sensibert.pruning.base import Context, Pruned

PRUNING_METHODS: dict[str, str] = {
    "kwon": "sensibert.pruning.kwon.recipe:prune_tuned",
    "iterative_magnitude": "sensibert.pruning.iterative:prune_by_magnitude",
    "iterative_sensitivity": "sensibert.pruning.iterative:prune_by_sensitivity",
    "distilled_magnitude": "sensibert.pruning.distilled:prune_by_magnitude",
    "distilled_sensitivity": "sensibert.pruning.distilled:prune_by_sensitivity",
}
"""Name of each procedure and the function that implements it, imported when it is used."""


def prune(method: str, context: Context) -> Pruned:
    """Make a smaller model by a procedure."""
    module, _, function = PRUNING_METHODS[method].partition(":")
    pruned: Pruned = getattr(import_module(module), function)(context)
    return pruned
