"""Full fine-tuning: every parameter trains."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.training.attach import Attached, TuningContext, set_trainable_params


def attach(model: PreTrainedModel, context: TuningContext) -> Attached:
    """Let every parameter train."""
    set_trainable_params(model, (name for name, _ in model.named_parameters()))
    return Attached()
