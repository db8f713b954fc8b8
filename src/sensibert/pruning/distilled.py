"""One-shot pruning whose fine-tuning also learns from the fully fine-tuned dense model: `training.distillation`.

The settings say what is cut and how it is mended: the pre-trained or the tuned weights, by the scores of the one or of
the other, with or without a repair of the output projections. `recipe` is this procedure with what helped.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sensibert.compute.hardware import keep_for_reuse
from sensibert.config.method_settings import DistillationParams
from sensibert.config.settings import TrainingParams
from sensibert.data.encoding import Examples, TaughtExamples, draw
from sensibert.evaluation.evaluate import predict
from sensibert.models.mask import Mask
from sensibert.models.slim import slim
from sensibert.pruning.base import Pruned, PruningContext
from sensibert.pruning.repair import repaired
from sensibert.scoring.files import ScoreFile
from sensibert.training.cell import Trained, train_cell


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
    given = model, teacher, context.examples, context.tokenizer, context.training, settings
    trained = taught(*given, seed=context.seed, checkpoints=context.scratch / "checkpoints")
    return Pruned(trained.model, mask, [trained.training.history], context.passes(passes_of(mask)), chosen)


def taught(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    training: TrainingParams,
    settings: DistillationParams,
    *,
    seed: int,
    checkpoints: Path,
) -> Trained:
    """Fine-tune a model, in place, that also learns from a teacher."""
    # Once, not in every epoch: the teacher has no dropout, so its logits do not change.
    logits = predict(teacher, examples, tokenizer)
    return train_cell(
        model,
        TaughtExamples(examples, logits),
        tokenizer,
        training,
        options=settings,
        seed=seed,
        checkpoints=checkpoints,
        teacher=teacher if settings.hidden_weight else None,
    )


def passes_of(mask: Mask) -> float:
    """What the scores of a mask took, as far as it says."""
    return mask.origin.scoring_passes if mask.origin else 0


def _scores_of(teacher: PreTrainedModel, context: PruningContext) -> ScoreFile:
    """The criterion's scores of the tuned model as it is: every mask stays 1, no weight changes, nothing drops out."""
    frozen: dict[str, Any] = {"epochs": 1, "skip_fraction": 0.0, "l1": 0.0}
    frozen |= {"learning_rate": 0.0, "mask_learning_rate": 0.0}
    return context.score(copy.deepcopy(teacher), **frozen)
