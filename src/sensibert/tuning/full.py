"""Full fine-tuning: every parameter trains."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.tuning.base import Attached, Context, train_only


def attach(model: PreTrainedModel, context: Context) -> Attached:
    """Let every parameter train."""
    train_only(model, (name for name, _ in model.named_parameters()))
    return Attached()
