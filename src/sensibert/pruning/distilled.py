"""One-shot pruning whose fine-tuning also learns from the fully fine-tuned dense model: `training.distillation`.

The settings say what is cut and how it is mended: the pre-trained or the tuned weights, by the scores of the one or of
the other, with or without a repair of the output projections. `recipe` is this procedure with what helped.
"""

from __future__ import annotations

import copy

from transformers import PreTrainedModel

from sensibert.compute.hardware import keep_for_reuse
from sensibert.config.method_settings import DistillationParams
from sensibert.data.encoding import draw
from sensibert.evaluation.evaluate import predict
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.pruning.repair import repaired
from sensibert.scoring.files import ScoreFile
from sensibert.scoring.scoring_pass import score
from sensibert.training.cell import train_cell


def prune(context: PruningContext) -> Pruned:
    """Cut the scores of the criterion once, and fine-tune with the dense model as the teacher."""
    settings = context.settings
    assert isinstance(settings, DistillationParams)
    keep_for_reuse()  # the teacher computes before the fine-tuning calls it
    teacher = context.tuned_model().eval()
    scores = context.scores if settings.scores == "pretrained" else _scores_of(teacher, context)
    mask = context.mask(scores, context.budget)
    dense = teacher if settings.start == "tuned" else context.new_model().eval()
    model, chosen = slim(dense, mask), {}
    if settings.repair_samples:
        sample = draw(context.examples, settings.repair_samples, context.seed)
        chosen = {"reconstruction_error": repaired(dense, model, sample, context.tokenizer)}
    # Once, not in every epoch: the teacher has no dropout, so its logits do not change.
    logits = predict(teacher, context.examples, context.tokenizer).tolist()
    examples = [{**example, "teacher_logits": of} for example, of in zip(context.examples, logits, strict=True)]
    trained = train_cell(
        model,
        examples,
        context.tokenizer,
        context.training,
        options=settings,
        seed=context.seed,
        checkpoints=context.scratch / "checkpoints",
        teacher=teacher if settings.hidden_weight else None,
    )
    return Pruned(trained.model, mask, [trained.training.history], context.passes(passes_of(mask)), chosen)


def passes_of(mask: Mask) -> float:
    """What the scores of a mask took."""
    assert mask.origin is not None
    return mask.origin.scoring_passes


def _scores_of(teacher: PreTrainedModel, context: PruningContext) -> ScoreFile:
    """The criterion's scores of the tuned model as it is: every mask stays 1, no weight changes, nothing drops out."""
    frozen = {"epochs": 1, "learning_rate": 0.0, "mask_learning_rate": 0.0, "l1": 0.0, "skip_fraction": 0.0}
    *_, scores = score(
        copy.deepcopy(teacher),
        context.examples,
        context.tokenizer,
        context.scoring.model_copy(update=frozen),
        seed=context.seed,
        precision=context.training.precision,
        criteria=[context.criterion],
        made_for=context.scores.origin.made_for,
    )
    return scores
