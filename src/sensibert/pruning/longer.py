"""One-shot pruning by a criterion that needs no data, fine-tuned for as long as a scoring pass and fine-tuning take."""

from __future__ import annotations

from sensibert.config.method_settings import MethodParams
from sensibert.pruning.base import Pruned, PruningContext


def prune(context: PruningContext) -> Pruned:
    """Cut the scores of the criterion once, and fine-tune with the passes of the scoring pass on top."""
    assert isinstance(context.settings, MethodParams)
    mask = context.mask(context.scores, context.budget)
    epochs = context.training.epochs_for(len(context.examples)) + context.scores.origin.passes
    trained = context.tune(context.new_model(), mask, epochs=epochs, min_steps=0)
    return Pruned(trained.model, mask, [trained.training.history], context.passes(0), {"epochs": epochs})
