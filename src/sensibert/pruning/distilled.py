"""One-shot pruning whose fine-tuning also learns from the fully fine-tuned dense model (arXiv 1503.02531)."""

from __future__ import annotations

from sensibert.budgets import mask_for
from sensibert.evaluation import predict
from sensibert.hardware import keep_for_reuse
from sensibert.models.slim import slim
from sensibert.params import DistillationParams
from sensibert.pruning.base import Context, Pruned
from sensibert.training import fine_tune


def prune_by_magnitude(context: Context) -> Pruned:
    """Prune what has the smallest weights."""
    return _prune(context, "magnitude")


def prune_by_sensitivity(context: Context) -> Pruned:
    """Prune what the task is least sensitive to."""
    return _prune(context, "sensitivity")


def _prune(context: Context, criterion: str) -> Pruned:
    assert isinstance(context.settings, DistillationParams)
    keep_for_reuse()  # the teacher multiplies before the fine-tuning could say so
    options, kind = context.masking.options(criterion), context.masking.budget_kind
    mask = mask_for(context.scores, criterion, context.budget, kind, **options)
    model = slim(context.new_model(), mask)
    # Once, not in every epoch: the teacher has no dropout, so its answers do not change.
    answers = predict(context.tuned_model(), context.examples, context.tokenizer).tolist()
    examples = [{**example, "teacher": answer} for example, answer in zip(context.examples, answers, strict=True)]
    training = fine_tune(
        model,
        examples,
        context.tokenizer,
        context.training,
        method="full",
        options=context.settings,
        seed=context.seed,
        checkpoints=context.scratch / "checkpoints",
    )
    passes = context.scoring_passes(criterion) + context.training.epochs  # the teacher was fine-tuned for this
    return Pruned(model, mask, [training], passes, {})
