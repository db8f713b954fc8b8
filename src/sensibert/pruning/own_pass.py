"""One-shot pruning by a scoring pass of its own, with a penalty that suits the criterion.

All criteria of a profile share one pass and its L1 penalty. A learned mask needs a stronger one than scores that only
watch the mask: with 1e-3 instead of 1e-5 it gained 0.7 points on dev sentences of SST-2 (docs/importance.md).
"""

from __future__ import annotations

from sensibert.config.method_settings import OwnPassParams
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import train_cell


def prune(context: PruningContext) -> Pruned:
    """Run the pass, cut the pre-trained model by the criterion, and fine-tune it."""
    assert isinstance(context.settings, OwnPassParams)
    *_, scores = score(
        context.new_model(),
        context.examples,
        context.tokenizer,
        context.scoring.model_copy(update={"l1": context.settings.l1}),
        seed=context.seed,
        precision=context.training.precision,
        criteria=[context.criterion],
        made_for=context.scores.origin.made_for,
    )
    mask = context.mask(scores, context.budget)
    trained = train_cell(
        context.new_model(),
        context.examples,
        context.tokenizer,
        context.training,
        options=context.settings,
        mask=mask,
        seed=context.seed,
        checkpoints=context.scratch / "checkpoints",
    )
    return Pruned(trained.model, mask, [trained.training.history], context.passes(scores.origin.passes), {})
