"""Linear probing: the new classifier trains on top of a frozen encoder."""

from __future__ import annotations

from transformers import PreTrainedModel

from sensibert.tuning.base import Attached, Context, classifier_parameters, train_only


def attach(model: PreTrainedModel, context: Context) -> Attached:
    """Let the classifier train."""
    train_only(model, classifier_parameters(model))
    return Attached()
