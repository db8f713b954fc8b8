"""One-shot pruning that keeps the weights of the scoring pass: it cuts, and fine-tunes, what the pass trained.

Sensi-BERT throws these weights away (arXiv 2307.11764). They cost nothing more, and their classifier is no longer new.
"""

from __future__ import annotations

from sensibert.config.method_settings import MethodParams
from sensibert.config.methods import METHODS
from sensibert.models.gates import fold
from sensibert.pruning.base import Pruned, PruningContext


def prune(context: PruningContext) -> Pruned:
    """Run the scoring pass, cut the model that it leaves by the criterion, and fine-tune it."""
    assert isinstance(context.settings, MethodParams)
    model = context.new_model()
    passed = context.score(model, ["mask", context.criterion])
    fold(model, passed.of("mask"))  # the weights were trained under these masks
    scores = passed if METHODS[context.criterion].reads_data else context.score(model)
    mask = context.mask(scores, context.budget)
    trained = context.tune(model, mask)
    return Pruned(trained.model, mask, [trained.training.history], context.passes(passed.origin.passes), {})
