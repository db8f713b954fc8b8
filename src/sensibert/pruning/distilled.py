"""One-shot pruning whose fine-tuning also learns from the fully fine-tuned dense model: `training.distillation`."""

from __future__ import annotations

import copy

from sensibert.compute.hardware import keep_for_reuse
from sensibert.config.method_settings import DistillationParams
from sensibert.evaluation.evaluate import predict
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.training.cell import train_cell


def prune(context: PruningContext) -> Pruned:
    """Cut the scores of the criterion once, and fine-tune with the dense model as the teacher."""
    settings = context.settings
    assert isinstance(settings, DistillationParams)
    keep_for_reuse()  # the teacher computes before the fine-tuning calls it
    mask = context.mask(context.scores, context.budget)
    teacher = context.tuned_model()
    model = context.new_model() if settings.start == "pretrained" else copy.deepcopy(teacher)
    # Once, not in every epoch: the teacher has no dropout, so its logits do not change.
    logits = predict(teacher, context.examples, context.tokenizer).tolist()
    examples = [{**example, "teacher_logits": of} for example, of in zip(context.examples, logits, strict=True)]
    trained = train_cell(
        model,
        examples,
        context.tokenizer,
        context.training,
        options=settings,
        mask=mask,
        seed=context.seed,
        checkpoints=context.scratch / "checkpoints",
        teacher=teacher if settings.hidden_weight else None,
    )
    history = trained.training.history
    return Pruned(trained.model, mask, [history], context.passes(history.extra_passes), {})
