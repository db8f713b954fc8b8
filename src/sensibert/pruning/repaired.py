"""One-shot pruning with a repair at the cut: no teacher, and hardly any time on top."""

from __future__ import annotations

from sensibert.config.method_settings import RepairParams
from sensibert.data.encoding import draw
from sensibert.models.slim import slim
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.pruning.repair import repaired


def prune(context: PruningContext) -> Pruned:
    """Cut the scores of the criterion once, repair the output projections, and fine-tune."""
    settings = context.settings
    assert isinstance(settings, RepairParams)
    mask, dense = context.mask(context.scores, context.budget), context.new_model()
    model = slim(dense, mask)
    sample = draw(context.examples, settings.repair_samples, context.seed)
    errors = repaired(dense, model, sample, context.tokenizer)
    trained = context.tune(model)
    passes = context.passes(context.scores.passes_of(context.criterion))
    return Pruned(trained.model, mask, [trained.training.history], passes, {"reconstruction_error": errors})
