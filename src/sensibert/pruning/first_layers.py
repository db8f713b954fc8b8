"""Depth instead of width: the first layers of the backbone, as many as fit the budget, and nothing after them."""

from __future__ import annotations

import math

import numpy as np

from sensibert.config.method_settings import MethodParams
from sensibert.errors import MaskError
from sensibert.models.mask import Mask, MaskOrigin, Modules
from sensibert.models.slim import keep_first_layers
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.scoring.budgets import kept_of, predict
from sensibert.scoring.files import ScoreFile


def prune(context: PruningContext) -> Pruned:
    """Keep whole layers from the first one on, and fine-tune what is left.

    Raises:
        MaskError: a single layer is beyond the budget.
    """
    assert isinstance(context.settings, MethodParams)
    scores, kind = context.scores, context.masking.budget_kind
    count, keep = most_layers(scores, context.budget, kind)
    mask = Mask(keep, scores.costs)
    origin = MaskOrigin(
        scores.origin.made_for,
        context.method.name,
        context.budget,
        context.seed,
        kind,
        predict(mask, scores.units),
        scoring_passes=0,
    )
    trained = context.tune(keep_first_layers(context.new_model(), count))
    mask = Mask(keep, scores.costs, origin)
    return Pruned(trained.model, mask, [trained.training.history], context.passes(0), {"layers": count})


def most_layers(scores: ScoreFile, budget: float, kind: str) -> tuple[int, Modules]:
    """The largest number of first layers whose cost is within a budget, and what stays then: all of them, and no more.

    Raises:
        MaskError: a single layer is beyond the budget.
    """
    shapes = {key: values.shape for key, values in next(iter(scores.scores.values())).items()}
    for count in range(max(key.layer for key in shapes) + 1, 0, -1):
        keep = {key: np.full(shape, key.layer < count) for key, shape in shapes.items()}
        if (kept := kept_of(Mask(keep, scores.costs), scores, kind)) <= budget:
            return count, keep
    least = math.ceil(kept * 1e4) / 1e4
    raise MaskError(f"budget {budget} is too small for first_layers: one layer already takes {least:.4f} ({kind})")
