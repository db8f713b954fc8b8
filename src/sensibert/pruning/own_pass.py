"""One-shot pruning by a scoring pass of its own, with a penalty that suits the criterion.

All criteria of a profile share one pass and its L1 penalty. A learned mask needs a stronger one than scores that only
watch the mask: with 1e-3 instead of 1e-5 it gained 0.7 points on dev sentences of SST-2 (docs/importance.md).
"""

from __future__ import annotations

from sensibert.config.method_settings import OwnPassParams
from sensibert.pruning.base import Pruned, PruningContext


def prune(context: PruningContext) -> Pruned:
    """Run the pass, cut the pre-trained model by the criterion, and fine-tune it."""
    assert isinstance(context.settings, OwnPassParams)
    scores = context.score(context.new_model(), l1=context.settings.l1)
    mask = context.mask(scores, context.budget)
    trained = context.tune(context.new_model(), mask)
    return Pruned(trained.model, mask, [trained.training.history], context.passes(scores.origin.passes), {})
