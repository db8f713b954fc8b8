"""One-shot pruning that keeps the weights of the scoring pass: it cuts, and fine-tunes, what the pass trained.

Sensi-BERT throws these weights away (arXiv 2307.11764). They cost nothing more, and their classifier is no longer new.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from sensibert.config.method_settings import MethodParams
from sensibert.config.methods import METHODS
from sensibert.models.gates import fold
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import train_cell


def prune(context: PruningContext) -> Pruned:
    """Run the scoring pass, cut the model that it leaves by the criterion, and fine-tune it."""
    assert isinstance(context.settings, MethodParams)
    model = context.new_model()
    passed = _score(model, context, ["mask", context.criterion])
    fold(model, passed.of("mask"))  # the weights were trained under these masks
    scores = passed if METHODS[context.criterion].reads_data else _score(model, context, [context.criterion])
    mask = context.mask(scores, context.budget)
    trained = train_cell(
        model,
        context.examples,
        context.tokenizer,
        context.training,
        options=context.settings,
        mask=mask,
        seed=context.seed,
        checkpoints=context.scratch / "checkpoints",
    )
    return Pruned(trained.model, mask, [trained.training.history], context.passes(passed.origin.passes), {})


def _score(model: PreTrainedModel, context: PruningContext, criteria: Sequence[str]) -> ScoreFile:
    *_, scores = score(
        model,
        context.examples,
        context.tokenizer,
        context.scoring,
        seed=context.seed,
        precision=context.training.precision,
        criteria=criteria,
        made_for=context.scores.origin.made_for,
    )
    return scores
